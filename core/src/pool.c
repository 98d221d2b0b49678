#include "pool.h"

#include <string.h>

#include "error.h"
#include "run.h"

#define BACKOFF_FIRST (200 * MS_MS) /* after a container that could not be made ready */
#define BACKOFF_MAX (10 * MS_S)
/* A worker is replaced when it has this part of its time or runs left, so that its successor is
 * ready before it goes. */
#define LAST_PART 16

bool ms_pool_one_shot(const ms_pool *p)
{
    return p->sandbox->warm.mode == MOONSAND_MODE_CONTAINER || p->fell_back;
}

/* ---- waiting runs -------------------------------------------------------------------------- */

static void unqueue(ms_pool *p, moonsand_run *r)
{
    if (r->queue_prev)
        r->queue_prev->queue_next = r->queue_next;
    else
        p->queue = r->queue_next;
    if (r->queue_next)
        r->queue_next->queue_prev = r->queue_prev;
    else
        p->queue_last = r->queue_prev;
    r->queue_prev = r->queue_next = NULL;
    r->queued = false;
    p->waiting--;
}

void ms_pool_add(ms_pool *p, moonsand_run *r, bool again)
{
    r->queued = true;
    p->waiting++;
    if (again) {
        r->queue_next = p->queue;
        if (p->queue)
            p->queue->queue_prev = r;
        else
            p->queue_last = r;
        p->queue = r;
    } else {
        r->queue_prev = p->queue_last;
        if (p->queue_last)
            p->queue_last->queue_next = r;
        else
            p->queue = r;
        p->queue_last = r;
    }
    ms_pool_turn(p);
}

void ms_pool_forget(ms_pool *p, moonsand_run *r)
{
    if (r->queued) {
        unqueue(p, r);
        ms_pool_turn_soon(p);
    }
}

/* ---- counting ------------------------------------------------------------------------------ */

typedef struct tally {
    uint32_t live;                 /* containers, whatever they do */
    uint32_t starting, idle, busy; /* busy: or returning; 0 where each run has its own */
    uint32_t idle_last, busy_last; /* of these, in their last part */
} tally;

/* 0 none, 1 its successor should be made, 2 it must go. */
static int age_of(const ms_pool *p, const ms_worker *w, moonsand_retire_reason *reason)
{
    const ms_warm *warm = &p->sandbox->warm;
    if (w->state == MS_WORKER_STARTING)
        return 0;
    int64_t age = ms_now_ns() - w->ready;
    bool runs = !ms_pool_one_shot(p);
    *reason = MOONSAND_RETIRE_AGE;
    if (age >= warm->max_age_ns)
        return 2;
    if (runs && w->runs >= warm->max_runs) {
        *reason = MOONSAND_RETIRE_RUNS;
        return 2;
    }
    if (age >= warm->max_age_ns - warm->max_age_ns / LAST_PART)
        return 1;
    *reason = MOONSAND_RETIRE_RUNS;
    return runs && w->runs >= warm->max_runs - warm->max_runs / LAST_PART;
}

static tally count(const ms_pool *p)
{
    tally t = {0};
    bool one_shot = ms_pool_one_shot(p);
    for (const ms_worker *w = p->first; w; w = w->next) {
        moonsand_retire_reason reason;
        bool last = age_of(p, w, &reason) != 0;
        t.live += w->box != NULL;
        if (w->state == MS_WORKER_STARTING) {
            t.starting++;
        } else if (w->state == MS_WORKER_IDLE) {
            t.idle++;
            t.idle_last += last;
        } else if (w->box && !one_shot) {
            t.busy++;
            t.busy_last += last;
        }
    }
    return t;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* How many there should be that a run can have, now or after another. */
static uint32_t target(const ms_pool *p)
{
    /* Where each run has a container of its own, waiting runs are served side by side, as many as
     * the machine can start at once. */
    uint32_t cpus = p->sandbox->engine->facts.cpus;
    if (ms_pool_one_shot(p))
        return (p->closed ? 0 : p->wanted) + least(p->waiting, p->closed ? p->wanted + cpus : cpus);
    return p->closed ? least(p->wanted, p->waiting) : p->wanted;
}

/* ---- one thing at a time; true: something was done ------------------------------------------ */

static void tell_new(ms_worker *w)
{
    moonsand_pool_event ready = {.type = MOONSAND_POOL_READY,
                                 .duration_ns = (uint64_t)(w->ready - w->began)};
    moonsand_pool_event back = {.type = MOONSAND_POOL_RETURNED,
                                .duration_ns = (uint64_t)(w->back - w->ended)};
    bool say_ready = w->say_ready, say_returned = w->say_returned;
    w->say_ready = w->say_returned = false;
    if (say_ready)
        ms_pool_emit(w->pool, &ready, w);
    if (say_returned)
        ms_pool_emit(w->pool, &back, w);
}

static bool tell(ms_pool *p)
{
    for (ms_worker *w = p->first; w; w = w->next) {
        if (w->say_ready || w->say_returned) {
            tell_new(w);
            return true;
        }
        if (w->state == MS_WORKER_GONE) {
            int64_t age = w->ready ? ms_now_ns() - w->ready : 0;
            moonsand_pool_event event = {.type = MOONSAND_POOL_RETIRED,
                                         .reason = w->reason,
                                         .detail = w->detail,
                                         .duration_ns = (uint64_t)age};
            ms_pool_emit(p, &event, w);
            ms_worker_free(w);
            return true;
        }
    }
    return false;
}

/* What another try would not change soon: whoever waits is told. */
static bool lasting(moonsand_code code)
{
    return code == MOONSAND_E_EXEC || code == MOONSAND_E_NOT_FOUND ||
           code == MOONSAND_E_ISOLATION || code == MOONSAND_E_UNSUPPORTED ||
           code == MOONSAND_E_DENIED || code == MOONSAND_E_INVALID;
}

static void fail_oldest(ms_pool *p, const moonsand_error *why)
{
    moonsand_run *r = p->queue;
    moonsand_error *err = NULL;
    ms_error_copy(&err, why);
    unqueue(p, r);
    ms_run_fail(r, err);
}

static void back_off(ms_pool *p)
{
    int64_t next = p->backoff_ns * 2;
    p->backoff_ns = next < BACKOFF_FIRST ? BACKOFF_FIRST : next > BACKOFF_MAX ? BACKOFF_MAX : next;
    p->failed_at = ms_now_ns();
}

/* Whether the failure is only that fork mode is not possible, and container mode was not refused.
 */
static bool fall_back(ms_worker *w, const moonsand_error *why)
{
    ms_pool *p = w->pool;
    if (!w->no_fork || p->sandbox->warm.require != MOONSAND_TIER_NONE)
        return false;
    if (p->fell_back) /* it began before that was known */
        return true;
    if (!(p->fell_back = ms_strdup(moonsand_error_message(why))))
        return false;
    ms_pool_emit(p, &(moonsand_pool_event){.type = MOONSAND_POOL_FELL_BACK, .error = why}, w);
    return true;
}

static bool failures(ms_pool *p)
{
    ms_worker *w = p->first;
    while (w && w->state != MS_WORKER_FAILED)
        w = w->next;
    if (!w)
        return false;
    moonsand_error *err = w->error;
    w->error = NULL;
    if (!fall_back(w, err)) { /* or another kind of container takes its place: nothing failed */
        p->failed++;
        ms_pool_emit(p, &(moonsand_pool_event){.type = MOONSAND_POOL_FAILED, .error = err}, w);
        tally t = count(p);
        /* Those that began together fail together, which is one failure. */
        if (w->began >= p->failed_at)
            back_off(p);
        if (lasting(moonsand_error_code(err))) {
            while (p->queue)
                fail_oldest(p, err);
        } else if (p->queue && t.starting + t.idle + t.busy == 0) {
            fail_oldest(p, err);
        }
    }
    moonsand_error_free(err);
    ms_worker_free(w);
    return true;
}

static ms_worker *longest_unused(const ms_pool *p, bool last)
{
    ms_worker *best = NULL;
    for (ms_worker *w = p->first; w; w = w->next) {
        moonsand_retire_reason reason;
        if (w->state == MS_WORKER_IDLE && (!last || age_of(p, w, &reason)) &&
            (!best || w->used < best->used))
            best = w;
    }
    return best;
}

static bool surplus(ms_pool *p)
{
    moonsand_retire_reason reason,
        less = p->closed ? MOONSAND_RETIRE_CLOSED : MOONSAND_RETIRE_RESIZED;
    ms_worker *w;
    for (w = p->first; w; w = w->next) {
        if (w->state == MS_WORKER_IDLE && age_of(p, w, &reason) == 2) {
            ms_worker_retire(w, reason, "", MS_BOX_HANG_UP);
            return true;
        }
    }
    tally t = count(p);
    uint32_t want = target(p), all = t.idle + t.busy, last = t.idle_last + t.busy_last;
    if (all > want && t.idle_last) {
        w = longest_unused(p, true);
        age_of(p, w, &reason);
        ms_worker_retire(w, reason, "", MS_BOX_HANG_UP);
        return true;
    }
    if (all - last > want && t.idle) {
        ms_worker_retire(longest_unused(p, false), less, "", MS_BOX_HANG_UP);
        return true;
    }
    /* Waiting runs that gave up leave a few behind that are soon ready, and useful. */
    uint32_t slack = p->closed ? 0 : ms_pool_one_shot(p) ? p->sandbox->engine->facts.cpus : 1;
    if (t.starting && t.starting + all - last > want + slack) {
        for (w = p->first; w->state != MS_WORKER_STARTING; w = w->next)
            continue;
        ms_worker_retire(w, less, "", MS_BOX_HANG_UP);
        return true;
    }
    return false;
}

static bool same_key(const ms_worker *w, const moonsand_run *r)
{
    if (!w->key || !r->trust_key)
        return !w->key && !r->trust_key;
    return strcmp(w->key, r->trust_key) == 0;
}

/* The one that has said something later; a may be NULL. */
static ms_worker *livelier(ms_worker *a, ms_worker *b)
{
    return a && a->box->heard >= b->box->heard ? a : b;
}

static void hand_over(ms_worker *w, moonsand_run *r)
{
    ms_pool *p = w->pool;
    unqueue(p, r);
    if (!w->bound && r->trust_key && !(w->key = ms_strdup(r->trust_key))) {
        moonsand_error *err = NULL;
        ms_fail_nomem(&err);
        ms_run_fail(r, err);
        return;
    }
    w->bound = true;
    w->state = MS_WORKER_BUSY;
    w->used = ms_now_ns();
    int64_t waited = w->used - r->began;
    r->outcome.result.queue_ns = (uint64_t)waited;
    r->worker = w;
    r->worker_runs = w->runs;
    r->box = w->box;
    p->runs++;
    ms_samples_add(&p->hand_out, waited);
    ms_run_take(r);
    tell_new(w);
    w->runs++;
    moonsand_pool_event event = {.type = MOONSAND_POOL_HANDED_OUT, .duration_ns = (uint64_t)waited};
    ms_pool_emit(p, &event, w);
}

/* Oldest run first. One that finds no worker of its key gets a fresh one, and waits for it while
 * younger runs take what it cannot use. */
static bool hand_out(ms_pool *p)
{
    uint32_t fresh = 0, idle = 0;
    for (ms_worker *w = p->first; w; w = w->next) {
        w->reserved = false;
        idle += w->state == MS_WORKER_IDLE;
        fresh += w->state == MS_WORKER_STARTING;
    }
    for (moonsand_run *r = p->queue; r && idle; r = r->queue_next) {
        ms_worker *own = NULL, *unbound = NULL, *other = NULL;
        for (ms_worker *w = p->first; w; w = w->next) {
            if (w->state != MS_WORKER_IDLE || w->reserved)
                continue;
            if (!w->bound)
                unbound = livelier(unbound, w);
            else if (same_key(w, r))
                own = livelier(own, w);
            else if (!other || w->used < other->used)
                other = w;
        }
        ms_worker *w = own ? own : unbound;
        if (w && ms_worker_fresh(w)) {
            hand_over(w, r);
            return true;
        }
        if (w && w->state == MS_WORKER_GONE)
            return true;
        if (w) { /* it is being asked whether it lives */
            w->reserved = true;
            idle--;
        } else if (fresh) {
            fresh--;
        } else {
            ms_worker_retire(other, MOONSAND_RETIRE_KEY, "", MS_BOX_HANG_UP);
            return true;
        }
    }
    return false;
}

/* When the next container may be started. */
static int64_t start_at(const ms_pool *p)
{
    if (!p->backoff_ns)
        return 0;
    /* Somebody waits: he shall have an answer, if only a new error. */
    return p->failed_at + (p->queue ? BACKOFF_FIRST : p->backoff_ns);
}

static bool start(ms_pool *p)
{
    tally t = count(p);
    uint32_t want = target(p), last = t.idle_last + t.busy_last, all = t.starting + t.idle + t.busy;
    /* At most so many live: the others wait until one ends, which is another turn. */
    if (all - last >= want || all >= want + 1 || t.live >= p->most || ms_now_ns() < start_at(p))
        return false;
    if (!ms_worker_start(p)) {
        back_off(p);
        return false;
    }
    ms_pool_emit(p, &(moonsand_pool_event){.type = MOONSAND_POOL_STARTING}, NULL);
    return true;
}

/* ---- the turn ------------------------------------------------------------------------------ */

static void on_tick(void *arg)
{
    ms_pool_turn(arg);
}

void ms_pool_turn_soon(ms_pool *p)
{
    if (!p->in_turn && p->sandbox->engine)
        ms_timer_start(&p->tick, p->sandbox->engine->loop, 0, on_tick, p);
}

/* Looks after idle workers and sets the clock for the next time. True: one was retired. */
static bool look_after(ms_pool *p)
{
    const ms_warm *warm = &p->sandbox->warm;
    int64_t now = ms_now_ns(), next = INT64_MAX;
    for (ms_worker *w = p->first; w; w = w->next) {
        if (w->state != MS_WORKER_IDLE)
            continue;
        int64_t at = ms_worker_look_after(w);
        if (!at)
            return true;
        int64_t last = w->ready + warm->max_age_ns - warm->max_age_ns / LAST_PART;
        int64_t over = w->ready + warm->max_age_ns;
        int64_t age = now < last ? last : over;
        next = at < next ? at : next;
        next = age < next ? age : next;
    }
    int64_t start = start_at(p);
    if (start > now && start < next)
        next = start;
    if (next < INT64_MAX)
        ms_timer_start(&p->tick, p->sandbox->engine->loop, next - now, on_tick, p);
    else
        ms_timer_stop(&p->tick);
    return false;
}

void ms_pool_turn(ms_pool *p)
{
    moonsand_sandbox *s = p->sandbox;
    if (p->in_turn)
        return; /* what is to be done is seen by the one that goes on */
    p->in_turn = true;
    ms_sandbox_ref(s); /* callbacks may let go of it */
    while (s->engine &&
           (surplus(p) || hand_out(p) || failures(p) || tell(p) || start(p) || look_after(p)))
        continue;
    p->in_turn = false;
    ms_sandbox_unref(s);
}

/* ---- lifetime ------------------------------------------------------------------------------ */

/* Containers are not alone on their machine, so they get four fifths of its memory; one may always
 * be. */
static uint32_t most_of(const moonsand_sandbox *s)
{
    uint64_t machine = s->engine->facts.memory_bytes;
    if (!machine)
        return UINT32_MAX; /* the engine does not tell */
    uint64_t n = (machine / 5 * 4 + machine % 5 * 4 / 5) / s->limits.memory_bytes;
    return n < 1 ? 1 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static int check_fits(const ms_pool *p, uint32_t workers, moonsand_error **err)
{
    const moonsand_sandbox *s = p->sandbox;
    if (workers <= p->most)
        return 0;
    return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                   "%u containers with %llu MiB of memory each do not fit four fifths of the "
                   "machine's %llu MiB: give at most %u, or each of them less memory",
                   workers, (unsigned long long)(s->limits.memory_bytes >> 20),
                   (unsigned long long)(s->engine->facts.memory_bytes >> 20), p->most);
}

int ms_pool_new(ms_pool **out, moonsand_sandbox *sandbox, moonsand_error **err)
{
    ms_pool *p = *out = ms_calloc(1, sizeof *p);
    if (!p)
        return ms_fail_nomem(err);
    p->sandbox = sandbox;
    p->wanted = sandbox->warm.workers;
    p->most = most_of(sandbox);
    if (check_fits(p, p->wanted, err))
        return -1; /* freed with the sandbox */
    ms_pool_turn_soon(p);
    return 0;
}

void ms_pool_close(ms_pool *p)
{
    p->closed = true;
    for (ms_worker *w = p->first; w && !p->waiting; w = w->next) {
        if (w->state == MS_WORKER_IDLE || w->state == MS_WORKER_STARTING)
            ms_worker_retire(w, MOONSAND_RETIRE_CLOSED, "", MS_BOX_HANG_UP);
    }
    ms_pool_turn_soon(p);
}

void ms_pool_end(ms_pool *p)
{
    ms_timer_stop(&p->tick);
    p->closed = true;
    while (p->first && !p->in_turn)
        ms_worker_free(p->first);
}

void ms_pool_free(ms_pool *p)
{
    if (!p)
        return;
    ms_pool_end(p);
    ms_free(p->fell_back);
    ms_free(p);
}

int moonsand_sandbox_pool_resize(moonsand_sandbox *sandbox, uint32_t workers, moonsand_error **err)
{
    ms_pool *p = sandbox->pool;
    if (!sandbox->engine)
        return ms_fail(err, MOONSAND_E_CLOSED, "the sandbox's engine was closed");
    if (!p)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "the sandbox was made without workers; it has nothing to resize");
    if (workers < 1 || workers > MOONSAND_WORKERS_MAX)
        return ms_fail(err, MOONSAND_E_INVALID, "workers is %u; give a value from 1 to %d", workers,
                       MOONSAND_WORKERS_MAX);
    if (check_fits(p, workers, err))
        return -1;
    p->wanted = workers;
    ms_pool_turn_soon(p);
    return 0;
}
