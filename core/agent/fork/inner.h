/* What the files of the fork server's shared object share. One server a process, so its state is
 * static; I, the init of a run, shares the server's memory and works on the same. */
#ifndef MS_FORK_INNER_H
#define MS_FORK_INNER_H

#include <stdbool.h>

#include "control.h"
#include "proto.h"
#include "raw.h"

#define EXPORT __attribute__((visibility("default")))
#define NAMESPACES                                                                                 \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

struct server {
    struct control_config config;
    uint32_t tier, namespaces;
    bool served, proven, landlocked;
    int32_t pid, init_pid;
    uint32_t uid, gid; /* a new user namespace knows no name for them until it is told */
    int ruleset;       /* for P to enter, where it is landlocked without namespaces */
    long descriptors;
    struct control_failed failure;
};
extern struct server server;

/* What the glue calls. moonsand_serve() returns in P, moonsand_take() when the interpreter is to
 * run the job; the arguments and the environment, each ended by NUL, are in moonsand_text(). */
EXPORT void moonsand_serve(void);
EXPORT void moonsand_take(void);
EXPORT const char *moonsand_text(void);
EXPORT uint64_t moonsand_text_len(void);
EXPORT uint32_t moonsand_argc(void);

/* arena.c: what an interpreter may take its memory from; NULL when there is none. The size is one
 * of whole pages. */
EXPORT void *moonsand_arena(void *context, size_t size);
EXPORT void moonsand_arena_free(void *context, void *p, size_t size);
/* Gives back what is only reserved: a program may limit its own address space. */
void arenas_release(void);

/* text.c */
size_t text_len(const char *s);
char *text_add(char *to, const char *s); /* gives the end, where the NUL is */
char *text_number(char *to, uint64_t v);
bool text_is(const char *a, const char *b);
long open_path(const char *path, int flags);
long put_file(const char *path, const char *text);       /* 0 or a negative errno */
long get_file(const char *path, char *out, size_t size); /* the length, ends with NUL */
long count_entries(const char *path);

/* maps.c: calls each for every mapping until it says false; 0 or a negative errno */
struct mapping {
    uint64_t start, end;
    bool writable, shared, anonymous;
    const char *name; /* "" when it has none */
};
long maps_each(bool (*each)(const struct mapping *m, void *arg), void *arg);

/* huge.c: makes forks of what was loaded cheaper, where the kernel can */
#define HUGE_PAGE ((uint64_t)2 << 20) /* where it is another size the kernel refuses */
static inline uint64_t huge_up(uint64_t at)
{
    return (at + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
}
void huge_pages(void);

/* walls.c: what is built round a run. Each returns false when it cannot be done, and says so in
 * server.failure. */
bool wrong(const char *what, long err);
bool walls_namespaces(void);     /* in I, for all that follows */
bool walls_landlock_ready(void); /* in I: what P will need; tier NONE: what there is */
long walls_landlock_enter(void); /* in P: 0 or a negative errno */
void offer_to_oom_killer(void);

/* proof.c: tries to break out of the walls, in a child of I. */
bool walls_hold(void);

/* shared.c: false when a run could write to memory that others have, too; server.failure.what names
 * the mapping, or says why none was looked at. */
bool shares_nothing(void);

/* talk.c */
long say(const void *message, size_t len, int fd); /* fd -1: none goes with it */
/* Into [out, out + size), with descriptors when there is room for them; 0: the agent is gone. */
long hear(void *out, size_t size, int *fds, size_t most);

/* program.c: P, which is to become the program */
void step_aside(void); /* from its keepers; before there is a job */

#endif
