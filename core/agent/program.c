/* Starting the program. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fork/control.h"
#include "inside.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* The child's copies of the agent's descriptors. */
struct ends {
    int in, out, err, trouble, reports;
};

void close_span(int lowest, int highest)
{
    if (syscall(SYS_close_range, (unsigned int)lowest, (unsigned int)highest, 0u) == 0)
        return;
    struct rlimit limit;
    int top = 65535;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= (rlim_t)top)
        top = (int)limit.rlim_cur - 1;
    if (highest < top)
        top = highest;
    for (int fd = lowest; fd <= top; fd++)
        close(fd);
}

void close_from(int lowest)
{
    close_span(lowest, INT_MAX);
}

static _Noreturn void child_fail(int fd, enum step step)
{
    struct trouble t = {(int32_t)step, errno};
    /* Shorter than PIPE_BUF into an empty pipe: all or nothing. */
    (void)!write(fd, &t, sizeof t);
    _exit(127);
}

const char *search_path(char *const *env)
{
    for (; *env != NULL; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return DEFAULT_PATH;
}

/* As execvp() with the program's own PATH, but a file that is no program is an error and no shell
 * script. */
void exec_program(char *const *argv, char *const *env)
{
    if (strchr(argv[0], '/') != NULL) {
        execve(argv[0], argv, env);
        return;
    }
    char full[MS_PATH_MAX];
    size_t name = strlen(argv[0]);
    bool refused = false;
    for (const char *dir = search_path(env);; dir++) {
        size_t n = strcspn(dir, ":");
        if (n + name + 2 <= sizeof full) {
            memcpy(full, n > 0 ? dir : ".", n > 0 ? n : 1);
            size_t used = n > 0 ? n : 1;
            full[used++] = '/';
            memcpy(full + used, argv[0], name + 1);
            execve(full, argv, env);
            if (errno == EACCES)
                refused = true;
            else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP &&
                     errno != ENAMETOOLONG && errno != ENODEV && errno != ESTALE)
                return;
        }
        dir += n;
        if (*dir == 0)
            break;
    }
    errno = refused ? EACCES : ENOENT;
}

/* The first in the container to be shot when memory ends: the agent has to report it. */
static void offer_to_oom_killer(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!write(fd, "1000", 4);
    close(fd);
}

int limit(int which, uint64_t value)
{
    struct rlimit l;
    if (getrlimit((__rlimit_resource_t)which, &l) < 0)
        return -1;
    if (value < l.rlim_max)
        l.rlim_max = value;
    l.rlim_cur = l.rlim_max;
    return setrlimit((__rlimit_resource_t)which, &l);
}

void default_signals(void)
{
    struct sigaction normal;
    memset(&normal, 0, sizeof normal);
    normal.sa_handler = SIG_DFL;
    for (int s = 1; s <= SIGRTMAX; s++)
        (void)sigaction(s, &normal, NULL);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The reports' pipe under its number; the pipe of trouble may be there. */
static bool place_reports(struct ends *e)
{
    if (e->reports < 0)
        return true;
    if (e->trouble == MS_REPORTS_FD) {
        int other = fcntl(e->trouble, F_DUPFD_CLOEXEC, 3);
        if (other < 0)
            return false;
        e->trouble = other;
    }
    return e->reports == MS_REPORTS_FD ? fcntl(MS_REPORTS_FD, F_SETFD, 0) == 0
                                       : dup2(e->reports, MS_REPORTS_FD) >= 0;
}

static _Noreturn void child(struct agent *a, struct ends e)
{
    const struct request *r = &a->request;
    setsid();
    default_signals();
    umask(022);
    /* The agent's own flag hides /proc/self from its children too. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    offer_to_oom_killer();
    if (limit(RLIMIT_CORE, 0) < 0 || (r->fsize > 0 && limit(RLIMIT_FSIZE, r->fsize) < 0))
        child_fail(e.trouble, STEP_LIMIT);
    if (e.in < 0)
        e.in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (e.in < 0 || fchdir(a->cwd_fd) < 0 || dup2(e.in, 0) < 0 || dup2(e.out, 1) < 0 ||
        dup2(e.err, 2) < 0)
        child_fail(e.trouble, STEP_EXEC);
    if (a->ruleset_fd >= 0 && landlock_enter(a->ruleset_fd) < 0)
        child_fail(e.trouble, STEP_LANDLOCK);
    if (!place_reports(&e))
        child_fail(e.trouble, STEP_EXEC);
    if (e.trouble != 3) {
        if (dup3(e.trouble, 3, O_CLOEXEC) < 0)
            child_fail(e.trouble, STEP_EXEC);
        e.trouble = 3;
    }
    if (e.reports >= 0)
        close_span(4, MS_REPORTS_FD - 1);
    close_from(e.reports >= 0 ? MS_REPORTS_FD + 1 : 4);
    exec_program(r->argv, r->env);
    child_fail(e.trouble, STEP_EXEC);
}

static void set_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void start_clock(struct agent *a)
{
    a->start_ns = now_ns();
    uint64_t limit_ns = a->request.wall_limit_ns;
    struct itimerspec t = {{0, 0}, {0, 0}}; /* none; ends that of the run before */
    if (limit_ns != 0 && limit_ns <= UINT64_MAX / 2) {
        uint64_t end = a->start_ns + limit_ns;
        t.it_value.tv_sec = (time_t)(end / 1000000000u);
        t.it_value.tv_nsec = (long)(end % 1000000000u);
    }
    if (timerfd_settime(a->timer_fd, TFD_TIMER_ABSTIME, &t, NULL) < 0)
        fail(a, "limit", errno, "cannot set the timer", NULL);
}

void program_start(struct agent *a)
{
    bool with_stdin = (a->request.flags & MS_FLAG_STDIN) != 0;
    bool with_reports = (a->request.flags & MS_FLAG_REPORTS) != 0;
    int in[2] = {-1, -1}, out[2], err[2], trouble[2], reports[2] = {-1, -1};
    if ((with_stdin && pipe2(in, O_CLOEXEC) < 0) || pipe2(out, O_CLOEXEC) < 0 ||
        pipe2(err, O_CLOEXEC) < 0 || pipe2(trouble, O_CLOEXEC) < 0 ||
        (with_reports && pipe2(reports, O_CLOEXEC) < 0))
        fail(a, "exec", errno, "cannot make the program's pipes", NULL);
    /* Fewer, longer pieces; refused when the user has many pipes, which is no harm. */
    (void)fcntl(out[0], F_SETPIPE_SZ, PIPE_SIZE);
    (void)fcntl(err[0], F_SETPIPE_SZ, PIPE_SIZE);
    set_nonblock(out[0]);
    set_nonblock(err[0]);
    set_nonblock(trouble[0]);
    if (with_stdin)
        set_nonblock(in[1]);
    if (with_reports)
        set_nonblock(reports[0]);

    cgroup_read(&a->cgroup, &a->before);
    start_clock(a);
    a->phase = PH_RUN;
    if (a->server.pid > 0) {
        const int ends[] = {[JOB_FD_TROUBLE] = trouble[1],
                            [JOB_FD_STDOUT] = out[1],
                            [JOB_FD_STDERR] = err[1],
                            [JOB_FD_STDIN] = in[0],
                            [JOB_FD_REPORTS] = reports[1]};
        if (job_send(a, ends) < 0)
            fail(a, "exec", errno, "cannot hand the run to the fork server", NULL);
    } else {
        pid_t pid = fork();
        if (pid == 0)
            child(a, (struct ends){in[0], out[1], err[1], trouble[1], reports[1]});
        if (pid < 0)
            fail(a, "exec", errno, "cannot fork", NULL);
        a->main_pid = pid;
    }
    if (with_stdin)
        close(in[0]);
    close(out[1]);
    close(err[1]);
    close(trouble[1]);
    if (with_reports)
        close(reports[1]);
    a->reports.fd = reports[0];
    a->feed.fd = in[1];
    a->pipe_fd[0] = out[0];
    a->pipe_fd[1] = err[0];
    a->exec_fd = trouble[0];
    if (a->ruleset_fd >= 0)
        close(a->ruleset_fd); /* ruleset_fd itself still says that there was one */
}

void program_exec_result(struct agent *a)
{
    static const char *const stages[STEP_COUNT] = {"exec", "limit", "landlock"};
    static const char *const messages[STEP_COUNT] = {"cannot execute", "cannot set the limits for",
                                                     "cannot confine"};
    struct trouble t = {0, 0};
    ssize_t n = read(a->exec_fd, &t, sizeof t);
    if (n < 0 && (errno == EINTR || (errno == EAGAIN && !a->ended)))
        return;
    /* It was killed before it took its job out of the socket: the next program there would take it.
     */
    if (n < 0 && errno == EAGAIN && a->server.pid > 0 && a->server.odd == NULL)
        a->server.odd = "server";
    close(a->exec_fd);
    a->exec_fd = -1;
    if (n == (ssize_t)sizeof t && t.step >= 0 && t.step < STEP_COUNT)
        fail(a, stages[t.step], t.err, messages[t.step], a->request.argv[0]);
    a->started = a->say_started = true;
}
