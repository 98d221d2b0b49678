#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "process.h"

/* What the daemon-to-be tells its starter: first its pid, then, only if that fails, why. */
typedef struct report {
    pid_t pid;
    int errnum;
} report;

/* From here to the end of daemonise() only system calls: the caller may have threads, one of which
 * held the heap's lock when we were forked. */
void ms_child_close_from(int first)
{
    struct rlimit rl;
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0) == 0)
        return;
    int last = 65536;
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < 65536)
        last = (int)rl.rlim_cur;
    for (int fd = first; fd < last; fd++)
        close(fd);
}

void ms_child_default_signals(void)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = SIG_DFL;
    for (int sig = 1; sig < 65; sig++)
        sigaction(sig, &sa, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void become(char *const argv[], char *const envp[], int log_fd, int pipe_fd)
{
    report r = {.pid = getpid()};
    struct rlimit rl;
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* All three first above what they are going to be: a host may run with 0, 1 or 2 closed. */
    int in = fcntl(null_fd, F_DUPFD_CLOEXEC, 4);
    int out = fcntl(log_fd, F_DUPFD_CLOEXEC, 4);
    int tell = fcntl(pipe_fd, F_DUPFD_CLOEXEC, 4);
    if (in < 0 || out < 0 || tell < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 ||
        dup3(tell, 3, O_CLOEXEC) < 0)
        _exit(1);
    ms_child_close_from(4);
    umask(022);
    /* Engines hold many descriptors and the soft limit is for programs that use select(2). */
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
    if (chdir("/") == 0 && write(3, &r, sizeof r) == (ssize_t)sizeof r)
        execve(argv[0], argv, envp);
    r.errnum = errno ? errno : EIO;
    if (write(3, &r, sizeof r) != (ssize_t)sizeof r)
        _exit(1);
    _exit(127);
}

_Noreturn static void daemonise(char *const argv[], char *const envp[], int log_fd, int pipe_fd)
{
    ms_child_default_signals();
    setsid();
    /* Twice, so that the daemon is no session leader (it can get no terminal) and not our child. */
    pid_t pid = fork();
    if (pid == 0)
        become(argv, envp, log_fd, pipe_fd);
    report r = {.errnum = errno};
    if (pid < 0 && write(pipe_fd, &r, sizeof r) != (ssize_t)sizeof r)
        _exit(1);
    _exit(0);
}

static bool read_report(int fd, report *r)
{
    ssize_t n;
    do
        n = read(fd, r, sizeof *r);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *r; /* smaller than PIPE_BUF: never in pieces */
}

static int open_log(const char *log, moonsand_error **err)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    if (fd < 0)
        ms_fail_errno(err, errno, "%s", log);
    return fd;
}

int ms_process_daemon(pid_t *pid, char *const argv[], char *const envp[], const char *log,
                      moonsand_error **err)
{
    int fds[2];
    int log_fd = open_log(log, err);
    if (log_fd < 0)
        return -1;
    if (pipe2(fds, O_CLOEXEC)) {
        int why = errno;
        close(log_fd);
        return ms_fail_errno(err, why, "pipe");
    }
    /* A handler of the host must not run in the child. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t child = fork();
    if (child == 0)
        daemonise(argv, envp, log_fd, fds[1]);
    int why = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(log_fd);
    close(fds[1]);
    report first = {0}, second = {0};
    if (child < 0)
        first.errnum = why;
    else if (!read_report(fds[0], &first))
        first.errnum = ECHILD;
    else if (first.errnum == 0)
        read_report(fds[0], &second);
    close(fds[0]);
    /* The host may reap all children itself; then there is nothing left to wait for. */
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    *pid = first.pid;
    why = first.errnum ? first.errnum : second.errnum;
    return why ? ms_fail_errno(err, why, "cannot start %s", argv[0]) : 0;
}
