/* An engine of our own: what endpoint.c and the parts of embedded need of each other. */
#ifndef MS_EMBEDDED_H
#define MS_EMBEDDED_H

#include <stdbool.h>
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

/* A label of a dockerd whose bridge leads nowhere: engine.c then says that there is no network. */
#define MS_LABEL_NO_NETWORK "moonsand.network=none"

/* What containers of the engine that ask for a network get. */
typedef struct ms_embedded_net {
    char bridge[16];   /* empty: none of ours (rootless Podman has its own ways) */
    char subnet[20];   /* "198.18.7.0/24" */
    char missing[256]; /* why there is no way out; empty when there is one */
    bool apart;        /* containers of the bridge cannot reach each other */
} ms_embedded_net;

/* Writes the engine's configuration below e->run, makes its network and starts it; kind is "docker"
 * or "podman". embedded_launch.c. */
int ms_embedded_launch(pid_t *pid, ms_embedded_net *net, const ms_embedded *e, const char *kind,
                       moonsand_error **err);
/* "docker" or "podman": what is wanted (NULL: either) and installed. NO_ENGINE says what to
 * install. */
int ms_embedded_choose(const char **kind, const char *wanted, moonsand_error **err);

/* The full path, in PATH and where daemons live; NULL when there is no such program. Free it. */
int ms_embedded_program(char **out, const char *name, moonsand_error **err);

/* Of the engine's bridge, there or not. */
void ms_embedded_net_name(char name[16], const ms_embedded *e);
/* Makes bridge and rules; embedded_bridge.c. What keeps it from that stands in net->missing and is
 * no error: runs need no network. net->bridge may then still be there, leading nowhere. */
int ms_embedded_net_up(ms_embedded_net *net, const ms_embedded *e, moonsand_error **err);
/* Removes what is there of both, also what a killed engine left. */
void ms_embedded_net_down(const ms_embedded *e);
/* The rules alone, for net->bridge and net->subnet; embedded_netfilter.c. Sets net->apart. */
int ms_netfilter_add(ms_embedded_net *net, moonsand_error **err);
void ms_netfilter_remove(const char *bridge);
/* Writes to a file below /proc/sys or /sys; -1 and errno. */
int ms_embedded_write_setting(const char *path, const char *value);

#endif
