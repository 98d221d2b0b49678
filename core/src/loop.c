#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "mem.h"

#define BATCH 64

struct moonsand_loop {
    int epfd, tfd, kick_fd;
    int quiet_fd; /* a signalfd, for moonsand_loop_wait() */
    ms_timer *first, *last;
    ms_last_call *last_calls;
    int64_t armed_ns; /* what the timerfd is set to; 0: not set */
    bool kicked;      /* the eventfd is readable */
    bool stepping;
    int64_t step_ns; /* the clock when the step began */
    /* the events of this step; ms_watch_stop() blanks those that are not yet handed out */
    struct epoll_event batch[BATCH];
    int batch_len, batch_pos;
};

int64_t ms_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * MS_S + t.tv_nsec;
}

int moonsand_loop_new(moonsand_loop **out, moonsand_error **err)
{
    *out = NULL;
    moonsand_loop *loop = ms_calloc(1, sizeof(*loop));
    if (loop == NULL)
        return ms_fail_nomem(err);
    loop->tfd = loop->kick_fd = loop->quiet_fd = -1;
    loop->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epfd < 0) {
        ms_fail_errno(err, errno, "epoll_create1");
        goto fail;
    }
    loop->tfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->tfd < 0) {
        ms_fail_errno(err, errno, "timerfd_create");
        goto fail;
    }
    loop->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->kick_fd < 0) {
        ms_fail_errno(err, errno, "eventfd");
        goto fail;
    }
    sigset_t none;
    sigemptyset(&none);
    loop->quiet_fd = signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK);
    if (loop->quiet_fd < 0) {
        ms_fail_errno(err, errno, "signalfd");
        goto fail;
    }
    struct epoll_event tick = {.events = EPOLLIN, .data.ptr = loop};
    struct epoll_event kick = {.events = EPOLLIN, .data.ptr = &loop->kick_fd};
    if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, loop->tfd, &tick) != 0 ||
        epoll_ctl(loop->epfd, EPOLL_CTL_ADD, loop->kick_fd, &kick) != 0) {
        ms_fail_errno(err, errno, "epoll_ctl");
        goto fail;
    }
    *out = loop;
    return 0;
fail:
    moonsand_loop_free(loop);
    return -1;
}

void moonsand_loop_free(moonsand_loop *loop)
{
    if (loop == NULL)
        return;
    while (loop->last_calls != NULL)
        loop->last_calls->cb(loop->last_calls->arg);
    while (loop->first != NULL) {
        ms_timer *t = loop->first;
        loop->first = t->next;
        t->loop = NULL;
        t->prev = t->next = NULL;
    }
    if (loop->tfd >= 0)
        close(loop->tfd);
    if (loop->kick_fd >= 0)
        close(loop->kick_fd);
    if (loop->quiet_fd >= 0)
        close(loop->quiet_fd);
    if (loop->epfd >= 0)
        close(loop->epfd);
    ms_free(loop);
}

int moonsand_loop_fd(const moonsand_loop *loop)
{
    return loop->epfd;
}

int64_t moonsand_loop_timeout_ns(const moonsand_loop *loop)
{
    if (loop->first == NULL)
        return -1;
    int64_t left = loop->first->due_ns - ms_now_ns();
    return left > 0 ? left : 0;
}

/* ---- timers ---- */

/* The eventfd stands for a timer that is already due: setting a timerfd to the past takes 25 us on
 * a virtual machine, an eventfd 0.5 us, and most timers here mean "in the next step". */
static void kick(moonsand_loop *loop, bool on)
{
    uint64_t count = 1;
    if (on == loop->kicked)
        return;
    if (on ? write(loop->kick_fd, &count, sizeof(count)) == sizeof(count)
           : read(loop->kick_fd, &count, sizeof(count)) == sizeof(count))
        loop->kicked = on;
}

/* Makes the first timer wake the loop. During a step once at its end is enough. */
static void arm(moonsand_loop *loop)
{
    if (loop->stepping)
        return;
    int64_t due = loop->first != NULL ? loop->first->due_ns : 0;
    bool now = due != 0 && due <= ms_now_ns();
    kick(loop, now);
    if (now || due == loop->armed_ns)
        return;
    /* timerfd_settime(2): it_value of zero disarms. Setting it anew also takes back an expiration
     * that nobody has read. */
    struct itimerspec when = {0};
    when.it_value.tv_sec = due / MS_S;
    when.it_value.tv_nsec = due % MS_S;
    timerfd_settime(loop->tfd, TFD_TIMER_ABSTIME, &when, NULL);
    loop->armed_ns = due;
}

static void unlink_timer(ms_timer *t)
{
    moonsand_loop *loop = t->loop;
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        loop->first = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    else
        loop->last = t->prev;
    t->prev = t->next = NULL;
    t->loop = NULL;
}

void ms_timer_start(ms_timer *t, moonsand_loop *loop, int64_t delay_ns, ms_timer_cb cb, void *arg)
{
    moonsand_loop *old = t->loop;
    if (old != NULL)
        unlink_timer(t);
    if (old != NULL && old != loop)
        arm(old);
    int64_t now = ms_now_ns();
    /* Later than the step that goes on, or a callback that starts a timer with delay 0 each time
     * would keep the step from ending. */
    if (loop->stepping && now <= loop->step_ns)
        now = loop->step_ns + 1;
    if (delay_ns < 0)
        delay_ns = 0;
    t->due_ns = delay_ns < INT64_MAX - now ? now + delay_ns : INT64_MAX;
    t->cb = cb;
    t->arg = arg;
    t->loop = loop;
    /* From the end: most timers are started to end after those that run. Equals keep their order.
     */
    ms_timer *before = loop->last;
    while (before != NULL && before->due_ns > t->due_ns)
        before = before->prev;
    t->prev = before;
    t->next = before != NULL ? before->next : loop->first;
    if (t->prev != NULL)
        t->prev->next = t;
    else
        loop->first = t;
    if (t->next != NULL)
        t->next->prev = t;
    else
        loop->last = t;
    arm(loop);
}

void ms_timer_stop(ms_timer *t)
{
    moonsand_loop *loop = t->loop;
    if (loop == NULL)
        return;
    unlink_timer(t);
    arm(loop);
}

/* ---- watches ---- */

int ms_watch_start(ms_watch *w, moonsand_loop *loop, int fd, uint32_t events, ms_watch_cb cb,
                   void *arg, moonsand_error **err)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev) != 0)
        return ms_fail_errno(err, errno, "epoll_ctl: cannot watch descriptor %d", fd);
    *w = (ms_watch){loop, fd, events, cb, arg};
    return 0;
}

int ms_watch_set(ms_watch *w, uint32_t events, moonsand_error **err)
{
    if (w->events == events)
        return 0;
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(w->loop->epfd, EPOLL_CTL_MOD, w->fd, &ev) != 0)
        return ms_fail_errno(err, errno, "epoll_ctl: cannot watch descriptor %d", w->fd);
    w->events = events;
    return 0;
}

void ms_watch_stop(ms_watch *w)
{
    moonsand_loop *loop = w->loop;
    if (loop == NULL)
        return;
    w->loop = NULL;
    epoll_ctl(loop->epfd, EPOLL_CTL_DEL, w->fd, NULL);
    for (int i = loop->batch_pos; i < loop->batch_len; i++)
        if (loop->batch[i].data.ptr == w)
            loop->batch[i].data.ptr = NULL;
}

/* ---- last calls ---- */

void ms_last_call_start(ms_last_call *c, moonsand_loop *loop, void (*cb)(void *arg), void *arg)
{
    *c = (ms_last_call){.loop = loop, .next = loop->last_calls, .cb = cb, .arg = arg};
    if (c->next != NULL)
        c->next->prev = c;
    loop->last_calls = c;
}

void ms_last_call_stop(ms_last_call *c)
{
    if (c->loop == NULL)
        return;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->loop->last_calls = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    c->prev = c->next = NULL;
    c->loop = NULL;
}

/* ---- step and wait ---- */

static void run_watches(moonsand_loop *loop)
{
    while (loop->batch_pos < loop->batch_len) {
        struct epoll_event ev = loop->batch[loop->batch_pos++];
        if (ev.data.ptr == NULL)
            continue;
        if (ev.data.ptr == loop) {
            loop->armed_ns = -1; /* expired: the next arm() must set it in any case */
            continue;
        }
        if (ev.data.ptr == &loop->kick_fd)
            continue; /* arm() takes it back when no timer is due any more */
        ms_watch *w = ev.data.ptr;
        /* A callback of this step may have lost interest since epoll_wait(2). */
        uint32_t events = ev.events & (w->events | EPOLLERR | EPOLLHUP);
        if (events != 0)
            w->cb(w->arg, events);
    }
    loop->batch_len = loop->batch_pos = 0;
}

static void run_timers(moonsand_loop *loop)
{
    while (loop->first != NULL && loop->first->due_ns <= loop->step_ns) {
        ms_timer *t = loop->first;
        unlink_timer(t);
        t->cb(t->arg);
    }
}

int moonsand_loop_step(moonsand_loop *loop, moonsand_error **err)
{
    if (loop->stepping)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "moonsand_loop_step() was called from a callback of the same loop");
    int n = epoll_wait(loop->epfd, loop->batch, BATCH, 0);
    if (n < 0) {
        if (errno != EINTR)
            return ms_fail_errno(err, errno, "epoll_wait");
        n = 0;
    }
    loop->stepping = true;
    loop->step_ns = ms_now_ns();
    loop->batch_len = n;
    loop->batch_pos = 0;
    run_watches(loop);
    run_timers(loop);
    loop->stepping = false;
    arm(loop);
    return 0;
}

/* What a program may handle without a thought of ending what it does: its children, its terminal,
 * that it was stopped or goes on, a profiler's clock. */
static const int quiet_signals[] = {SIGCHLD, SIGWINCH, SIGURG,  SIGTSTP,  SIGTTIN,
                                    SIGTTOU, SIGCONT,  SIGPROF, SIGVTALRM};

/* Blocks the quiet signals, and has the signalfd look for them instead: a wait then ends when one
 * comes, without an error, and its handler runs as soon as *old is the mask again. What the caller
 * itself has blocked stays out, or it would make each wait end. */
static void block_quiet(const moonsand_loop *loop, sigset_t *old)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof quiet_signals / sizeof *quiet_signals; i++)
        sigaddset(&set, quiet_signals[i]);
    pthread_sigmask(SIG_BLOCK, &set, old);
    for (size_t i = 0; i < sizeof quiet_signals / sizeof *quiet_signals; i++) {
        if (sigismember(old, quiet_signals[i]))
            sigdelset(&set, quiet_signals[i]);
    }
    signalfd(loop->quiet_fd, &set, SFD_CLOEXEC); /* only changes the set; cannot fail */
}

int moonsand_loop_wait(moonsand_loop *loop, int64_t timeout_ns, moonsand_error **err)
{
    struct pollfd p[] = {{.fd = loop->epfd, .events = POLLIN},
                         {.fd = loop->quiet_fd, .events = POLLIN}};
    int64_t now = ms_now_ns();
    int64_t end = timeout_ns < INT64_MAX - now ? now + timeout_ns : INT64_MAX;
    for (;;) {
        int64_t left = end > now ? end - now : 0;
        struct timespec t = {.tv_sec = left / MS_S, .tv_nsec = left % MS_S};
        sigset_t old;
        block_quiet(loop, &old);
        /* Not epoll_wait(2): ppoll(2) takes nanoseconds, and a stop and its end without a handler
         * do not make it end. */
        int n = ppoll(p, 2, timeout_ns < 0 ? NULL : &t, NULL), why = errno;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (n < 0 && why == EINTR)
            return ms_fail(err, MOONSAND_E_INTERRUPTED, "a signal arrived while waiting");
        if (n < 0)
            return ms_fail_errno(err, why, "ppoll");
        if (n == 0 || p[0].revents != 0)
            return 0;
        now = ms_now_ns();
    }
}
