/* P, the copy of the interpreter that becomes the program: how it waits for its job, and takes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "inner.h"

#undef errno
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define KERNEL_SIGNALS 64

/* The C library's own, for what the interpreter and its libraries ask it. */
extern char **environ __attribute__((weak, visibility("default")));

/* P's own, not shared with anybody. */
static struct {
    struct control_job head;
    char *text, *cwd;
    char **argv, **env; /* into text; end with NULL */
} job;

static _Noreturn void give_up(int fd, enum step step, long err)
{
    struct trouble t = {(int32_t)step, (int32_t)-err};
    /* Shorter than PIPE_BUF into an empty pipe: all or nothing. */
    (void)raw(write, fd, &t, sizeof t);
    raw_exit(127);
}

static long limit(int which, uint64_t value)
{
    struct rlimit l;
    long r = raw(prlimit64, 0, which, 0, &l);
    if (r < 0)
        return r;
    if (value < l.rlim_max)
        l.rlim_max = value;
    l.rlim_cur = l.rlim_max;
    return raw(prlimit64, 0, which, &l, 0);
}

/* As a program finds them that was started by exec; the interpreter ignores some. */
static void default_signals(void)
{
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } normal = {0};
    for (int s = 1; s <= KERNEL_SIGNALS; s++)
        (void)raw(rt_sigaction, s, &normal, 0, sizeof normal.mask);
}

static const char *search_path(void)
{
    for (char **env = job.env; *env != 0; env++) {
        const char *e = *env;
        if (e[0] == 'P' && e[1] == 'A' && e[2] == 'T' && e[3] == 'H' && e[4] == '=')
            return e + 5;
    }
    return DEFAULT_PATH;
}

/* As execvp() with the program's own PATH, but a file that is no program is an error and no shell
 * script. Gives why nothing was executed. */
static long execute(char *const *argv, char *const *env)
{
    const char *name = argv[0];
    for (const char *p = name; *p != 0; p++)
        if (*p == '/')
            return raw(execve, name, argv, env);
    char full[MS_PATH_MAX];
    size_t len = text_len(name);
    bool refused = false;
    for (const char *dir = search_path();; dir++) {
        size_t n = 0;
        while (dir[n] != 0 && dir[n] != ':')
            n++;
        if (n + len + 3 <= sizeof full) {
            size_t used = 0;
            for (; used < n; used++)
                full[used] = dir[used];
            if (n == 0)
                full[used++] = '.';
            full[used++] = '/';
            text_add(full + used, name);
            long r = raw(execve, full, argv, env);
            if (r == -EACCES)
                refused = true;
            else if (r != -ENOENT && r != -ENOTDIR && r != -ELOOP && r != -ENAMETOOLONG &&
                     r != -ENODEV && r != -ESTALE)
                return r;
        }
        dir += n;
        if (*dir == 0)
            return refused ? -EACCES : -ENOENT;
    }
}

void step_aside(void)
{
    (void)raw(setsid);
    (void)raw(umask, 022);
    /* Not readable to others was the server; the program may look at itself. */
    (void)raw(prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (server.tier != MS_TIER_NAMESPACES) {
        offer_to_oom_killer();
        if (walls_landlock_enter() < 0)
            raw_exit(1);
    }
}

static void say_ready(void)
{
    struct control_ready r = {.type = CONTROL_READY,
                              .tier = server.tier,
                              .namespaces = server.namespaces,
                              .landlocked = server.landlocked,
                              .init_pid = server.init_pid,
                              .server_pid = server.pid,
                              .descriptors = (uint32_t)server.descriptors};
    /* Without namespaces it is the agent's own, which it may not have emptied yet. */
    bool own = server.tier == MS_TIER_NAMESPACES;
    long tmp = own ? open_path("/tmp", O_RDONLY | O_DIRECTORY) : -1;
    if ((own && tmp < 0) || say(&r, sizeof r, (int)tmp) < 0)
        raw_exit(1);
    if (own)
        (void)raw(close, tmp);
}

static void *map(size_t len, int fd)
{
    int flags = MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0);
    long r = raw(mmap, 0, len, PROT_READ | PROT_WRITE, flags, fd, 0);
    return r < 0 && r > -4096 ? 0 : (void *)r;
}

/* Cuts the job's text up. */
static bool read_job(int fd)
{
    size_t strings = (size_t)job.head.argc + job.head.envc;
    job.text = map(job.head.text_len, fd);
    job.argv = map((strings + 2) * sizeof(char *), -1);
    if (job.text == 0 || job.argv == 0)
        return false;
    job.env = job.argv + job.head.argc + 1;
    char *at = job.text;
    job.cwd = at;
    for (size_t i = 0; i < strings; i++) {
        at += text_len(at) + 1;
        job.argv[i < job.head.argc ? i : i + 1] = at;
    }
    return true;
}

/* The reports' pipe under its number; the pipe of trouble may be there. */
static long place_reports(int reports, int *trouble)
{
    if (*trouble == MS_REPORTS_FD) {
        long other = raw(fcntl, *trouble, F_DUPFD_CLOEXEC, 3);
        if (other < 0)
            return other;
        *trouble = (int)other;
    }
    return reports == MS_REPORTS_FD ? raw(fcntl, reports, F_SETFD, 0)
                                    : raw(dup3, reports, MS_REPORTS_FD, 0);
}

/* Opened anew: what a run does to the server's own (flags, signal, lock), the next would find. */
static long empty_input(void)
{
    long fd = open_path("/dev/null", O_RDONLY);
    if (fd == 0) /* a preloaded module had closed it */
        return raw(fcntl, 0, F_SETFD, 0);
    return fd < 0 ? fd : raw(dup3, fd, 0, 0);
}

/* All from `lowest` on, but the reports' pipe. */
static long close_others(unsigned int lowest, bool reports)
{
    long r = 0;
    if (reports)
        r = raw(close_range, lowest, MS_REPORTS_FD - 1, 0);
    return r < 0 ? r : raw(close_range, reports ? MS_REPORTS_FD + 1 : lowest, ~0u, 0);
}

EXPORT void moonsand_take(void)
{
    int fds[JOB_FD_COUNT];
    say_ready();
    if (hear(&job.head, sizeof job.head, fds, JOB_FD_COUNT) != (long)sizeof job.head)
        raw_exit(1); /* the agent is gone */
    int trouble = fds[JOB_FD_TROUBLE];
    bool with_stdin = (job.head.flags & JOB_STDIN) != 0;
    bool with_reports = (job.head.flags & JOB_REPORTS) != 0;
    long r;
    if (!read_job(fds[JOB_FD_TEXT]))
        give_up(trouble, STEP_EXEC, -ENOMEM);
    if (job.head.fsize > 0 && (r = limit(RLIMIT_FSIZE, job.head.fsize)) < 0)
        give_up(trouble, STEP_LIMIT, r);
    if ((r = with_stdin ? raw(dup3, fds[JOB_FD_STDIN], 0, 0) : empty_input()) < 0 ||
        (r = raw(dup3, fds[JOB_FD_STDOUT], 1, 0)) < 0 ||
        (r = raw(dup3, fds[JOB_FD_STDERR], 2, 0)) < 0 || (r = raw(chdir, job.cwd)) < 0)
        give_up(trouble, STEP_EXEC, r);
    if (with_reports &&
        (r = place_reports(fds[with_stdin ? JOB_FD_REPORTS : JOB_FD_STDIN], &trouble)) < 0)
        give_up(trouble, STEP_EXEC, r);
    if ((job.head.flags & JOB_EXEC) != 0) {
        default_signals();
        if (trouble != 3 && (r = raw(dup3, trouble, 3, O_CLOEXEC)) < 0)
            give_up(trouble, STEP_EXEC, r);
        (void)close_others(4, with_reports);
        give_up(3, STEP_EXEC, execute(job.argv, job.env));
    }
    /* With the pipe of trouble closed the agent knows that there is none. */
    if ((r = close_others(3, with_reports)) < 0)
        give_up(trouble, STEP_EXEC, r);
    if (&environ != 0)
        environ = job.env;
}

EXPORT const char *moonsand_text(void)
{
    return job.argv[0];
}

EXPORT uint64_t moonsand_text_len(void)
{
    return job.head.text_len - (uint64_t)(job.argv[0] - job.text);
}

EXPORT uint32_t moonsand_argc(void)
{
    return job.head.argc;
}
