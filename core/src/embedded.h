/* An engine of our own: what endpoint.c and the parts of embedded need of each other. */
#ifndef MS_EMBEDDED_H
#define MS_EMBEDDED_H

#include <sys/types.h>
#include <sys/un.h>

#include "mem.h"
#include "moonsand.h"

/* containerd's sockets lie below the engine's run directory and have the longest names. */
#define MS_LONGEST_BELOW_RUN "/exec/containerd/containerd-debug.sock.ttrpc"
#define MS_SOCKET_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

typedef const char *(*ms_getenv_fn)(const char *name);

/* Where everything of one embedded engine lies. Strings owned. */
typedef struct ms_embedded {
    char *dir;    /* data, log, lock and state file */
    char *run;    /* sockets and pid files; elsewhere when dir is too long for a socket's path */
    char *socket; /* run/engine.sock */
    char *log;
    char *state;
    char tag[17]; /* hex of a hash of dir; names what must be unique on this machine */
} ms_embedded;

/* dir NULL: the default one. Looks at nothing and makes nothing. */
int ms_embedded_paths(ms_embedded *out, const char *dir, ms_getenv_fn env, moonsand_error **err);
/* INVALID for characters that no engine's configuration can hold. */
int ms_embedded_check_name(const char *dir, moonsand_error **err);
void ms_embedded_free(ms_embedded *e);
/* The socket of the running engine in the default directory, or NULL. */
int ms_embedded_find(char **socket, ms_getenv_fn env, moonsand_error **err);

/* Writes the engine's configuration below e->run and starts it; kind is "docker" or "podman".
 * embedded_launch.c. */
int ms_embedded_launch(pid_t *pid, const ms_embedded *e, const char *kind, moonsand_error **err);
/* "docker" or "podman": what is wanted (NULL: either) and installed. NO_ENGINE says what to
 * install. */
int ms_embedded_choose(const char **kind, const char *wanted, moonsand_error **err);

/* embedded_bridge.c: *name is NULL where none is needed; free it with ms_free(). */
int ms_embedded_bridge_make(char **name, const ms_embedded *e, moonsand_error **err);
void ms_embedded_bridge_remove(const ms_embedded *e);

#endif
