/* The agent: process 1 of the container. It starts one program, hands its output to the host, sees
 * that nothing outlives it, and says how it ended. See proto.h for what is said. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "inside.h"

#define CREDIT_STEP 65536
#define KILL_AGAIN_MS 10
#define DRAIN_NS                                                                                   \
    UINT64_C(2000000000) /* the container of a host that does not close is not kept for ever */

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void die(void)
{
    kill(-1, SIGKILL);
    _exit(1);
}

/* Again and again: whatever was being forked when the last one came. */
static void kill_again(struct agent *a)
{
    if (a->server.pid > 0)
        job_kill(a);
    else
        kill(-1, SIGKILL);
}

void kill_all(struct agent *a, int why)
{
    if (a->killed == MS_KILLED_NO)
        a->killed = why;
    a->killing = true;
    kill_again(a);
}

static _Noreturn void refuse(const char *why)
{
    (void)!write(STDERR_FILENO, why, strlen(why));
    _exit(125);
}

/* Ignored and not blocked: what the program queues against process 1 would stay queued, and count
 * against its user, if it were blocked. SIGCHLD alone is wanted. */
static void quiet_signals(struct agent *a)
{
    struct sigaction ignore;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    for (int s = 1; s <= SIGRTMAX; s++)
        if (s != SIGCHLD)
            (void)sigaction(s, &ignore, NULL);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (sigprocmask(SIG_SETMASK, &child, NULL) < 0 ||
        (a->signal_fd = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        refuse("moonsand-agent: no signal descriptor\n");
}

static void set_up(struct agent *a)
{
    /* Before anything else: the program has the same user and must not reach in. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (getpid() != 1)
        refuse("moonsand-agent: runs only as process 1 of a container\n");
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            _exit(125);
    close_from(3);
    umask(022);
    a->cwd_fd = a->output_fd = a->ruleset_fd = a->exec_fd = -1;
    a->pipe_fd[0] = a->pipe_fd[1] = a->feed.fd = a->file.fd = a->reports.fd = -1;
    a->server.fd = a->server.words_fd = a->server.tmp_fd = -1;
    quiet_signals(a);
    a->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (a->timer_fd < 0)
        refuse("moonsand-agent: no timer\n");
    /* Waiting for a slow host happens in poll() only, so that the clock goes on meanwhile. */
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    if (flags < 0 || fcntl(STDOUT_FILENO, F_SETFL, flags | O_NONBLOCK) < 0)
        refuse("moonsand-agent: cannot make stdout non-blocking\n");
    a->out.deep = fcntl(STDOUT_FILENO, F_SETPIPE_SZ, PIPE_SIZE) >= PIPE_SIZE;
    a->landlock_abi = landlock_abi();
    cgroup_open(&a->cgroup);
    frame_begin(a, MS_F_HELLO);
    frame_number(a, MS_T_VERSION, MS_PROTO_VERSION);
    frame_number(a, MS_T_LANDLOCK, (uint64_t)(unsigned int)a->landlock_abi);
    frame_end(a);
    out_flush(a);
}

static void reap(struct agent *a)
{
    for (;;) {
        int status = 0;
        pid_t pid = wait4(-1, &status, WNOHANG, NULL);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0)
            a->alone = true; /* ECHILD */
        if (pid <= 0)
            return;
        if (pid == a->server.pid)
            server_died(a);
        if (pid == a->main_pid) {
            a->wall_ns = now_ns() - a->start_ns;
            a->status = status;
            a->main_pid = 0;
            a->ended = true;
        } else if (a->killing && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
            a->stragglers++;
        }
    }
}

/* The program may have ended; then all it left has to, and process 1 is the parent of it all. */
static void children(struct agent *a)
{
    struct signalfd_siginfo info;
    while (read(a->signal_fd, &info, sizeof info) > 0)
        continue;
    reap(a);
    if (a->server.pid > 0)
        return;
    if (a->ended && a->exec_fd >= 0)
        program_exec_result(a);
    if (a->ended && a->phase == PH_RUN)
        a->phase = PH_END;
    if (a->phase == PH_END && !a->alone)
        kill_all(a, MS_KILLED_NO);
}

static void timer(struct agent *a)
{
    uint64_t count;
    if (read(a->timer_fd, &count, sizeof count) == (ssize_t)sizeof count && a->phase == PH_RUN)
        kill_all(a, MS_KILLED_TIMEOUT);
}

enum source { FROM_STDOUT, FROM_STDERR, FROM_REPORTS, SOURCES };

static bool pump(struct agent *a, int source)
{
    return source == FROM_REPORTS ? pump_reports(a, false) : pump_output(a, source);
}

/* Makes the next frame, if there is something to say. */
static void produce(struct agent *a, const bool ready[SOURCES])
{
    out_push(a);
    if (!out_idle(a))
        return;
    if (a->say_pong) { /* first: it was asked for between runs */
        a->say_pong = false;
        frame_begin(a, MS_F_PONG);
        frame_end(a);
    } else if (a->say_started) {
        a->say_started = false;
        frame_begin(a, MS_F_STARTED);
        frame_end(a);
    } else if (a->started && !a->feed.eof && a->feed.owed > 0 && a->phase == PH_RUN &&
               !a->killing && (a->feed.owed >= CREDIT_STEP || a->feed.len == 0)) {
        frame_begin(a, MS_F_CREDIT);
        frame_number(a, MS_T_SIZE, a->feed.owed);
        frame_end(a);
        a->feed.owed = 0;
    } else if (a->started) {
        int source = a->turn;
        a->turn = (a->turn + 1) % SOURCES;
        for (int i = 0; i < SOURCES; i++, source = (source + 1) % SOURCES)
            if (ready[source] && pump(a, source))
                break;
    }
    out_push(a);
}

static void one_turn(struct agent *a)
{
    enum {
        F_IN,
        F_OUT,
        F_SIGNAL,
        F_TIMER,
        F_EXEC,
        F_FEED,
        F_PIPE0,
        F_PIPE1,
        F_REPORTS,
        F_SERVER,
        F_WORDS,
        F_COUNT
    };
    bool talk = out_idle(a) && a->started && !a->say_started;
    int out_fd, wait_ms = out_wait(a, &out_fd);
    struct pollfd f[F_COUNT] = {
        [F_IN] = {STDIN_FILENO, POLLIN, 0},
        [F_OUT] = {out_fd, POLLOUT, 0},
        [F_SIGNAL] = {a->signal_fd, POLLIN, 0},
        [F_TIMER] = {a->timer_fd, POLLIN, 0},
        [F_EXEC] = {a->exec_fd, POLLIN, 0},
        [F_FEED] = {a->feed.len > 0 ? a->feed.fd : -1, POLLOUT, 0},
        [F_PIPE0] = {talk ? a->pipe_fd[0] : -1, POLLIN, 0},
        [F_PIPE1] = {talk ? a->pipe_fd[1] : -1, POLLIN, 0},
        [F_REPORTS] = {talk ? a->reports.fd : -1, POLLIN, 0},
        [F_SERVER] = {a->server.fd, POLLIN, 0},
        [F_WORDS] = {a->server.words_fd, POLLIN, 0},
    };
    if ((a->killing || a->phase == PH_BETWEEN) && wait_ms < 0)
        wait_ms = KILL_AGAIN_MS;
    if (talk && a->reports.more)
        wait_ms = 0;
    if (poll(f, F_COUNT, wait_ms) < 0) {
        if (errno == EINTR)
            return;
        die();
    }
    if (f[F_TIMER].revents != 0)
        timer(a);
    if (f[F_IN].revents != 0)
        in_read(a);
    if (a->kill_asked && a->phase == PH_RUN && a->killed == MS_KILLED_NO)
        kill_all(a, MS_KILLED_HOST);
    if (f[F_EXEC].revents != 0)
        program_exec_result(a);
    if (f[F_FEED].revents != 0)
        pump_input(a);
    feed_settle(a);
    bool ready[SOURCES] = {f[F_PIPE0].revents != 0, f[F_PIPE1].revents != 0,
                           f[F_REPORTS].revents != 0 || a->reports.more};
    produce(a, ready);
    if (f[F_WORDS].revents != 0)
        server_words(a);
    if (f[F_SERVER].revents != 0)
        (void)server_event(a);
    if (a->killing && !a->alone && (a->phase == PH_RUN || a->phase == PH_END))
        kill_again(a);
    if (f[F_SIGNAL].revents != 0 || a->killing)
        children(a);
}

static uint64_t cpu_ns(const struct agent *a)
{
    struct rusage u;
    if (a->server.pid > 0)
        return a->cpu_ns;
    if (getrusage(RUSAGE_CHILDREN, &u) < 0)
        return 0;
    return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Nothing of a run may be there in the next. */
static void forget_run(struct agent *a)
{
    close_one(&a->cwd_fd);
    close_one(&a->output_fd);
    close_one(&a->exec_fd);
    close_one(&a->pipe_fd[0]);
    close_one(&a->pipe_fd[1]);
    close_one(&a->feed.fd);
    close_one(&a->file.fd);
    reports_forget(a);
    free(a->request.argv);
    free(a->request.env);
    free(a->request_bytes);
    a->request_bytes = NULL;
    memset(&a->request, 0, sizeof a->request);
    a->feed.start = a->feed.len = 0;
    a->feed.owed = 0;
    a->feed.eof = false;
    memset(a->seen, 0, sizeof a->seen);
    memset(a->sent, 0, sizeof a->sent);
    a->turn = a->status = a->killed = 0;
    a->go = a->kill_asked = a->say_started = a->started = false;
    a->ended = a->killing = a->alone = false;
    a->wall_ns = a->stragglers = a->cpu_ns = a->memory_peak = 0;
    memset(&a->before, 0, sizeof a->before);
}

/* What the host was sending when the program ended is taken from it, until it closes the stream,
 * as it does when it has the record. Podman's conmon passes both ways through a SOCK_SEQPACKET
 * socket; ended with input unread, it would make Podman read an error (ECONNRESET) before the
 * packets that are still there: the record would be lost. */
static void drain_input(struct agent *a)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t until = now_ns() + DRAIN_NS;
    if ((a->request.flags & MS_FLAG_STDIN) == 0 || a->feed.eof)
        return;
    for (uint64_t now = now_ns(); now < until; now = now_ns()) {
        if (poll(&in, 1, (int)((until - now) / 1000000) + 1) <= 0)
            continue;
        ssize_t n = read(STDIN_FILENO, a->in.buf, sizeof a->in.buf);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            return;
    }
}

static void finish(struct agent *a)
{
    struct counters after = a->before;
    if (a->ended)
        cgroup_read(&a->cgroup, &after);
    frame_begin(a, MS_F_FINAL);
    frame_number(a, MS_T_WALL_NS, a->wall_ns);
    frame_number(a, MS_T_CPU_NS, a->ended ? cpu_ns(a) : 0);
    if (a->ended && WIFEXITED(a->status))
        frame_number(a, MS_T_EXIT_CODE, (uint64_t)WEXITSTATUS(a->status));
    if (a->ended && WIFSIGNALED(a->status))
        frame_number(a, MS_T_SIGNAL, (uint64_t)WTERMSIG(a->status));
    frame_number(a, MS_T_KILLED, (uint64_t)a->killed);
    frame_number(a, MS_T_OOM_KILLS, after.oom_kills - a->before.oom_kills);
    frame_number(a, MS_T_MEMORY_PEAK, a->server.pid > 0 ? a->memory_peak : after.memory_peak);
    frame_number(a, MS_T_PIDS_REFUSED, after.pids_refused - a->before.pids_refused);
    frame_number(a, MS_T_STRAGGLERS, a->stragglers);
    frame_number(a, MS_T_STDOUT_BYTES, a->seen[0]);
    frame_number(a, MS_T_STDERR_BYTES, a->seen[1]);
    bool landlocked = a->server.pid > 0 ? a->server.landlocked : a->ruleset_fd >= 0;
    frame_number(a, MS_T_LANDLOCKED, a->ended && landlocked ? 1 : 0);
    if ((a->request.flags & MS_FLAG_REPORTS) != 0)
        frame_number(a, MS_T_REPORTS_DROPPED, a->reports.dropped);
    frame_end(a);
    out_flush(a);
    if (a->server.pid == 0) {
        drain_input(a);
        _exit(0);
    }
    if (after.oom_kills != a->before.oom_kills && a->server.odd == NULL)
        a->server.odd = "oom";
    forget_run(a);
    a->phase = PH_BETWEEN;
}

/* All are dead: what is still in the pipes is all that there will ever be. */
static void report(struct agent *a)
{
    /* With a fork server more runs come, so what the host sends late is told from what it means. */
    a->phase = a->server.pid > 0 ? PH_REPORT : PH_DEAF;
    out_flush(a);
    if (a->say_started) {
        a->say_started = false;
        frame_begin(a, MS_F_STARTED);
        frame_end(a);
        out_flush(a);
    }
    for (int stream = 0; stream < 2; stream++) {
        while (a->seen[stream] <= a->request.out_max[stream] && pump_output(a, stream))
            out_flush(a);
    }
    while (pump_reports(a, true))
        out_flush(a);
    if (a->server.lost)
        die(); /* without a record, so that nobody takes it for the program's end */
    value_send(a);
    artefacts_send(a);
    finish(a);
}

int main(void)
{
    static struct agent agent;
    struct agent *a = &agent;
    set_up(a);
    for (;;) {
        if (a->phase == PH_FILES && a->kill_asked) {
            a->killed = MS_KILLED_HOST;
            a->phase = PH_REPORT;
            if (a->server.pid > 0)
                job_kill(a); /* there may be files: its /tmp goes with it */
            out_flush(a);
            finish(a);
        }
        if (a->phase == PH_FILES && a->go) {
            program_start(a);
            pump_input(a);
        }
        if (a->phase == PH_END && a->alone)
            report(a);
        if (a->phase == PH_BETWEEN) {
            job_go_on(a);
            server_settle(a);
        }
        one_turn(a);
    }
}
