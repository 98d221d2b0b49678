#include "dial.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "mem.h"
#include "program.h"

#define NOTE_MAX 512
#define CLOSE_GRACE (2 * MS_S)

/* One running program. */
typedef struct program {
    ms_dial *dial;
    struct program *prev, *next;
    pid_t pid;
    /* fd: our copy of the program's own socket, by which we see that the other end was closed */
    int fd, stderr_fd, pid_fd;
    ms_watch watch, stderr_watch, pid_watch;
    ms_timer grace;
    char tail[NOTE_MAX];
    size_t tail_len;
} program;

struct ms_dial {
    moonsand_loop *loop;
    char *const *argv;
    int fd;
    ms_watch watch;
    program *first;
    char dir[64], path[80];
    char note[NOTE_MAX + 1];
};

/* ---- one program ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void set_note(ms_dial *d, const char *tail, size_t len)
{
    while (len != 0 && (tail[len - 1] == '\n' || tail[len - 1] == '\r'))
        len--;
    ms_printable(d->note, sizeof(d->note), tail, len);
    for (size_t i = 0; i < len && d->note[i] != '\0'; i++)
        if (tail[i] == '\n' || tail[i] == '\r')
            d->note[i] = ' ';
}

/* Keeps the pipe empty, or a program that says much would stop in the middle of a sentence. */
static void read_stderr(program *g)
{
    for (int i = 0; i < 64 && g->stderr_fd >= 0; i++) {
        char piece[NOTE_MAX];
        ssize_t n = read(g->stderr_fd, piece, sizeof(piece));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            ms_watch_stop(&g->stderr_watch);
            close_fd(&g->stderr_fd);
            return;
        }
        size_t len = (size_t)n;
        size_t keep = g->tail_len;
        if (keep + len > NOTE_MAX)
            keep = NOTE_MAX - len;
        memmove(g->tail, g->tail + g->tail_len - keep, keep);
        memcpy(g->tail + keep, piece, len);
        g->tail_len = keep + len;
        set_note(g->dial, g->tail, g->tail_len);
    }
}

static void on_stderr(void *arg, uint32_t events)
{
    (void)events;
    read_stderr(arg);
}

static void reap(program *g)
{
    /* ECHILD: the host program ignores SIGCHLD, so the kernel has reaped it. */
    while (g->pid > 0 && waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    g->pid = 0;
}

/* Through the pidfd: a process id that somebody else has reaped may be another process by now. */
static void kill_it(program *g)
{
    if (g->pid_fd >= 0)
        pidfd_send_signal(g->pid_fd, SIGKILL, NULL, 0);
    else if (g->pid > 0)
        kill(g->pid, SIGKILL);
}

static void program_free(program *g)
{
    if (g->prev != NULL)
        g->prev->next = g->next;
    else if (g->dial->first == g)
        g->dial->first = g->next;
    if (g->next != NULL)
        g->next->prev = g->prev;
    ms_timer_stop(&g->grace);
    ms_watch_stop(&g->watch);
    ms_watch_stop(&g->stderr_watch);
    ms_watch_stop(&g->pid_watch);
    close_fd(&g->fd);
    close_fd(&g->stderr_fd);
    kill_it(g);
    reap(g);
    close_fd(&g->pid_fd);
    ms_free(g);
}

static void on_ended(void *arg, uint32_t events)
{
    (void)events;
    program *g = arg;
    read_stderr(g);
    program_free(g);
}

static void on_grace(void *arg)
{
    kill_it(arg);
}

static void on_closed(void *arg, uint32_t events)
{
    (void)events;
    program *g = arg;
    ms_watch_stop(&g->watch);
    ms_timer_start(&g->grace, g->dial->loop, CLOSE_GRACE, on_grace, g);
}

/* Takes fd, the program's end of the connection. */
static int program_start(ms_dial *d, int fd, moonsand_error **err)
{
    int pipe_fd[2] = {-1, -1};
    program *g = ms_calloc(1, sizeof(*g));
    if (g == NULL) {
        close(fd);
        return ms_fail_nomem(err);
    }
    g->dial = d;
    g->fd = fd;
    g->stderr_fd = g->pid_fd = -1;
    if (ms_above_stdio(&g->fd) != 0 || pipe2(pipe_fd, O_CLOEXEC) != 0 ||
        ms_above_stdio(&pipe_fd[1]) != 0 || fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK) != 0) {
        ms_fail_errno(err, errno, "cannot make a pipe for %s", d->argv[0]);
        goto fail;
    }
    g->stderr_fd = pipe_fd[0];
    pipe_fd[0] = -1;
    int e = ms_program_start(
        &g->pid,
        &(ms_program){.argv = d->argv, .in = g->fd, .out = g->fd, .err = pipe_fd[1], .cwd = -1});
    if (e != 0) {
        g->pid = 0;
        ms_fail_errno(err, e, "cannot start %s", d->argv[0]);
        goto fail;
    }
    close_fd(&pipe_fd[1]);
    g->pid_fd = pidfd_open(g->pid, 0);
    if (g->pid_fd < 0) {
        ms_fail_errno(err, errno, "pidfd_open");
        goto fail;
    }
    /* unix(7) and poll(2): a hangup is told without being asked for, when the other end is closed.
     * pidfd_open(2): "the file descriptor becomes readable when the process terminates". */
    if (ms_watch_start(&g->watch, d->loop, g->fd, 0, on_closed, g, err) != 0 ||
        ms_watch_start(&g->stderr_watch, d->loop, g->stderr_fd, EPOLLIN, on_stderr, g, err) != 0 ||
        ms_watch_start(&g->pid_watch, d->loop, g->pid_fd, EPOLLIN, on_ended, g, err) != 0)
        goto fail;
    g->next = d->first;
    if (g->next != NULL)
        g->next->prev = g;
    d->first = g;
    return 0;
fail:
    close_fd(&pipe_fd[0]);
    close_fd(&pipe_fd[1]);
    program_free(g);
    return -1;
}

/* ---- the socket ---- */

/* The directory is closed to other users; this closes it to other processes of the same one. */
static bool is_ours(int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid == getpid() &&
           who.uid == geteuid();
}

static void on_connection(void *arg, uint32_t events)
{
    (void)events;
    ms_dial *d = arg;
    int fd;
    /* blocking for the program, as a shell would give it */
    while ((fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        moonsand_error *err = NULL;
        if (!is_ours(fd)) {
            close(fd);
        } else if (program_start(d, fd, &err) != 0) {
            const char *why = moonsand_error_message(err);
            set_note(d, why, strlen(why));
            moonsand_error_free(err);
        }
    }
}

/* Not in the abstract namespace: libcurl 7.88 takes a connection without a path for one that is not
 * yet resolved, and never uses it again. */
static int make_socket(ms_dial *d, moonsand_error **err)
{
    const char *tmp = getenv("XDG_RUNTIME_DIR");
    if (tmp == NULL || tmp[0] != '/' || strlen(tmp) > 40 || access(tmp, W_OK) != 0)
        tmp = "/tmp";
    snprintf(d->dir, sizeof(d->dir), "%s/moonsand-XXXXXX", tmp);
    if (mkdtemp(d->dir) == NULL) {
        ms_fail_errno(err, errno, "cannot make a directory in %s", tmp);
        d->dir[0] = '\0';
        return -1;
    }
    snprintf(d->path, sizeof(d->path), "%s/dial", d->dir);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, d->path, strlen(d->path));
    d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->fd < 0 || bind(d->fd, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(d->fd, 128) != 0)
        return ms_fail_errno(err, errno, "cannot listen on %s", d->path);
    return 0;
}

int ms_dial_new(ms_dial **out, moonsand_loop *loop, char *const argv[], moonsand_error **err)
{
    *out = NULL;
    ms_dial *d = ms_calloc(1, sizeof(*d));
    if (d == NULL)
        return ms_fail_nomem(err);
    d->loop = loop;
    d->argv = argv;
    d->fd = -1;
    if (make_socket(d, err) != 0) {
        ms_dial_free(d);
        return -1;
    }
    if (ms_watch_start(&d->watch, loop, d->fd, EPOLLIN, on_connection, d, err) != 0) {
        ms_dial_free(d);
        return -1;
    }
    *out = d;
    return 0;
}

const char *ms_dial_path(const ms_dial *d)
{
    return d->path;
}

const char *ms_dial_note(ms_dial *d)
{
    for (program *g = d->first; g != NULL; g = g->next)
        read_stderr(g);
    return d->note;
}

void ms_dial_free(ms_dial *d)
{
    if (d == NULL)
        return;
    while (d->first != NULL)
        program_free(d->first);
    ms_watch_stop(&d->watch);
    close_fd(&d->fd);
    if (d->dir[0] != '\0') {
        unlink(d->path);
        rmdir(d->dir);
    }
    ms_free(d);
}

/* ---- unix sockets ---- */

static void fail_unix(moonsand_error **err, const char *path, int e)
{
    switch (e) {
    case ENOENT:
    case ENOTDIR:
        ms_fail(err, MOONSAND_E_CONNECT,
                "the socket %s does not exist; start the engine or name another endpoint", path);
        break;
    case EACCES:
    case EPERM:
        ms_fail(err, MOONSAND_E_CONNECT,
                "no permission to use the socket %s; join its group (often `docker`), or run as "
                "its owner",
                path);
        break;
    case ECONNREFUSED:
        ms_fail(err, MOONSAND_E_CONNECT,
                "the connection was refused: nothing listens on the socket %s (left behind by an "
                "engine that has ended?); start the engine",
                path);
        break;
    default:
        ms_fail_errno(err, e, "cannot connect to the socket %s", path);
    }
}

/* We connect it ourselves: curl takes the EAGAIN of a full backlog for "in progress" (connect(2):
 * "For nonblocking UNIX domain sockets, the socket is nonblocking, and the connection cannot be
 * completed immediately"), and would then write to a socket that never gets connected. */
int ms_dial_probe(const char *path, moonsand_error **err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(to.sun_path))
        return ms_fail(err, MOONSAND_E_INVALID, "the path of a socket has at most %zu bytes: %s",
                       sizeof(to.sun_path) - 1, path);
    memcpy(to.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return ms_fail_errno(err, errno, "socket");
    /* EAGAIN: somebody listens, and is busy */
    int e = connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0 ? errno : 0;
    close(fd);
    if (e == 0 || e == EAGAIN)
        return 0;
    fail_unix(err, path, e);
    return -1;
}
