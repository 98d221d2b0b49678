/* Programs of this machine under the loop; see moonsand_command_* in moonsand.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "error.h"
#include "loop.h"
#include "mem.h"

#define DEFAULT_MAX_OUTPUT (1u << 20)
#define TERM_GRACE (2 * MS_S)
/* What the program has started may keep its pipes open; nobody waits longer for more. */
#define LINGER (2 * MS_S)
/* After SIGKILL, when the loop goes: only a process stuck in the kernel needs longer. */
#define KILL_GRACE (1 * MS_S)
#define POLL_EXIT (10 * MS_MS)
#define PIECES_A_STEP 16

typedef struct output {
    moonsand_command *command;
    int fd; /* -1: at its end */
    int stream;
    bool streamed, full;
    ms_watch watch;
    ms_buf kept;
    uint64_t bytes;
} output;

struct moonsand_command {
    moonsand_loop *loop;
    char *name; /* printable */
    pid_t pid;
    int pid_fd; /* -1: a kernel before 5.3 */
    ms_watch pid_watch;
    output out[2];
    size_t max_output;
    ms_timer poll, limit, kill, linger;
    uint64_t timeout_ns;
    ms_last_call last_call;
    /* let_go: the owner has freed it; it goes on until the process is gone */
    bool exited, lost, held, done, let_go, in_callback;
    moonsand_code ended_by_us; /* MOONSAND_OK: not */
    int status;
    void (*on_output)(void *arg, int stream, const char *data, size_t len);
    void (*on_done)(void *arg, const moonsand_command_result *result, moonsand_error *err);
    void *arg;
    moonsand_command_result result;
};

/* ---- the end ------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void end_output(output *o)
{
    ms_watch_stop(&o->watch);
    close_fd(&o->fd);
}

static void destroy(moonsand_command *c)
{
    ms_timer_stop(&c->poll);
    ms_timer_stop(&c->limit);
    ms_timer_stop(&c->kill);
    ms_timer_stop(&c->linger);
    ms_last_call_stop(&c->last_call);
    ms_watch_stop(&c->pid_watch);
    close_fd(&c->pid_fd);
    for (int i = 0; i < 2; i++) {
        end_output(&c->out[i]);
        ms_buf_free(&c->out[i].kept);
    }
    ms_free(c->name);
    ms_free(c);
}

/* The process group's number stays taken as long as the leader is not reaped. */
static void signal_group(moonsand_command *c, int sig)
{
    if (!c->exited && c->pid > 0)
        kill(-c->pid, sig);
}

static void on_kill(void *arg)
{
    signal_group(arg, SIGKILL);
}

static void end_it(moonsand_command *c, moonsand_code why)
{
    if (c->exited || c->ended_by_us != MOONSAND_OK)
        return;
    c->ended_by_us = why;
    ms_timer_stop(&c->limit);
    signal_group(c, SIGTERM);
    ms_timer_start(&c->kill, c->loop, TERM_GRACE, on_kill, c);
}

static void on_limit(void *arg)
{
    end_it(arg, MOONSAND_E_TIMEOUT);
}

static moonsand_output told(const output *o)
{
    return (moonsand_output){.data = o->streamed    ? NULL
                                     : o->kept.data ? o->kept.data
                                                    : "",
                             .len = o->kept.len,
                             .bytes = o->bytes,
                             .truncated = !o->streamed && o->bytes > o->kept.len};
}

static moonsand_error *why_not(const moonsand_command *c)
{
    moonsand_error *err = NULL;
    if (c->ended_by_us == MOONSAND_E_TIMEOUT)
        ms_fail(&err, MOONSAND_E_TIMEOUT, "%s did not end within %.3g s and was ended", c->name,
                (double)c->timeout_ns / (double)MS_S);
    else if (c->ended_by_us != MOONSAND_OK)
        ms_fail(&err, c->ended_by_us, "%s was ended because the caller asked for it", c->name);
    else if (c->lost)
        ms_fail(&err, MOONSAND_E_IO,
                "how %s ended is unknown: another part of this process has reaped it", c->name);
    return err;
}

/* The last thing that a callback of the loop does: the owner may free it from on_done. */
static void deliver(moonsand_command *c)
{
    for (int i = 0; i < 2; i++)
        end_output(&c->out[i]);
    ms_timer_stop(&c->linger);
    ms_last_call_stop(&c->last_call);
    c->done = true;
    if (c->let_go) {
        destroy(c);
        return;
    }
    c->result = (moonsand_command_result){
        .version = 1,
        .exit_code = WIFEXITED(c->status) ? WEXITSTATUS(c->status) : -1,
        .signal = WIFSIGNALED(c->status) ? WTERMSIG(c->status) : 0,
        .out = told(&c->out[0]),
        .err = told(&c->out[1]),
    };
    moonsand_error *err = why_not(c);
    c->on_done(c->arg, err != NULL ? NULL : &c->result, err);
}

static void on_linger(void *arg)
{
    deliver(arg);
}

static void deliver_if_all_is_there(moonsand_command *c)
{
    if (!c->exited)
        return;
    if (c->ended_by_us != MOONSAND_OK || (c->out[0].fd < 0 && c->out[1].fd < 0))
        deliver(c);
    else if (!c->held && c->linger.loop == NULL)
        ms_timer_start(&c->linger, c->loop, LINGER, on_linger, c);
}

/* ---- output --------------------------------------------------------------------------------- */

/* False when the owner has freed the command. */
static bool take(output *o, const char *p, size_t n)
{
    moonsand_command *c = o->command;
    o->bytes += n;
    if (c->let_go)
        return true;
    if (o->streamed) {
        c->in_callback = true;
        c->on_output(c->arg, o->stream, p, n);
        c->in_callback = false;
        return !c->let_go;
    }
    size_t room = c->max_output - o->kept.len;
    /* Without memory it is as if max_output were smaller. */
    if (!o->full && ms_buf_add(&o->kept, p, n < room ? n : room) != 0)
        o->full = true;
    o->full = o->full || n > room;
    return true;
}

/* False when the owner has freed the command. */
static bool read_output(output *o)
{
    moonsand_command *c = o->command;
    for (int i = 0; i < PIECES_A_STEP && o->fd >= 0 && !c->held; i++) {
        char piece[16384];
        ssize_t n = read(o->fd, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            end_output(o);
        else if (!take(o, piece, (size_t)n))
            return false;
    }
    return true;
}

/* What moonsand_command_free() could not do while it was called from on_output. */
static void let_go(moonsand_command *c)
{
    if (c->exited)
        deliver(c);
}

static void on_readable(void *arg, uint32_t events)
{
    (void)events;
    output *o = arg;
    if (read_output(o))
        deliver_if_all_is_there(o->command);
    else
        let_go(o->command);
}

/* ---- the process ---------------------------------------------------------------------------- */

/* It is a zombie, or gone. */
static void on_exit_seen(void *arg, uint32_t events)
{
    (void)events;
    moonsand_command *c = arg;
    /* Before the leader is reaped: then the group's number could be another's. */
    if (c->ended_by_us != MOONSAND_OK)
        signal_group(c, SIGKILL);
    pid_t got;
    do
        got = waitpid(c->pid, &c->status, 0);
    while (got < 0 && errno == EINTR);
    c->lost = got < 0; /* the host ignores SIGCHLD or waits for everything */
    c->exited = true;
    ms_watch_stop(&c->pid_watch);
    ms_timer_stop(&c->limit);
    ms_timer_stop(&c->kill);
    for (int i = 0; i < 2; i++)
        if (!read_output(&c->out[i])) {
            let_go(c);
            return;
        }
    deliver_if_all_is_there(c);
}

static bool has_exited(moonsand_command *c)
{
    siginfo_t info = {0};
    int rc = waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return (rc == 0 && info.si_pid == c->pid) || (rc != 0 && errno == ECHILD);
}

static void on_poll(void *arg)
{
    moonsand_command *c = arg;
    if (has_exited(c))
        on_exit_seen(c, 0);
    else
        ms_timer_start(&c->poll, c->loop, POLL_EXIT, on_poll, c);
}

/* Discards what comes, so that a program that still has something to say can end. */
static void wait_a_little(moonsand_command *c)
{
    struct pollfd p[3] = {{.fd = c->pid_fd, .events = POLLIN},
                          {.fd = c->out[0].fd, .events = POLLIN},
                          {.fd = c->out[1].fd, .events = POLLIN}};
    poll(p, 3, (int)(POLL_EXIT / MS_MS));
    for (int i = 0; i < 2; i++)
        read_output(&c->out[i]);
}

/* The loop goes. */
static void on_last_call(void *arg)
{
    moonsand_command *c = arg;
    c->let_go = true;
    c->held = false;
    end_it(c, MOONSAND_E_CLOSED);
    int64_t kill_at = c->kill.loop != NULL ? c->kill.due_ns : 0;
    int64_t give_up = (kill_at > ms_now_ns() ? kill_at : ms_now_ns()) + KILL_GRACE;
    while (!c->exited && !has_exited(c) && ms_now_ns() < give_up) {
        if (ms_now_ns() >= kill_at)
            signal_group(c, SIGKILL);
        wait_a_little(c);
    }
    if (!c->exited && has_exited(c))
        on_exit_seen(c, 0);
    else
        destroy(c);
}

/* ---- the start ------------------------------------------------------------------------------ */

static int check(const moonsand_command_options *o, moonsand_error **err)
{
    if (o->version != 1 || o->argc == 0 || !o->argv[0] || !o->argv[0][0] || !o->on_done)
        return ms_fail(err, MOONSAND_E_INVALID, "command: argv and on_done are required");
    if ((o->stream_stdout || o->stream_stderr) && !o->on_output)
        return ms_fail(err, MOONSAND_E_INVALID, "command: streams need on_output");
    for (size_t i = 0; i < o->envc; i++)
        if (o->env[i][0] == '=' || !strchr(o->env[i], '='))
            return ms_fail(err, MOONSAND_E_INVALID, "command: env[%zu] is not NAME=value", i + 1);
    return 0;
}

static int watch(moonsand_command *c, moonsand_error **err)
{
    for (int i = 0; i < 2; i++)
        if (ms_watch_start(&c->out[i].watch, c->loop, c->out[i].fd, EPOLLIN, on_readable,
                           &c->out[i], err) != 0)
            return -1;
    c->pid_fd = pidfd_open(c->pid, 0);
    if (c->pid_fd < 0) {
        /* ESRCH: it has ended, and a host that ignores SIGCHLD has no zombies. */
        if (errno != ENOSYS && errno != ESRCH)
            return ms_fail_errno(err, errno, "pidfd_open");
        ms_timer_start(&c->poll, c->loop, POLL_EXIT, on_poll, c);
        return 0;
    }
    return ms_watch_start(&c->pid_watch, c->loop, c->pid_fd, EPOLLIN, on_exit_seen, c, err);
}

static moonsand_command *command_new(moonsand_loop *loop, const moonsand_command_options *o)
{
    moonsand_command *c = ms_calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->loop = loop;
    c->pid_fd = -1;
    c->max_output = o->max_output != 0 ? o->max_output : DEFAULT_MAX_OUTPUT;
    c->timeout_ns = o->timeout_ns;
    c->on_output = o->on_output;
    c->on_done = o->on_done;
    c->arg = o->arg;
    for (int i = 0; i < 2; i++)
        c->out[i] = (output){.command = c, .fd = -1, .stream = i + 1};
    c->out[0].streamed = o->stream_stdout;
    c->out[1].streamed = o->stream_stderr;
    char text[256];
    ms_printable(text, sizeof(text), o->argv[0], strlen(o->argv[0]));
    c->name = ms_strdup(text);
    if (c->name == NULL) {
        ms_free(c);
        return NULL;
    }
    return c;
}

int moonsand_command_start(moonsand_command **out, moonsand_loop *loop,
                           const moonsand_command_options *options, moonsand_error **err)
{
    *out = NULL;
    if (check(options, err) != 0)
        return -1;
    moonsand_command *c = command_new(loop, options);
    if (c == NULL)
        return ms_fail_nomem(err);
    int ends[2];
    if (ms_command_spawn(&c->pid, ends, options, c->name, err) != 0) {
        destroy(c);
        return -1;
    }
    c->out[0].fd = ends[0];
    c->out[1].fd = ends[1];
    ms_last_call_start(&c->last_call, loop, on_last_call, c);
    if (watch(c, err) != 0) {
        signal_group(c, SIGKILL);
        on_last_call(c);
        return -1;
    }
    if (options->timeout_ns != 0)
        ms_timer_start(&c->limit, loop, (int64_t)(options->timeout_ns & INT64_MAX), on_limit, c);
    *out = c;
    return 0;
}

void moonsand_command_hold(moonsand_command *c, bool hold)
{
    if (c->held == hold || c->done)
        return;
    c->held = hold;
    for (int i = 0; i < 2; i++) {
        output *o = &c->out[i];
        if (hold)
            ms_watch_stop(&o->watch);
        /* Unwatched it could not go on: what it has still said is lost then. */
        else if (o->fd >= 0 &&
                 ms_watch_start(&o->watch, c->loop, o->fd, EPOLLIN, on_readable, o, NULL) != 0)
            end_output(o);
    }
    if (hold)
        ms_timer_stop(&c->linger);
    else if (c->exited)
        ms_timer_start(&c->linger, c->loop, c->out[0].fd < 0 && c->out[1].fd < 0 ? 0 : LINGER,
                       on_linger, c);
}

void moonsand_command_cancel(moonsand_command *command)
{
    end_it(command, MOONSAND_E_CANCELLED);
}

void moonsand_command_free(moonsand_command *c)
{
    if (c == NULL)
        return;
    if (c->done || (c->exited && !c->in_callback)) {
        destroy(c);
        return;
    }
    c->let_go = true;
    moonsand_command_hold(c, false);
    end_it(c, MOONSAND_E_CLOSED);
}
