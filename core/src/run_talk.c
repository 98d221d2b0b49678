/* What the agent says, and what happens when it does not. */
#include <string.h>

#include "error.h"
#include "pool.h"
#include "run.h"

#define GRACE (2 * MS_S) /* the agent's own time limit goes first; then we kill the container */
#define AWAY (1 * MS_S)  /* so late a timer only fires when nobody drove the loop */

/* ---- stdin -------------------------------------------------------------------------------- */

static void no_memory(void *arg)
{
    moonsand_error *err = NULL;
    ms_fail_nomem(&err);
    ms_error_op(&err, "run");
    ms_run_fail(arg, err);
}

void ms_run_pump_stdin(moonsand_run *r)
{
    if (r->phase != MS_RUNNING || r->opt.stdin_mode == MOONSAND_STDIN_EMPTY || r->eof_sent)
        return;
    ms_buf out = {0};
    bool bad = false;
    size_t sent = 0;
    while (!bad && r->credit && sent < r->input.len) {
        size_t n = r->input.len - sent;
        if (n > r->credit)
            n = (size_t)r->credit;
        if (n > MS_PROTO_MAX)
            n = MS_PROTO_MAX;
        bad = ms_agent_put(&out, MS_F_STDIN, r->input.data + sent, n) != 0;
        sent += n;
        r->credit -= n;
    }
    ms_buf_drop(&r->input, sent);
    if (r->input_closed && !r->input.len) {
        bad = bad || ms_agent_put(&out, MS_F_STDIN_EOF, NULL, 0) != 0;
        r->eof_sent = true;
    }
    if (bad || (out.len && ms_box_write(r->box, &out, NULL)))
        /* From the next step: this may be the caller, or inside the decoder. */
        ms_timer_start(&r->wake, r->engine->loop, 0, no_memory, r);
    ms_buf_free(&out);
}

/* ---- events ------------------------------------------------------------------------------- */

static void on_started(moonsand_run *r)
{
    r->phase = MS_RUNNING;
    r->started = ms_now_ns();
    ms_buf_free(&r->files);
    int64_t limit = (int64_t)r->wall_limit_ns + GRACE;
    ms_timer_start(&r->deadline, r->engine->loop, limit, ms_run_on_deadline, r);
    ms_run_pump_stdin(r);
    if (r->opt.stdin_mode == MOONSAND_STDIN_STREAM && r->opt.on_stdin && !r->freed)
        r->opt.on_stdin(r->opt.arg, r);
}

static int on_failed(moonsand_run *r, const ms_agent_event *ev)
{
    char text[256], stage[32];
    const char *reason = ev->reason ? ev->reason : "";
    ms_printable(text, sizeof text, reason, strlen(reason));
    ms_printable(stage, sizeof stage, ev->stage ? ev->stage : "",
                 ev->stage ? strlen(ev->stage) : 0);
    moonsand_code code = strcmp(stage, "exec") == 0 ? MOONSAND_E_EXEC : MOONSAND_E_ENGINE;
    if (code == MOONSAND_E_EXEC)
        ms_fail(&r->error, code, "%s: cannot be started in the container: %s%s", r->argv[0], text,
                ev->number == 2 ? "; is it in the image, and in PATH?" : "");
    else
        ms_fail(&r->error, code, "the agent could not make ready (%s): %s%s", stage, text,
                ev->number == 28 ? "; raise disk" : "");
    return 1;
}

static int on_final(moonsand_run *r, const ms_agent_event *ev)
{
    r->final = *ev->final;
    r->ending.final = &r->final;
    if (r->final.killed == MS_KILLED_HOST)
        r->ending.cancelled = r->cancel_asked;
    /* What it says must agree with what it sent. */
    if (r->final.stdout_bytes < r->outcome.result.out.bytes ||
        r->final.stderr_bytes < r->outcome.result.err.bytes ||
        (!r->opt.on_report && r->final.reports_dropped > 0))
        return -1;
    return 0;
}

static int on_report(moonsand_run *r, const ms_agent_event *ev)
{
    if (!r->opt.on_report)
        return -1; /* not asked for */
    r->outcome.result.reports++;
    if (!r->freed)
        r->opt.on_report(r->opt.arg, ev->data, ev->len);
    return 0;
}

/* 0 goes on; -1 tampered; 1 r->error says why it ends. */
static int on_event(void *arg, const ms_agent_event *ev)
{
    moonsand_run *r = arg;
    switch (ev->type) {
    case MS_F_STARTED:
        on_started(r);
        return 0;
    case MS_F_CREDIT:
        r->credit += ev->number;
        if (r->credit > MS_PROTO_STDIN_CREDIT)
            return -1;
        ms_run_pump_stdin(r);
        if (r->opt.on_stdin && !r->input_closed && !r->freed)
            r->opt.on_stdin(r->opt.arg, r);
        return 0;
    case MS_F_REPORT:
        return on_report(r, ev);
    case MS_F_FAILED:
        return on_failed(r, ev);
    case MS_F_FINAL:
        return on_final(r, ev);
    default:
        break;
    }
    int rc = ms_outcome_event(&r->outcome, &r->caps, ev);
    if (rc == -2) {
        ms_fail_nomem(&r->error);
        return 1;
    }
    if (rc)
        return -1;
    if (r->opt.on_output && !r->freed &&
        ((ev->type == MS_F_STDOUT && r->opt.stream_stdout) ||
         (ev->type == MS_F_STDERR && r->opt.stream_stderr)))
        r->opt.on_output(r->opt.arg, ev->type == MS_F_STDOUT ? 1 : 2, ev->data, ev->len);
    return 0;
}

static void finish(moonsand_run *r)
{
    const ms_box *b = r->box;
    const ms_pool *pool = r->sandbox->pool;
    bool fork = r->worker && !ms_pool_one_shot(pool);
    ms_container c = {.limits = &r->sandbox->limits, .uid = b->uid};
    ms_applied applied = {.landlocked = r->final.landlocked,
                          .self_checked = b->checked,
                          .preloaded = b->server && !fork,
                          .fork = fork,
                          .tier = b->tier,
                          .namespaces = b->namespaces,
                          .trust_key = r->trust_key,
                          .worker_runs = r->worker_runs,
                          .fell_back = pool ? pool->fell_back : NULL};
    ms_isolation_json(&r->outcome.isolation, &c, &r->engine->facts, &applied, NULL);
    ms_run_finish(r);
}

static void box_fed(void *arg, int rc)
{
    moonsand_run *r = arg;
    moonsand_error *err = r->error;
    r->error = NULL;
    if (r->freed) {
        moonsand_error_free(err);
        ms_run_orphan(r);
    } else if (rc == 0) {
        if (r->ending.final)
            finish(r);
        else if (r->worker &&
                 r->box->state == MS_BOX_OVER) /* it takes no more, and took not this */
            ms_run_again(r);
    } else if (rc == 1 || rc == -2) {
        if (rc == -2)
            ms_fail_nomem(&err);
        ms_error_op(&err, "run");
        ms_run_fail(r, err);
    } else {
        r->ending.tampered = true;
        finish(r);
    }
}

/* ---- no record: what does the engine say? -------------------------------------------------- */

static void box_end(void *arg, const ms_box_end *end)
{
    moonsand_run *r = arg;
    if (!end->answered) {
        r->ending.cancelled = r->ending.timed_out = false;
        r->ending.lost = true;
        finish(r);
        return;
    }
    r->ending.engine_oom = end->oom;
    if (!r->started && !r->ending.cancelled && !r->ending.timed_out) {
        moonsand_error *err = NULL;
        const char *why = r->box->diagnosis;
        ms_fail(&err, MOONSAND_E_ENGINE, "the container ended before the program began: %s",
                why[0] ? why : "the engine tells no reason");
        ms_run_fail(r, err);
        return;
    }
    r->ending.lost = !end->oom && !r->ending.cancelled && !r->ending.timed_out;
    finish(r);
}

static void box_lost(void *arg)
{
    moonsand_run *r = arg;
    r->phase = MS_ENDING;
    ms_timer_stop(&r->deadline);
    ms_box_ask(r->box);
}

const ms_box_events ms_run_box_events = {
    .on_event = on_event, .on_fed = box_fed, .on_lost = box_lost, .on_end = box_end};

/* ---- killing ------------------------------------------------------------------------------ */

static void kill_container(moonsand_run *r)
{
    r->phase = MS_ENDING;
    ms_timer_stop(&r->deadline);
    ms_box_kill(r->box);
}

void ms_run_kill(moonsand_run *r)
{
    switch (r->phase) {
    case MS_WAITING:
        r->ending.cancelled = true;
        ms_run_finish(r);
        return;
    case MS_RUNNING:
    case MS_ASKED: {
        ms_buf out = {0};
        bool sent = !ms_agent_put(&out, MS_F_KILL, NULL, 0) && !ms_box_write(r->box, &out, NULL);
        ms_buf_free(&out);
        if (sent) {
            ms_timer_start(&r->deadline, r->engine->loop, GRACE, ms_run_on_deadline, r);
        } else {
            r->ending.cancelled = true;
            kill_container(r);
        }
        return;
    }
    case MS_ENDING:
    case MS_DONE:
        return;
    }
}

void ms_run_on_deadline(void *arg)
{
    moonsand_run *r = arg;
    if (r->phase == MS_RUNNING && !r->cancel_asked && ms_now_ns() - r->deadline.due_ns > AWAY) {
        /* What the agent said meanwhile is still to be read, perhaps that all ended in time. */
        ms_timer_start(&r->deadline, r->engine->loop, GRACE, ms_run_on_deadline, r);
    } else if (r->cancel_asked || r->phase == MS_RUNNING) {
        r->ending.cancelled = r->cancel_asked;
        r->ending.timed_out = !r->cancel_asked;
        kill_container(r);
    } else {
        moonsand_error *err = NULL;
        ms_fail(
            &err, MOONSAND_E_TIMEOUT,
            "the engine did not get the container going within 60 s; is the machine overloaded?");
        ms_error_op(&err, "container start");
        ms_run_fail(r, err);
    }
}
