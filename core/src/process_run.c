#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "loop.h"
#include "process.h"

/* What the middle process tells: why there is no program, or how it ended. */
typedef struct ending {
    int errnum;
    int status; /* of waitpid */
} ending;

/* From here to the end of middle() only system calls: the caller may have threads. */
_Noreturn static void become(char *const argv[], char *const envp[], int in_fd, int err_fd,
                             int tell)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* All above what they are going to be: a host may run with 0, 1 or 2 closed. */
    int in = fcntl(in_fd >= 0 ? in_fd : null_fd, F_DUPFD_CLOEXEC, 4);
    int out = fcntl(null_fd, F_DUPFD_CLOEXEC, 4);
    int say = fcntl(err_fd, F_DUPFD_CLOEXEC, 4);
    int told = fcntl(tell, F_DUPFD_CLOEXEC, 4);
    if (in >= 0 && out >= 0 && say >= 0 && told >= 0 && dup2(in, 0) >= 0 && dup2(out, 1) >= 0 &&
        dup2(say, 2) >= 0 && dup3(told, 3, O_CLOEXEC) >= 0) {
        ms_child_close_from(4);
        tell = 3;
        if (chdir("/") == 0)
            execve(argv[0], argv, envp);
    }
    ending e = {.errnum = errno ? errno : EIO};
    if (write(tell, &e, sizeof e) != (ssize_t)sizeof e)
        _exit(1);
    _exit(127);
}

/* The host may ignore SIGCHLD or reap all children itself, and then no exit status reaches us. So
 * a child of ours waits for the program and tells. */
_Noreturn static void middle(char *const argv[], char *const envp[], int in_fd, int err_fd,
                             int tell)
{
    ms_child_default_signals();
    setsid(); /* a group of its own, to be killed as one */
    pid_t pid = fork();
    if (pid == 0)
        become(argv, envp, in_fd, err_fd, tell);
    ending e = {.errnum = pid < 0 ? errno : 0};
    while (pid > 0 && waitpid(pid, &e.status, 0) < 0 && errno == EINTR) {
    }
    _exit(write(tell, &e, sizeof e) == (ssize_t)sizeof e ? 0 : 1);
}

/* The first report counts: if exec fails, it is the program's own. */
static int read_ending(ending *e, int fd, int64_t limit_ns)
{
    int64_t until = ms_now_ns() + limit_ns;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = until - ms_now_ns();
        int n = left > 0 ? poll(&p, 1, (int)(left / MS_MS) + 1) : 0;
        if (n == 0)
            return ETIMEDOUT;
        if (n < 0 && errno == EINTR)
            continue;
        ssize_t got = n > 0 ? read(fd, e, sizeof *e) : -1;
        if (got < 0 && errno == EINTR)
            continue;
        return got == (ssize_t)sizeof *e ? e->errnum : ECHILD;
    }
}

/* A file in memory, so that neither side ever waits for the other. */
static int memory_file(const char *text)
{
    int fd = memfd_create("moonsand", MFD_CLOEXEC);
    size_t n = text ? strlen(text) : 0;
    for (size_t done = 0; fd >= 0 && done < n;) {
        ssize_t put = write(fd, text + done, n - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            int why = errno;
            close(fd);
            errno = why;
            return -1;
        }
        done += (size_t)put;
    }
    if (fd >= 0)
        lseek(fd, 0, SEEK_SET);
    return fd;
}

static void read_said(char *said, size_t size, int fd)
{
    char raw[512];
    ssize_t n = pread(fd, raw, sizeof raw, 0);
    while (n > 0 && (raw[n - 1] == '\n' || raw[n - 1] == ' '))
        n--;
    ms_printable(said, size, raw, n > 0 ? (size_t)n : 0);
}

int ms_process_run(int *status, char *const argv[], char *const envp[], const char *input,
                   char *said, size_t said_size, int64_t limit_ns, moonsand_error **err)
{
    int fds[2] = {-1, -1};
    int in_fd = input ? memory_file(input) : -1;
    int err_fd = input && in_fd < 0 ? -1 : memory_file(NULL);
    int why = 0;
    ending e = {0};
    said[0] = 0;
    if (err_fd < 0 || pipe2(fds, O_CLOEXEC)) {
        why = errno;
    } else {
        /* A handler of the host must not run in the child. */
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        pid_t child = fork();
        if (child == 0)
            middle(argv, envp, in_fd, err_fd, fds[1]);
        why = child < 0 ? errno : 0;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        close(fds[1]);
        if (child > 0) {
            why = read_ending(&e, fds[0], limit_ns);
            if (why == ETIMEDOUT && kill(-child, SIGKILL) != 0)
                kill(child, SIGKILL);
            while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
            }
            read_said(said, said_size, err_fd);
        }
        close(fds[0]);
    }
    if (in_fd >= 0)
        close(in_fd);
    if (err_fd >= 0)
        close(err_fd);
    if (why == ETIMEDOUT)
        return ms_fail(err, MOONSAND_E_TIMEOUT, "%s has not ended", argv[0]);
    if (why)
        return ms_fail_errno(err, why, "cannot run %s", argv[0]);
    *status = WIFSIGNALED(e.status) ? 128 + WTERMSIG(e.status) : WEXITSTATUS(e.status);
    return 0;
}
