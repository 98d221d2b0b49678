/* The agent: process 1 of the container. It starts one program, hands its output to the host, sees
 * that nothing outlives it, and says how it ended. See proto.h for what is said. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
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

void kill_all(struct agent *a, int why)
{
    if (a->killed == MS_KILLED_NO)
        a->killed = why;
    a->killing = true;
    kill(-1, SIGKILL);
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
    a->pipe_fd[0] = a->pipe_fd[1] = a->feed.fd = a->file.fd = -1;
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

/* Makes the next frame, if there is something to say. */
static void produce(struct agent *a, const bool ready[2])
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
        int first = a->turn;
        a->turn = !a->turn;
        if (!ready[first] || !pump_output(a, first))
            if (ready[!first])
                (void)pump_output(a, !first);
    }
    out_push(a);
}

static void one_turn(struct agent *a)
{
    enum { F_IN, F_OUT, F_SIGNAL, F_TIMER, F_EXEC, F_FEED, F_PIPE0, F_PIPE1, F_COUNT };
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
    };
    if (a->killing && wait_ms < 0)
        wait_ms = KILL_AGAIN_MS;
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
    bool ready[2] = {f[F_PIPE0].revents != 0, f[F_PIPE1].revents != 0};
    produce(a, ready);
    if (a->killing && a->phase == PH_RUN)
        kill(-1, SIGKILL); /* whatever was being forked when the last one came */
    if (f[F_SIGNAL].revents != 0 || a->killing)
        children(a);
}

static uint64_t cpu_ns(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_CHILDREN, &u) < 0)
        return 0;
    return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

static _Noreturn void finish(struct agent *a)
{
    struct counters after = a->before;
    if (a->ended)
        cgroup_read(&after);
    frame_begin(a, MS_F_FINAL);
    frame_number(a, MS_T_WALL_NS, a->wall_ns);
    frame_number(a, MS_T_CPU_NS, a->ended ? cpu_ns() : 0);
    if (a->ended && WIFEXITED(a->status))
        frame_number(a, MS_T_EXIT_CODE, (uint64_t)WEXITSTATUS(a->status));
    if (a->ended && WIFSIGNALED(a->status))
        frame_number(a, MS_T_SIGNAL, (uint64_t)WTERMSIG(a->status));
    frame_number(a, MS_T_KILLED, (uint64_t)a->killed);
    frame_number(a, MS_T_OOM_KILLS, after.oom_kills - a->before.oom_kills);
    frame_number(a, MS_T_MEMORY_PEAK, after.memory_peak);
    frame_number(a, MS_T_PIDS_REFUSED, after.pids_refused - a->before.pids_refused);
    frame_number(a, MS_T_STRAGGLERS, a->stragglers);
    frame_number(a, MS_T_STDOUT_BYTES, a->seen[0]);
    frame_number(a, MS_T_STDERR_BYTES, a->seen[1]);
    frame_number(a, MS_T_LANDLOCKED, a->ended && a->ruleset_fd >= 0 ? 1 : 0);
    frame_end(a);
    out_flush(a);
    _exit(0);
}

/* All are dead: what is still in the pipes is all that there will ever be. */
static void report(struct agent *a)
{
    a->phase = PH_REPORT;
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
            a->phase = PH_REPORT;
            a->killed = MS_KILLED_HOST;
            out_flush(a);
            finish(a);
        }
        if (a->phase == PH_FILES && a->go) {
            program_start(a);
            pump_input(a);
        }
        if (a->phase == PH_END && a->alone)
            report(a);
        one_turn(a);
    }
}
