/* What the agent and the fork server say to each other over a SOCK_SEQPACKET socket, one struct a
 * message. Both are built together and run on the same machine, so the structs are C's own.
 *
 *   agent                     fork server (S), the run's init (I), the program to be (P)
 *   control_config            -> S    once, the first
 *                             <- P    control_ready, with a descriptor of its /tmp
 *   control_job, descriptors  -> P
 *                             <- I    control_ended with type CONTROL_MAIN (the program itself has
 *                                     ended, others live on; Landlock tier only)
 *                             <- I    control_ended: nothing of the run lives
 *                             <- S    control_gone: I has ended, too
 *                             <- P    control_ready of the next
 *
 * or control_failed from S, the last that it says. P closes the socket before the program begins.
 */
#ifndef MS_FORK_CONTROL_H
#define MS_FORK_CONTROL_H

#include <linux/filter.h>
#include <stdint.h>

#define CONTROL_FD 3 /* in the fork server */
#define LIBRARY_FD 4 /* this shared object */
#define PRELOAD_FD 5 /* the modules' names, an empty one, the script; each ends with NUL */

#define CONTROL_FILTER_MAX 1024

enum control_type {
    CONTROL_CONFIG = 1,
    CONTROL_JOB,
    CONTROL_READY,
    CONTROL_MAIN,
    CONTROL_ENDED,
    CONTROL_GONE,
    CONTROL_FAILED,  /* the walls cannot be had */
    CONTROL_THREADS, /* the interpreter has threads: it must not be forked */
    CONTROL_SHARED,  /* it has memory that all copies would share: `what` */
};

struct control_config {
    uint32_t type, tier_lowest, net_shared, tmp_exec, landlock_abi;
    uint32_t filter_len; /* instructions of the program's seccomp filter */
    uint64_t tmp_bytes, tmp_inodes, shm_bytes;
    struct sock_filter filter[CONTROL_FILTER_MAX];
};

struct control_ready {
    uint32_t type, tier, namespaces; /* CLONE_NEW* */
    uint32_t landlocked;
    int32_t init_pid, server_pid; /* as the agent sees them */
    uint32_t descriptors;         /* of the server */
};

/* Descriptors of a job, in this order; JOB_STDIN and JOB_REPORTS say whether the last two are
 * there.
 */
enum {
    JOB_FD_TEXT,
    JOB_FD_TROUBLE,
    JOB_FD_STDOUT,
    JOB_FD_STDERR,
    JOB_FD_STDIN,
    JOB_FD_REPORTS,
    JOB_FD_COUNT
};

enum {
    JOB_STDIN = 1,
    JOB_EXEC = 2, /* the program is another than the interpreter */
    JOB_REPORTS = 4
};

struct control_job {
    uint32_t type, flags;
    uint64_t fsize; /* 0: none */
    uint32_t argc, envc;
    uint64_t text_len; /* CWD, arguments, environment; each ends with NUL */
};

struct control_ended {
    uint32_t type;
    int32_t status; /* of the program, as from wait() */
    uint64_t cpu_ns, memory_peak;
    uint32_t stragglers;
};

struct control_gone {
    uint32_t type;
    int32_t status; /* of I */
    uint64_t cpu_ns, memory_peak;
};

/* Whether another try may go well: something was used up for the moment. (ENOSPC is none of these:
 * it is what a limit on namespaces gives, which most often is 0.) */
static inline int control_passing(int err)
{
    return err == 11 /* EAGAIN */ || err == 12 /* ENOMEM */ || err == 23 /* ENFILE */ ||
           err == 24 /* EMFILE */;
}

struct control_failed {
    uint32_t type;
    int32_t err;
    char what[64];
};

union control_message { /* from the server */
    uint32_t type;
    struct control_ready ready;
    struct control_ended ended;
    struct control_gone gone;
    struct control_failed failed;
};

/* What a child says over the job's trouble pipe when it cannot become the program. */
enum step { STEP_EXEC, STEP_LIMIT, STEP_LANDLOCK, STEP_COUNT };
struct trouble {
    int32_t step, err;
};

#endif
