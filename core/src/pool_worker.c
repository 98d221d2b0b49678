/* One container of a pool: from its start until it is retired. */
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "pool.h"

#define QUIET_AFTER (1 * MS_S)    /* without a word from it: it is asked */
#define ANSWER_WITHIN (2 * MS_S)  /* then */
#define FRESH (250 * MS_MS)       /* so long after its last word it is handed out unasked */
#define RETURN_WITHIN (15 * MS_S) /* to wipe what a run left, and to be ready again */
#define AWAY (1 * MS_S)           /* so late a timer only fires when nobody drove the loop */

void ms_worker_free(ms_worker *w)
{
    ms_pool *p = w->pool;
    ms_timer_stop(&w->limit);
    if (w->box)
        ms_box_release(w->box, MS_BOX_HANG_UP);
    if (w->prev)
        w->prev->next = w->next;
    else
        p->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    moonsand_error_free(w->error);
    ms_free(w->key);
    ms_free(w);
}

void ms_worker_retire(ms_worker *w, moonsand_retire_reason reason, const char *detail,
                      ms_box_how how)
{
    if (!w->box)
        return;
    ms_timer_stop(&w->limit);
    snprintf(w->detail, sizeof w->detail, "%s", detail); /* it may be the box's */
    ms_box_release(w->box, how);
    w->box = NULL;
    w->state = MS_WORKER_GONE;
    w->reason = reason;
    w->pool->retired[reason]++;
    ms_pool_turn_soon(w->pool);
}

/* The agent's own reasons have the names that ours have. */
static void retire_by_agent(ms_worker *w)
{
    int reason = MOONSAND_RETIRE_MOUNTS;
    while (reason < MOONSAND_RETIRE_COUNT &&
           strcmp(moonsand_retire_reason_name((moonsand_retire_reason)reason), w->box->retire) != 0)
        reason++;
    if (reason == MOONSAND_RETIRE_COUNT)
        reason = MOONSAND_RETIRE_HEALTH;
    ms_worker_retire(w, (moonsand_retire_reason)reason, w->box->detail, MS_BOX_HANG_UP);
}

static void is_back(ms_worker *w)
{
    w->state = MS_WORKER_IDLE;
    w->back = ms_now_ns();
    w->say_returned = true;
}

/* ---- what its container tells -------------------------------------------------------------- */

static void idle_fed(void *arg, int rc)
{
    ms_worker *w = arg;
    if (rc)
        ms_worker_retire(w, rc == -2 ? MOONSAND_RETIRE_HEALTH : MOONSAND_RETIRE_TAMPERED,
                         rc == -2 ? "out of memory" : "it spoke out of turn", MS_BOX_FORCE);
    else if (w->box->state == MS_BOX_OVER)
        retire_by_agent(w);
    else if (w->state == MS_WORKER_RETURNING && w->box->state == MS_BOX_READY) {
        ms_timer_stop(&w->limit);
        is_back(w);
    }
    ms_pool_turn(w->pool);
}

static void idle_lost(void *arg)
{
    ms_worker *w = arg;
    const char *why = w->box->diagnosis;
    ms_worker_retire(w, MOONSAND_RETIRE_HEALTH, why[0] ? why : "its connection ended",
                     MS_BOX_FORCE);
    ms_pool_turn(w->pool);
}

static int idle_event(void *arg, const ms_agent_event *ev)
{
    (void)arg;
    (void)ev;
    return -1; /* there is no run */
}

static void idle_end(void *arg, const ms_box_end *end)
{
    (void)arg;
    (void)end; /* nobody asked */
}

static void on_ready(void *arg)
{
    ms_worker *w = arg;
    ms_pool *p = w->pool;
    snprintf(w->name, sizeof w->name, "%s", w->box->name);
    w->state = MS_WORKER_IDLE;
    w->ready = w->used = ms_now_ns();
    w->say_ready = true;
    p->backoff_ns = 0;
    if (!ms_pool_one_shot(p))
        p->tier = (moonsand_tier)w->box->tier;
    ms_samples_add(&p->refill, w->ready - w->began);
    ms_pool_turn(p);
}

static void on_failed(void *arg, moonsand_error *err)
{
    ms_worker *w = arg;
    if (!err)
        ms_fail(&err, MOONSAND_E_PROTOCOL,
                "the agent of a container broke its protocol before any program ran in it");
    if (w->box->name)
        snprintf(w->name, sizeof w->name, "%s", w->box->name);
    w->no_fork = w->box->no_fork;
    ms_box_release(w->box, MS_BOX_FORCE);
    w->box = NULL;
    w->state = MS_WORKER_FAILED;
    w->error = err;
    ms_pool_turn(w->pool);
}

static const ms_box_events events = {.on_ready = on_ready,
                                     .on_failed = on_failed,
                                     .on_event = idle_event,
                                     .on_fed = idle_fed,
                                     .on_lost = idle_lost,
                                     .on_end = idle_end};

/* ---- start --------------------------------------------------------------------------------- */

bool ms_worker_start(ms_pool *p)
{
    const moonsand_sandbox *s = p->sandbox;
    ms_worker *w = ms_calloc(1, sizeof *w);
    if (!w)
        return false;
    w->pool = p;
    w->began = ms_now_ns();
    w->next = p->first;
    if (w->next)
        w->next->prev = w;
    p->first = w;
    ms_box_events mine = events;
    mine.arg = w;
    int64_t lease = s->warm.max_age_ns + (int64_t)s->limits.timeout_ns;
    w->server = s->warm.server && !p->fell_back;
    if (ms_box_new(&w->box, p->sandbox, w->server, lease, &mine, &w->error)) {
        ms_error_op(&w->error, "run");
        w->state = MS_WORKER_FAILED;
    } else {
        ms_box_launch(w->box);
    }
    return true;
}

/* ---- between runs -------------------------------------------------------------------------- */

static void return_too_late(void *arg)
{
    ms_worker *w = arg;
    if (ms_now_ns() - w->limit.due_ns > AWAY) {
        ms_timer_start(&w->limit, w->pool->sandbox->engine->loop, ANSWER_WITHIN, return_too_late,
                       w);
        return;
    }
    ms_worker_retire(w, MOONSAND_RETIRE_HEALTH, "it was not ready again within 15 s", MS_BOX_FORCE);
    ms_pool_turn(w->pool);
}

static void take_back(ms_worker *w)
{
    ms_pool *p = w->pool;
    ms_box_events mine = events;
    mine.arg = w;
    ms_box_set_events(w->box, &mine);
    w->used = w->ended = ms_now_ns();
    if (w->box->state == MS_BOX_RETURNING) {
        w->state = MS_WORKER_RETURNING;
        ms_timer_start(&w->limit, p->sandbox->engine->loop, RETURN_WITHIN, return_too_late, w);
    } else if (w->box->state == MS_BOX_READY) {
        is_back(w);
        ms_pool_turn_soon(p);
    } else {
        retire_by_agent(w);
    }
}

void ms_pool_return(ms_worker *w, ms_worker_use use)
{
    switch (use) {
    case MS_USE_RECORD:
        if (ms_pool_one_shot(w->pool))
            ms_worker_retire(w, MOONSAND_RETIRE_USED, "", MS_BOX_HANG_UP);
        else
            take_back(w);
        return;
    case MS_USE_REFUSED:
        w->runs--;
        retire_by_agent(w);
        return;
    case MS_USE_TAMPERED:
        ms_worker_retire(w, MOONSAND_RETIRE_TAMPERED, "", MS_BOX_FORCE);
        return;
    case MS_USE_LOST:
        ms_worker_retire(w, MOONSAND_RETIRE_LOST, w->box->diagnosis, MS_BOX_FORCE);
        return;
    case MS_USE_FAILED:
        ms_worker_retire(w, MOONSAND_RETIRE_FAILED, "", MS_BOX_FORCE);
        return;
    }
}

static bool ping(ms_worker *w)
{
    if (w->box->pinged || !ms_box_ping(w->box))
        return true;
    ms_worker_retire(w, MOONSAND_RETIRE_HEALTH, "it cannot be asked", MS_BOX_FORCE);
    return false;
}

bool ms_worker_fresh(ms_worker *w)
{
    if (ms_now_ns() - w->box->heard < FRESH)
        return true;
    (void)ping(w);
    return false;
}

int64_t ms_worker_look_after(ms_worker *w)
{
    int64_t now = ms_now_ns();
    if (w->box->pinged && now - w->box->pinged >= ANSWER_WITHIN) {
        ms_worker_retire(w, MOONSAND_RETIRE_HEALTH, "it does not answer", MS_BOX_FORCE);
        return 0;
    }
    if (!w->box->pinged && now - w->box->heard >= QUIET_AFTER && !ping(w))
        return 0;
    return w->box->pinged ? w->box->pinged + ANSWER_WITHIN : w->box->heard + QUIET_AFTER;
}
