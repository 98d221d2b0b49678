/* One epoll descriptor for descriptors and timers; see moonsand_loop_* in moonsand.h.
 *
 * Watches and timers are embedded in their owners and belong to them. A callback may stop or free
 * any watch or timer, its own as well, also one whose event waits in the same batch. */
#ifndef MS_LOOP_H
#define MS_LOOP_H

#include "moonsand.h"

typedef struct ms_watch ms_watch;
typedef void (*ms_watch_cb)(void *arg, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLHUP, ... */
struct ms_watch {
    moonsand_loop *loop; /* NULL: not watched */
    int fd;
    uint32_t events;
    ms_watch_cb cb;
    void *arg;
};

int ms_watch_start(ms_watch *w, moonsand_loop *loop, int fd, uint32_t events, ms_watch_cb cb,
                   void *arg, moonsand_error **err);
int ms_watch_set(ms_watch *w, uint32_t events, moonsand_error **err);
/* Before the descriptor is closed. Safe when it is not watched. */
void ms_watch_stop(ms_watch *w);

typedef struct ms_timer ms_timer;
typedef void (*ms_timer_cb)(void *arg);
struct ms_timer {
    moonsand_loop *loop; /* NULL: not running */
    int64_t due_ns;
    ms_timer *prev, *next; /* sorted list: few timers, cheap to reason about */
    ms_timer_cb cb;
    void *arg;
};

/* One shot. Starting a running timer moves it. Delay 0 fires in the next step, which makes it the
 * way to call back "later" instead of from inside the caller. Cannot fail. */
void ms_timer_start(ms_timer *t, moonsand_loop *loop, int64_t delay_ns, ms_timer_cb cb, void *arg);
void ms_timer_stop(ms_timer *t);

/* What must have ended before the loop is gone, and goes on after its owner has let go of it.
 * moonsand_loop_free() calls cb, which may block for a bounded time and must stop it. */
typedef struct ms_last_call ms_last_call;
struct ms_last_call {
    moonsand_loop *loop; /* NULL: on no list */
    ms_last_call *prev, *next;
    void (*cb)(void *arg);
    void *arg;
};

void ms_last_call_start(ms_last_call *c, moonsand_loop *loop, void (*cb)(void *arg), void *arg);
void ms_last_call_stop(ms_last_call *c);

int64_t ms_now_ns(void); /* CLOCK_MONOTONIC */

#define MS_MS INT64_C(1000000)
#define MS_S INT64_C(1000000000)

#endif
