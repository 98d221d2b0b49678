/* What the agent says, and what happens when it does not. */
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "json.h"
#include "run.h"

#define GRACE (2 * MS_S) /* the agent's own time limit goes first; then we kill the container */
#define KILL_TIMEOUT (5 * MS_S) /* for the engine to kill it */
#define AWAY (1 * MS_S)         /* so late a timer only fires when nobody drove the loop */

/* ---- the self-check ----------------------------------------------------------------------- */

static bool probe_complete(unsigned *seen, const char *name)
{
    static const char *const names[] = {MS_PROBE_NAMES};
    enum { COUNT = sizeof names / sizeof names[0] };
    for (unsigned i = 0; i < COUNT; i++) {
        if (strcmp(names[i], name) == 0)
            *seen |= 1u << i;
    }
    return *seen == (1u << COUNT) - 1;
}

static int verify(moonsand_run *r, moonsand_error **err)
{
    const ms_layer *layer = ms_layer_find(r->engine, r->sandbox->limits.image);
    ms_container c = {.limits = &r->sandbox->limits,
                      .uid = r->uid,
                      .volumes = layer ? (const char *const *)layer->volumes : NULL,
                      .volume_count = layer ? layer->volume_count : 0};
    if (ms_probe_verify(r->probe, &c, &r->engine->facts, err))
        return -1;
    r->checked = true;
    ms_probe_free(r->probe);
    r->probe = NULL;
    if (json_object_set_new(r->engine->checked, r->check_key, json_true()))
        return ms_fail_nomem(err);
    ms_buf go = {0};
    int rc = ms_agent_put(&go, MS_F_GO, NULL, 0) ? ms_fail_nomem(err)
                                                 : ms_stream_write(r->stream, go.data, go.len, err);
    ms_buf_free(&go);
    return rc;
}

static int on_probe(moonsand_run *r, const ms_agent_event *ev)
{
    if (!r->probe)
        return -1; /* not asked for */
    if (ms_probe_add(r->probe, ev->path, ev->data, ev->len, &r->error))
        return 1;
    if (!probe_complete(&r->probe_seen, ev->path))
        return 0;
    return verify(r, &r->error) ? 1 : 0;
}

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
    if (bad || (out.len && ms_stream_write(r->stream, out.data, out.len, NULL)))
        /* From the next step: this may be the caller, or inside the decoder. */
        ms_timer_start(&r->wake, r->engine->loop, 0, no_memory, r);
    ms_buf_free(&out);
}

/* ---- events ------------------------------------------------------------------------------- */

static void on_started(moonsand_run *r)
{
    r->phase = MS_RUNNING;
    r->started = ms_now_ns();
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
        r->final.stderr_bytes < r->outcome.result.err.bytes)
        return -1;
    return 2;
}

/* 0 goes on; -1 tampered; 1 r->error says why it ends; 2 the record is there. */
static int on_event(void *arg, const ms_agent_event *ev)
{
    moonsand_run *r = arg;
    switch (ev->type) {
    case MS_F_HELLO:
        return ev->number == MS_PROTO_VERSION ? 0 : -1;
    case MS_F_PROBE:
        return on_probe(r, ev);
    case MS_F_STARTED:
        if (!r->checked)
            return -1; /* GO was not given */
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

static void isolation(moonsand_run *r)
{
    ms_container c = {
        .limits = &r->sandbox->limits, .uid = r->uid, .seccomp_path = r->engine->seccomp_path};
    ms_isolation_json(&r->outcome.isolation, &c, &r->engine->facts, r->final.landlocked, r->checked,
                      NULL);
}

static void finish(moonsand_run *r)
{
    isolation(r);
    ms_run_finish(r);
}

void ms_run_talk_data(void *arg, int stream, const char *p, size_t n)
{
    moonsand_run *r = arg;
    if (r->phase == MS_ENDING)
        return;
    if (stream != 1) { /* the agent's last words, or the daemon's */
        if (!r->diagnosis[0])
            ms_printable(r->diagnosis, sizeof r->diagnosis, p, n);
        return;
    }
    r->busy = true;
    int rc = ms_agent_decoder_feed(r->decoder, p, n, on_event, r);
    r->busy = false;
    switch (rc) {
    case 0:
        if (r->freed)
            ms_run_orphan(r);
        return;
    case 1: {
        moonsand_error *err = r->error;
        r->error = NULL;
        ms_error_op(&err, "run");
        ms_run_fail(r, err);
        return;
    }
    case 2:
        finish(r);
        return;
    case -2: {
        moonsand_error *err = NULL;
        ms_fail_nomem(&err);
        ms_run_fail(r, err);
        return;
    }
    default:
        r->ending.tampered = true;
        finish(r);
        return;
    }
}

/* ---- no record: what does the engine say? -------------------------------------------------- */

static void on_inspect(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                       moonsand_error *err)
{
    moonsand_run *r = arg;
    (void)call;
    r->call = NULL;
    json_t *v = !err && status == 200 ? ms_json_parse(body, len, "container inspect", &err) : NULL;
    moonsand_error_free(err);
    if (v && !ms_json_bool(v, "State.Running")) {
        int64_t code = ms_json_int(v, "State.ExitCode", -1);
        r->ending.engine_oom = ms_json_bool(v, "State.OOMKilled") && code == 137;
        const char *text = ms_json_str(v, "State.Error", "");
        if (*text)
            ms_printable(r->diagnosis, sizeof r->diagnosis, text, strlen(text));
        else if (!r->diagnosis[0])
            snprintf(r->diagnosis, sizeof r->diagnosis,
                     "the container's first process ended with %lld", (long long)code);
    }
    json_decref(v);
    if (!r->started && !r->ending.cancelled && !r->ending.timed_out) {
        moonsand_error *failed = NULL;
        ms_fail(&failed, MOONSAND_E_ENGINE, "the container ended before the program began: %s",
                r->diagnosis[0] ? r->diagnosis : "the engine tells no reason");
        ms_run_fail(r, failed);
        return;
    }
    r->ending.lost = !r->ending.engine_oom && !r->ending.cancelled && !r->ending.timed_out;
    finish(r);
}

static void ask_engine(moonsand_run *r)
{
    char *path = ms_asprintf("/containers/%s/json", r->name);
    r->phase = MS_ENDING;
    ms_http_cancel(r->call);
    r->call = NULL;
    ms_timer_start(&r->deadline, r->engine->loop, 2 * KILL_TIMEOUT, ms_run_on_deadline, r);
    if (!path ||
        ms_engine_call(&r->call, r->engine, "GET", path, NULL, KILL_TIMEOUT, on_inspect, r, NULL))
        on_inspect(r, NULL, 0, NULL, 0, NULL);
    ms_free(path);
}

void ms_run_talk_end(void *arg, moonsand_error *err)
{
    moonsand_run *r = arg;
    ms_stream_free(r->stream);
    r->stream = NULL;
    if (r->phase == MS_ATTACHING && err) {
        ms_error_op(&err, "container attach");
        ms_run_fail(r, err);
        return;
    }
    if (err && !r->diagnosis[0]) {
        const char *m = moonsand_error_message(err);
        ms_printable(r->diagnosis, sizeof r->diagnosis, m, strlen(m));
    }
    moonsand_error_free(err);
    ask_engine(r);
}

/* ---- killing ------------------------------------------------------------------------------ */

static void on_killed(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                      moonsand_error *err)
{
    moonsand_run *r = arg;
    (void)call;
    (void)body;
    (void)len;
    r->call = NULL;
    /* 409, 500: it was not running any more, which inspect will tell. */
    bool answered = !err && status != 0;
    moonsand_error_free(err);
    if (answered) {
        ask_engine(r);
        return;
    }
    r->ending.cancelled = r->ending.timed_out = false;
    r->ending.lost = true;
    finish(r);
}

static void kill_container(moonsand_run *r)
{
    r->phase = MS_ENDING;
    ms_timer_start(&r->deadline, r->engine->loop, 2 * KILL_TIMEOUT, ms_run_on_deadline, r);
    char *path = ms_asprintf("/containers/%s/kill", r->name);
    if (!path ||
        ms_engine_call(&r->call, r->engine, "POST", path, NULL, KILL_TIMEOUT, on_killed, r, NULL))
        on_killed(r, NULL, 0, NULL, 0, NULL);
    ms_free(path);
}

void ms_run_kill(moonsand_run *r)
{
    switch (r->phase) {
    case MS_PREPARING:
        r->ending.cancelled = true;
        ms_run_finish(r);
        return;
    case MS_RUNNING:
    case MS_STARTING: {
        ms_buf out = {0};
        bool sent = r->stream && !ms_agent_put(&out, MS_F_KILL, NULL, 0) &&
                    !ms_stream_write(r->stream, out.data, out.len, NULL);
        ms_buf_free(&out);
        if (sent) {
            ms_timer_start(&r->deadline, r->engine->loop, GRACE, ms_run_on_deadline, r);
            return;
        }
    } /* fall through */
    case MS_ATTACHING:
        r->ending.cancelled = true;
        kill_container(r);
        return;
    case MS_CREATING:
    case MS_ENDING:
    case MS_DONE:
        return;
    }
}

void ms_run_on_deadline(void *arg)
{
    moonsand_run *r = arg;
    if (r->phase == MS_ENDING) { /* the engine does not answer */
        r->ending.cancelled = r->ending.timed_out = false;
        r->ending.lost = true;
        finish(r);
    } else if (r->phase == MS_RUNNING && !r->cancel_asked &&
               ms_now_ns() - r->deadline.due_ns > AWAY) {
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
