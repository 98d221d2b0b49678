/* The fork server's loop. Before a run is asked for, a child is made that is process 1 of the run's
 * namespaces and shares this process's memory, as after vfork: this one sleeps until it ends. It (I)
 * builds the walls, waits for a job, and has the C library fork the copy of the interpreter (P) that
 * runs the program; so all of the building is done ahead of the request. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <signal.h>
#include <sys/mman.h>
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
static char interpreter[64];

/* Looked up while the process may still look at itself. */
static void own_name(void)
{
    char path[1024];
    long n = raw(readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return;
    path[n] = 0;
    long base = n;
    while (base > 0 && path[base - 1] != '/')
        base--;
    if (text_len(path + base) < sizeof interpreter)
        text_add(interpreter, path + base);
}

/* The interpreter's C library forks: it knows what it must keep in order. */
extern int fork(void) __attribute__((weak, visibility("default")));

EXPORT int moonsand_serve(void);
EXPORT const char *moonsand_text(void);
EXPORT uint64_t moonsand_text_len(void);
EXPORT uint32_t moonsand_argc(void);

/* ---- messages ----------------------------------------------------------------------------- */

static long say(const void *message, size_t len, int fd)
{
    struct iovec part = {(void *)(uintptr_t)message, len};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } with = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                       .cmsg_level = SOL_SOCKET,
                       .cmsg_type = SCM_RIGHTS}};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        *(int *)(void *)CMSG_DATA(&with.head) = fd;
        m.msg_control = &with;
        m.msg_controllen = sizeof with.space;
    }
    long r;
    do
        r = raw(sendmsg, CONTROL_FD, &m, MSG_NOSIGNAL);
    while (r == -EINTR);
    return r;
}

/* Into [out, out + size), with descriptors when there is room for them; 0: the agent is gone. */
static long hear(void *out, size_t size, int *fds, size_t most)
{
    struct iovec part = {out, size};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(JOB_FD_COUNT * sizeof(int))];
    } with;
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = most > 0 ? &with : 0,
                       .msg_controllen = most > 0 ? sizeof with.space : 0};
    long r;
    do
        r = raw(recvmsg, CONTROL_FD, &m, MSG_CMSG_CLOEXEC);
    while (r == -EINTR);
    for (size_t i = 0; i < most; i++)
        fds[i] = -1;
    if (r <= 0 || m.msg_controllen < sizeof(struct cmsghdr) || with.head.cmsg_type != SCM_RIGHTS)
        return r;
    size_t n = (with.head.cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n && i < most; i++)
        fds[i] = ((const int *)(const void *)CMSG_DATA(&with.head))[i];
    return r;
}

/* ---- I ------------------------------------------------------------------------------------- */

static uint64_t cpu_ns(const struct rusage *u)
{
    return ((uint64_t)u->ru_utime.tv_sec + (uint64_t)u->ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)u->ru_utime.tv_usec + (uint64_t)u->ru_stime.tv_usec) * 1000u;
}

static void *map(size_t len, int fd)
{
    int flags = MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0);
    long r = raw(mmap, 0, len, PROT_READ | PROT_WRITE, flags, fd, 0);
    return r < 0 && r > -4096 ? 0 : (void *)r;
}

/* Cuts the job's text up. What I maps here lives in the server's memory, so unmap() follows. */
static bool take_job(int fd)
{
    struct job *j = &server.job;
    size_t pointers = ((size_t)j->head.argc + j->head.envc + 2) * sizeof(char *);
    j->text = map(j->head.text_len, fd);
    j->argv = map(pointers, -1);
    if (j->text == 0 || j->argv == 0)
        return false;
    j->env = j->argv + j->head.argc + 1;
    char *at = j->text;
    j->cwd = at;
    for (uint32_t i = 0; i < j->head.argc + j->head.envc; i++) {
        at += text_len(at) + 1;
        j->argv[i < j->head.argc ? i : i + 1] = at;
    }
    return true;
}

static void drop_job(void)
{
    struct job *j = &server.job;
    if (j->text != 0)
        (void)raw(munmap, j->text, j->head.text_len);
    if (j->argv != 0)
        (void)raw(munmap, j->argv,
                  ((size_t)j->head.argc + j->head.envc + 2) * sizeof(char *));
    j->text = 0;
    j->argv = 0;
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

static bool say_ready(long descriptors)
{
    long tmp = open_path("/tmp", O_RDONLY | O_DIRECTORY);
    if (tmp < 0)
        return wrong("/tmp", tmp);
    struct control_ready r = {.type = CONTROL_READY,
                              .tier = server.tier,
                              .namespaces = server.namespaces,
                              .landlocked = server.landlocked,
                              .init_pid = server.init_pid,
                              .server_pid = server.pid,
                              .descriptors = (uint32_t)descriptors};
    text_add(r.program, interpreter);
    long n = say(&r, sizeof r, (int)tmp);
    (void)raw(close, tmp);
    if (n < 0)
        return wrong("sendmsg", n);
    server.served = true;
    return true;
}

/* Returns only in P. */
static void init(void)
{
    int fds[JOB_FD_COUNT];
    long descriptors = count_entries("/proc/self/fd");
    if (server.tier == MS_TIER_NAMESPACES) {
        if (!walls_namespaces())
            raw_exit(1);
    } else {
        signals_by_default();
        (void)raw(prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        if (!walls_landlock_ready())
            raw_exit(1);
    }
    if (!server.proven && !walls_hold())
        raw_exit(1);
    server.proven = true;
    if (!say_ready(descriptors) || hear(&server.job.head, sizeof server.job.head, fds,
                                        JOB_FD_COUNT) != (long)sizeof server.job.head)
        raw_exit(1);
    struct control_ended e = {.type = CONTROL_ENDED};
    int program = take_job(fds[JOB_FD_TEXT]) ? fork() : -ENOMEM;
    if (program == 0) {
        become(fds);
        return;
    }
    if (program < 0) {
        struct trouble t = {STEP_FORK, EAGAIN};
        (void)raw(write, fds[JOB_FD_TROUBLE], &t, sizeof t);
    }
    for (size_t i = 0; i < JOB_FD_COUNT; i++)
        if (fds[i] >= 0)
            (void)raw(close, fds[i]);
    see_it_out(program, &e);
    drop_job();
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
#if defined(__x86_64__)
        pid = raw(clone, CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD, 0,
                  &server.init_pid, 0, 0);
#else
        pid = raw(clone, CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD, 0,
                  &server.init_pid, 0, 0);
#endif
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
    if (server.served || server.tier != MS_TIER_NAMESPACES ||
        server.config.tier_lowest >= MS_TIER_NAMESPACES)
        return false;
    server.failure.err = 0;
    server.proven = server.landlocked = false;
    choose(MS_TIER_LANDLOCK);
    return true;
}

static _Noreturn void failed(void)
{
    server.failure.type = CONTROL_FAILED;
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
    drop_job();
    if (server.ruleset > 0)
        server.ruleset = 0; /* it was the child's */
    if (server.failure.err != 0) {
        if (!less())
            failed();
        return;
    }
    gone.cpu_ns = cpu_ns(&u);
    gone.memory_peak = (uint64_t)u.ru_maxrss * 1024;
    if (say(&gone, sizeof gone, -1) < 0)
        raw_exit(0);
}

EXPORT int moonsand_serve(void)
{
    struct control_failed threads = {.type = CONTROL_THREADS};
    own_name();
    (void)raw(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (hear(&server.config, sizeof server.config, 0, 0) != (long)sizeof server.config)
        raw_exit(1);
    server.pid = (int32_t)raw(getpid);
    server.uid = (uint32_t)raw(geteuid);
    server.gid = (uint32_t)raw(getegid);
    choose(MS_TIER_NAMESPACES);
    for (;;) {
        if (!alone()) {
            (void)say(&threads, sizeof threads, -1);
            raw_exit(0);
        }
        long pid = make_init();
        if (pid == IS_PROGRAM)
            return 0;
        if (pid > 0) {
            serve_one(pid);
        } else {
            (void)wrong(server.tier == MS_TIER_NAMESPACES ? "clone3" : "clone", pid);
            if (!less())
                failed();
        }
    }
}

/* ---- for the glue, in P: arguments, then environment; each ends with NUL ----------------------- */

EXPORT const char *moonsand_text(void)
{
    return server.job.argv[0];
}

EXPORT uint64_t moonsand_text_len(void)
{
    return server.job.head.text_len - (uint64_t)(server.job.argv[0] - server.job.text);
}

EXPORT uint32_t moonsand_argc(void)
{
    return server.job.head.argc;
}
