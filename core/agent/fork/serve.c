/* The fork server's loop. Before a run is asked for, a child is made that is process 1 of the run's
 * namespaces and shares this process's memory, as after vfork: this one sleeps until it ends. It
 * (I) builds the walls, has the C library fork the copy of the interpreter (P) that will run the
 * program, and waits for its end. P waits for the job; so all of the building is done ahead of the
 * request. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "inner.h"

#undef errno
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif
#define IS_PROGRAM 0x7fffffffL /* no pid: who gets it is P */

struct server server;

/* The interpreter's C library forks: it knows what it must keep in order. */
extern int fork(void) __attribute__((weak, visibility("default")));

/* ---- I ------------------------------------------------------------------------------------- */

static uint64_t cpu_ns(const struct rusage *u)
{
    return ((uint64_t)u->ru_utime.tv_sec + (uint64_t)u->ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)u->ru_utime.tv_usec + (uint64_t)u->ru_stime.tv_usec) * 1000u;
}

static void signals_by_default(void)
{
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } old, normal = {0};
    for (int s = 1; s <= 64; s++)
        if (raw(rt_sigaction, s, 0, &old, sizeof old.mask) == 0 && (long)old.handler != 1)
            (void)raw(rt_sigaction, s, &normal, 0, sizeof normal.mask);
}

/* Ends all that the program left, and waits for all; gives what is to be said of the run. */
static void see_it_out(int program, struct control_ended *e)
{
    struct rusage u;
    int status = 0;
    bool ended = false;
    for (;;) {
        bool kill_them = ended && server.tier == MS_TIER_NAMESPACES;
        if (kill_them)
            (void)raw(kill, -1, SIGKILL);
        long pid = raw(wait4, -1, &status, ended && !kill_them ? WNOHANG : 0, 0);
        if (pid == -EINTR)
            continue;
        if (pid == 0) {
            /* Where there is no process 1 of the run's own, the agent kills. */
            if (e->type != CONTROL_MAIN) {
                e->type = CONTROL_MAIN;
                (void)say(e, sizeof *e, -1);
            }
            if (raw(wait4, -1, &status, __WALL, 0) > 0 && WIFSIGNALED(status) &&
                WTERMSIG(status) == SIGKILL)
                e->stragglers++;
            continue;
        }
        if (pid < 0)
            break;
        if (pid == program) {
            e->status = status;
            ended = true;
        } else if (ended && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
            e->stragglers++;
        }
    }
    (void)raw(getrusage, RUSAGE_CHILDREN, &u);
    e->type = CONTROL_ENDED;
    e->cpu_ns = cpu_ns(&u);
    e->memory_peak = (uint64_t)u.ru_maxrss * 1024;
}

/* Returns only in P. */
static void init(void)
{
    server.descriptors = count_entries("/proc/self/fd");
    if (server.tier == MS_TIER_NAMESPACES) {
        if (!walls_namespaces())
            raw_exit(1);
    } else {
        signals_by_default();
        (void)raw(prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        if (!walls_landlock_ready())
            raw_exit(1);
    }
    /* Nothing is promised of a run that has nobody to be kept from. */
    if (server.tier != MS_TIER_NONE && !server.proven && !walls_hold())
        raw_exit(1);
    server.proven = true;
    int copy = fork();
    if (copy == 0) {
        step_aside();
        return;
    }
    if (copy < 0) {
        (void)wrong("fork", -EAGAIN);
        raw_exit(1);
    }
    server.served = true;
    struct control_ended e = {.type = CONTROL_ENDED};
    see_it_out(copy, &e);
    (void)say(&e, sizeof e, -1);
    raw_exit(0);
}

/* ---- the server ---------------------------------------------------------------------------- */

/* The child shares even the stack, below this frame, which it must not leave but as P, who has a
 * copy of it all. */
static __attribute__((noinline)) long make_init(void)
{
    struct clone_args args = {.flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID |
                                       CLONE_CLEAR_SIGHAND | server.namespaces,
                              .parent_tid = (uint64_t)(uintptr_t)&server.init_pid,
                              .exit_signal = SIGCHLD};
    long pid;
    if (server.tier == MS_TIER_NAMESPACES)
        pid = raw(clone3, &args, sizeof args);
    else /* where namespaces are refused, clone3 often is */
        pid = raw(clone, CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD, 0,
                  &server.init_pid, 0, 0);
    if (pid == 0) {
        init();
        return IS_PROGRAM;
    }
    return pid;
}

static bool alone(void)
{
    struct statx x = {0};
    /* A directory has two links, and this one as many more as there are threads. */
    long r = raw(statx, AT_FDCWD, "/proc/self/task", 0, STATX_NLINK, &x);
    return r == 0 && x.stx_nlink == 3;
}

static void choose(uint32_t tier)
{
    server.tier = tier;
    server.namespaces = 0;
    if (tier == MS_TIER_NAMESPACES)
        server.namespaces = NAMESPACES | (server.config.net_shared ? 0 : CLONE_NEWNET);
}

/* True: to be tried again, with less. */
static bool less(void)
{
    if (server.served || server.tier <= server.config.tier_lowest ||
        control_passing(server.failure.err))
        return false;
    server.failure.err = 0;
    server.proven = server.landlocked = false;
    choose(server.tier - 1);
    return true;
}

static _Noreturn void failed(enum control_type type)
{
    server.failure.type = type;
    (void)say(&server.failure, sizeof server.failure, -1);
    raw_exit(0);
}

static void serve_one(long pid)
{
    struct control_gone gone = {.type = CONTROL_GONE};
    struct rusage u = {0};
    long r;
    do
        r = raw(wait4, pid, &gone.status, __WALL, &u);
    while (r == -EINTR);
    if (server.ruleset > 0)
        server.ruleset = 0; /* it was the child's */
    if (server.failure.err != 0) {
        if (!less())
            failed(CONTROL_FAILED);
        return;
    }
    gone.cpu_ns = cpu_ns(&u);
    gone.memory_peak = (uint64_t)u.ru_maxrss * 1024;
    if (say(&gone, sizeof gone, -1) < 0)
        raw_exit(0);
}

EXPORT void moonsand_serve(void)
{
    arenas_release();
    huge_pages();
    (void)raw(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (hear(&server.config, sizeof server.config, 0, 0) != (long)sizeof server.config)
        raw_exit(1);
    server.pid = (int32_t)raw(getpid);
    server.uid = (uint32_t)raw(geteuid);
    server.gid = (uint32_t)raw(getegid);
    /* A container for one run has no other run to share with. */
    if (server.config.tier_lowest != MS_TIER_NONE && !shares_nothing())
        failed(CONTROL_SHARED);
    choose(MS_TIER_NAMESPACES);
    for (;;) {
        if (!alone())
            failed(CONTROL_THREADS);
        long pid = make_init();
        if (pid == IS_PROGRAM)
            return;
        if (pid > 0) {
            serve_one(pid);
        } else {
            (void)wrong(server.tier == MS_TIER_NAMESPACES ? "clone3" : "clone", pid);
            if (!less())
                failed(CONTROL_FAILED);
        }
    }
}
