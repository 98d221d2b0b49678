/* Watches, timers, what may be removed when, waiting, and that the descriptor alone suffices. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "patience.h"
#include "tap.h"

static moonsand_loop *loop;
static char trace[256];

static void note(const char *s)
{
    strncat(trace, s, sizeof(trace) - strlen(trace) - 1);
}

static void name(void *arg)
{
    note(arg);
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static void step(void)
{
    moonsand_error *err = NULL;
    if (moonsand_loop_step(loop, &err) != 0)
        ok(false, "step: %s", moonsand_error_message(err));
    moonsand_error_free(err);
}

static void timers(void)
{
    ms_timer a = {0}, b = {0}, c = {0}, d = {0};
    trace[0] = '\0';
    is_int(moonsand_loop_timeout_ns(loop), -1, "no timer");
    ok(!readable(moonsand_loop_fd(loop), 0), "nothing is ready");
    ms_timer_start(&a, loop, 0, name, "a");
    ms_timer_start(&b, loop, 0, name, "b");
    ms_timer_start(&c, loop, 300 * MS_MS, name, "c");
    ms_timer_start(&d, loop, 200 * MS_MS, name, "d");
    is_int(moonsand_loop_timeout_ns(loop), 0, "something is due");
    ok(readable(moonsand_loop_fd(loop), 1000), "a due timer makes the descriptor readable");
    step();
    is_str(trace, "ab", "the due ones in the order of their start");
    int64_t left = moonsand_loop_timeout_ns(loop);
    ok(left > 0 && left <= 200 * MS_MS, "time to the next");
    ms_timer_start(&d, loop, 400 * MS_MS, name, "D");
    left = moonsand_loop_timeout_ns(loop);
    ok(left > 0 && left <= 300 * MS_MS, "a moved timer");
    int64_t t0 = ms_now_ns();
    while (d.loop != NULL && ms_now_ns() - t0 < 5 * MS_S) {
        moonsand_loop_wait(loop, -1, NULL);
        step();
    }
    is_str(trace, "abcD", "by waiting for ever");
    ok(ms_now_ns() - t0 >= 200 * MS_MS, "not too early");
    ok(!readable(moonsand_loop_fd(loop), 0), "quiet again");
    ms_timer_start(&a, loop, MS_MS, name, "never");
    ms_timer_stop(&a);
    ms_timer_stop(&a);
    ok(!readable(moonsand_loop_fd(loop), 10), "a stopped timer wakes nobody");
    ms_timer_start(&a, loop, 0, name, "never");
    ms_timer_stop(&a);
    ok(!readable(moonsand_loop_fd(loop), 0), "nor does one that was due at once");
    ms_timer_start(&a, loop, 0, name, "never");
    ms_timer_start(&b, loop, patience(20 * MS_MS), name, "");
    ms_timer_stop(&a);
    ok(!readable(moonsand_loop_fd(loop), 0) && readable(moonsand_loop_fd(loop), 1000),
       "the timer behind it does");
    step();
    ms_timer_start(&a, loop, INT64_MAX, name, "never");
    ok(moonsand_loop_timeout_ns(loop) > INT64_C(1) << 61, "the longest timer");
    ms_timer_start(&b, loop, -5, name, "n");
    step();
    is_str(trace, "abcDn", "a negative delay is 0");
    ms_timer_stop(&a);
}

static ms_timer again_timer, stop_timer;
static int again_count;

static void again(void *arg)
{
    (void)arg;
    again_count++;
    ms_timer_start(&again_timer, loop, 0, again, NULL);
}

static void stop_other(void *arg)
{
    note("s");
    ms_timer_stop(arg);
}

static void timers_in_callbacks(void)
{
    ms_timer_start(&again_timer, loop, 0, again, NULL);
    step();
    step();
    is_int(again_count, 2, "delay 0 in a callback means the next step");
    ms_timer_stop(&again_timer);
    trace[0] = '\0';
    ms_timer a = {0};
    ms_timer_start(&stop_timer, loop, 0, stop_other, &a);
    ms_timer_start(&a, loop, 0, name, "a");
    step();
    is_str(trace, "s", "a due timer stopped by another");
}

static ms_watch w[2];
static int pairs[2][2];

static void drop_both(void *arg, uint32_t events)
{
    (void)arg;
    (void)events;
    note("x");
    for (int i = 0; i < 2; i++) {
        ms_watch_stop(&w[i]);
        close(pairs[i][0]);
        memset(&w[i], 0xee, sizeof(w[i])); /* as if it was freed */
    }
}

static void lose_interest(void *arg, uint32_t events)
{
    note(events & EPOLLOUT ? "o" : "i");
    ms_watch *other = arg == &w[0] ? &w[1] : &w[0];
    ms_watch_set(other, 0, NULL);
}

static void open_pairs(void)
{
    trace[0] = '\0';
    memset(w, 0, sizeof(w));
    for (int i = 0; i < 2; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]) != 0)
            abort();
        if (write(pairs[i][1], "x", 1) != 1)
            abort();
    }
}

static void watches(void)
{
    open_pairs();
    for (int i = 0; i < 2; i++)
        is_int(ms_watch_start(&w[i], loop, pairs[i][0], EPOLLIN, drop_both, NULL, NULL), 0,
               "watch");
    ok(readable(moonsand_loop_fd(loop), 0), "readable");
    step();
    is_str(trace, "x", "the second event of the batch is not delivered");
    for (int i = 0; i < 2; i++)
        close(pairs[i][1]);

    open_pairs();
    for (int i = 0; i < 2; i++)
        ms_watch_start(&w[i], loop, pairs[i][0], EPOLLIN, lose_interest, &w[i], NULL);
    step();
    is_str(trace, "i", "an event that nobody wants any more");
    for (int i = 0; i < 2; i++) {
        ms_watch_stop(&w[i]);
        ms_watch_stop(&w[i]);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    moonsand_error *err = NULL;
    is_int(ms_watch_start(&w[0], loop, 1 << 20, EPOLLIN, drop_both, NULL, &err), -1,
           "no descriptor");
    is_int(moonsand_error_errno(err), EBADF, "says so");
    ok(w[0].loop == NULL, "and is not watched");
    moonsand_error_free(err);
}

static void nested(void *arg)
{
    is_int(moonsand_loop_step(loop, arg), -1, "a step inside a step is refused");
}

static pthread_t waiter;
static volatile int64_t handled; /* when the handler ran */

static void note_time(int sig)
{
    (void)sig;
    handled = ms_now_ns();
}

static void *kick(void *sig)
{
    usleep(50000);
    pthread_kill(waiter, *(int *)sig);
    return NULL;
}

/* A handled signal arrives in a wait of 400 ms: how that ends, and that the handler ran meanwhile.
 */
static void signalled(int sig, int want)
{
    /* SA_RESTART, as signal(3) sets it: it must make no difference */
    struct sigaction sa = {.sa_handler = note_time, .sa_flags = SA_RESTART}, old;
    moonsand_error *err = NULL;
    pthread_t other;
    sigaction(sig, &sa, &old);
    int64_t length = patience(400 * MS_MS);
    handled = 0;
    waiter = pthread_self();
    pthread_create(&other, NULL, kick, &sig);
    int64_t t0 = ms_now_ns();
    is_int(moonsand_loop_wait(loop, length, &err), want, "%s in a wait", strsignal(sig));
    int64_t t1 = ms_now_ns();
    is_str(err ? moonsand_code_name(moonsand_error_code(err)) : "none",
           want ? "interrupted" : "none", "  error");
    ok(handled > t0 && handled < t0 + length - 100 * MS_MS, "  its handler runs at once");
    ok(want ? t1 < t0 + length : t1 >= t0 + length, "  the wait's length");
    pthread_join(other, NULL);
    moonsand_error_free(err);
    sigaction(sig, &old, NULL);
}

/* Ctrl-Z and fg. */
static void stopped(void (*handler)(int), const char *what)
{
    struct sigaction sa = {.sa_handler = handler}, old;
    sigaction(SIGCONT, &sa, &old);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        usleep(50000);
        kill(parent, SIGSTOP);
        usleep(50000);
        kill(parent, SIGCONT);
        _exit(0);
    }
    handled = 0;
    int64_t t0 = ms_now_ns();
    is_int(moonsand_loop_wait(loop, 200 * MS_MS, NULL), 0, "stopped and continued, %s", what);
    ok(ms_now_ns() - t0 >= 200 * MS_MS, "  the wait goes on");
    ok(handler != note_time || handled > t0, "  and the handler ran");
    waitpid(child, NULL, 0);
    sigaction(SIGCONT, &old, NULL);
}

static void signals(void)
{
    static const int quiet[] = {SIGCHLD, SIGWINCH, SIGURG,  SIGTSTP,  SIGTTIN,
                                SIGTTOU, SIGCONT,  SIGPROF, SIGVTALRM};
    for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++)
        signalled(quiet[i], 0);
    static const int loud[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM};
    for (size_t i = 0; i < sizeof loud / sizeof *loud; i++)
        signalled(loud[i], -1);
    stopped(SIG_DFL, "without a handler");
    stopped(note_time, "with a handler");

    /* What the caller has blocked and has pending must not make each wait end at once, or spin. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGCHLD);
    struct timespec used[2];
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used[0]);
    int64_t t0 = ms_now_ns();
    is_int(moonsand_loop_wait(loop, 200 * MS_MS, NULL), 0, "with a blocked signal pending");
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used[1]);
    ok(ms_now_ns() - t0 >= 200 * MS_MS, "  the wait is as long as it was told");
    ok((used[1].tv_sec - used[0].tv_sec) * MS_S + used[1].tv_nsec - used[0].tv_nsec < 100 * MS_MS,
       "  and sleeps");
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void waiting(void)
{
    moonsand_error *err = NULL;
    ms_timer t = {0};
    ms_timer_start(&t, loop, 0, nested, &err);
    step();
    is_int(moonsand_error_code(err), MOONSAND_E_INVALID, "with an error");
    moonsand_error_free(err);
    err = NULL;

    int64_t t0 = ms_now_ns();
    is_int(moonsand_loop_wait(loop, 20 * MS_MS, &err), 0, "a wait with nothing to do");
    ok(ms_now_ns() - t0 >= 20 * MS_MS, "lasts as long as it was told");
    is_int(moonsand_loop_wait(loop, 0, &err), 0, "no wait");
    moonsand_error_free(err);
}

static int many_left = 300;

static void one_of_many(void *arg, uint32_t events)
{
    (void)events;
    many_left--;
    ms_watch_stop(arg);
}

static void many(void)
{
    static ms_watch ws[300];
    static int fds[300][2];
    for (int i = 0; i < 300; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds[i]) != 0 ||
            write(fds[i][1], "x", 1) != 1)
            abort();
        ms_watch_start(&ws[i], loop, fds[i][0], EPOLLIN, one_of_many, &ws[i], NULL);
    }
    for (int i = 0; i < 10 && many_left != 0; i++)
        step();
    is_int(many_left, 0, "more events than fit in one batch");
    for (int i = 0; i < 300; i++) {
        close(fds[i][0]);
        close(fds[i][1]);
    }
}

int main(void)
{
    moonsand_error *err = NULL;
    if (!ok(moonsand_loop_new(&loop, &err) == 0, "a loop"))
        return done_testing();
    timers();
    timers_in_callbacks();
    watches();
    waiting();
    signals();
    many();
    ms_timer left = {0};
    ms_timer_start(&left, loop, MS_S, name, "never");
    moonsand_loop_free(loop);
    ok(left.loop == NULL, "a timer that outlives the loop");
    moonsand_loop_free(NULL);
    return done_testing();
}
