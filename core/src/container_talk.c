/* What a container's agent says until it takes a run, and what the engine says when it is silent.
 */
#include <stdio.h>
#include <string.h>

#include "container.h"
#include "error.h"
#include "json.h"

#define LAUNCH_TIMEOUT (60 * MS_S)
#define END_TIMEOUT (5 * MS_S) /* for the engine to kill it, and to tell how it ended */

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

static int verify(ms_box *b, moonsand_error **err)
{
    const ms_layer *layer = ms_layer_find(b->engine, b->sandbox->limits.image);
    ms_container c = {.limits = &b->sandbox->limits,
                      .uid = b->uid,
                      .volumes = layer ? (const char *const *)layer->volumes : NULL,
                      .volume_count = layer ? layer->volume_count : 0,
                      .server = b->server};
    if (ms_probe_verify(b->probe, &c, &b->engine->facts, err))
        return -1;
    b->checked = true;
    ms_probe_free(b->probe);
    b->probe = NULL;
    return json_object_set_new(b->engine->checked, b->check_key, json_true()) ? ms_fail_nomem(err)
                                                                              : 0;
}

static int put_server(ms_buf *out, ms_box *b)
{
    ms_agent_decoder_serve(b->decoder);
    return ms_warm_put_server(out, &b->sandbox->warm, &b->sandbox->limits, b->path, b->lang);
}

/* The imports run code of the image: not before it is known where. */
static int walls_proven(ms_box *b, moonsand_error **err)
{
    if (!b->server) {
        b->state = MS_BOX_READY;
        return 0;
    }
    ms_buf out = {0};
    int rc = put_server(&out, b) ? ms_fail_nomem(err) : ms_box_write(b, &out, err);
    ms_buf_free(&out);
    return rc;
}

static int on_probe(ms_box *b, const ms_agent_event *ev)
{
    if (!b->probe)
        return -1; /* not asked for */
    if (ms_probe_add(b->probe, ev->path, ev->data, ev->len, &b->error))
        return 1;
    if (!probe_complete(&b->probe_seen, ev->path))
        return 0;
    return verify(b, &b->error) || walls_proven(b, &b->error) ? 1 : 0;
}

/* ---- frames ------------------------------------------------------------------------------- */

/* Sent before the container is started: its agent reads it as soon as it lives. */
int ms_box_greet(ms_buf *out, ms_box *b)
{
    if (!b->checked)
        return ms_agent_put(out, MS_F_CHECK, NULL, 0);
    return b->server ? put_server(out, b) : 0;
}

int ms_box_ping(ms_box *b)
{
    ms_buf out = {0};
    int rc = ms_agent_put(&out, MS_F_PING, NULL, 0) || ms_box_write(b, &out, NULL);
    ms_buf_free(&out);
    if (!rc)
        b->pinged = ms_now_ns();
    return rc ? -1 : 0;
}

static int on_failed(ms_box *b, const ms_agent_event *ev)
{
    if (b->server && strcmp(ev->stage, "preload") == 0)
        ms_fail(&b->error, MOONSAND_E_EXEC, "the fork server could not be made ready: %s",
                ev->reason);
    else if (b->server && (b->no_fork = strcmp(ev->stage, "isolation") == 0))
        ms_fail(&b->error, MOONSAND_E_ISOLATION, "fork mode is not possible here: %s", ev->reason);
    else
        ms_fail(&b->error, MOONSAND_E_ENGINE, "the agent could not make ready (%s): %s", ev->stage,
                ev->reason);
    return 1;
}

static int on_server_ready(ms_box *b, const ms_agent_event *ev)
{
    const ms_warm *warm = b->released ? NULL : &b->sandbox->warm;
    bool first = b->state == MS_BOX_STARTING;
    /* Not less than what was asked for, and always the same. */
    if (first ? warm && warm->mode == MOONSAND_MODE_FORK &&
                    (ev->number < MS_TIER_LANDLOCK || ev->number < (uint64_t)warm->require)
              : ev->number != (uint64_t)b->tier)
        return -1;
    b->tier = (int)ev->number;
    memcpy(b->namespaces, ev->namespaces, strlen(ev->namespaces) + 1);
    b->pinged = 0;
    b->state = MS_BOX_READY;
    return 0;
}

static int on_retire(ms_box *b, const ms_agent_event *ev)
{
    ms_printable(b->retire, sizeof b->retire, ev->reason, strlen(ev->reason));
    ms_printable(b->detail, sizeof b->detail, ev->message, strlen(ev->message));
    b->state = MS_BOX_OVER;
    return 0;
}

static int on_pong(ms_box *b)
{
    if (!b->pinged)
        return -1;
    b->pinged = 0;
    return 0;
}

/* Once it was ready. */
static int on_later_event(ms_box *b, const ms_agent_event *ev)
{
    switch (ev->type) {
    case MS_F_READY:
        return on_server_ready(b, ev);
    case MS_F_RETIRE:
        return on_retire(b, ev);
    case MS_F_PONG:
        return on_pong(b);
    default:
        break;
    }
    if (b->state != MS_BOX_BUSY)
        return -1; /* nothing was asked for */
    if (ev->type == MS_F_FINAL)
        b->state = b->server ? MS_BOX_RETURNING : MS_BOX_OVER;
    return b->released ? 0 : b->events.on_event(b->events.arg, ev);
}

static int on_event(void *arg, const ms_agent_event *ev)
{
    ms_box *b = arg;
    if (b->state != MS_BOX_STARTING)
        return on_later_event(b, ev);
    switch (ev->type) {
    case MS_F_HELLO:
        if (ev->number != MS_PROTO_VERSION)
            return -1;
        if (b->server) /* time for the imports */
            ms_timer_start(&b->deadline, b->engine->loop, LAUNCH_TIMEOUT, ms_box_on_deadline, b);
        else if (b->checked)
            b->state = MS_BOX_READY;
        return 0;
    case MS_F_PROBE:
        return on_probe(b, ev);
    case MS_F_READY:
        return on_server_ready(b, ev);
    case MS_F_FAILED:
        return on_failed(b, ev);
    default:
        return -1;
    }
}

/* What was decoded could not make it ready. */
static void launch_failed(ms_box *b, int rc)
{
    moonsand_error *err = b->error;
    b->error = NULL;
    if (rc == -2)
        ms_fail_nomem(&err);
    if (err)
        ms_error_op(&err, "run");
    ms_box_fail(b, err);
}

void ms_box_on_data(void *arg, int stream, const char *p, size_t n)
{
    ms_box *b = arg;
    if (b->state >= MS_BOX_OVER)
        return;
    if (stream != 1) { /* the agent's last words, or the daemon's */
        if (!b->diagnosis[0])
            ms_printable(b->diagnosis, sizeof b->diagnosis, p, n);
        return;
    }
    bool starting = b->state < MS_BOX_READY;
    b->heard = ms_now_ns();
    b->busy = true;
    int rc = ms_agent_decoder_feed(b->decoder, p, n, on_event, b);
    b->busy = false;
    if (b->released) {
        ms_box_gone(b);
    } else if (starting) {
        if (rc)
            launch_failed(b, rc);
        else if (b->state == MS_BOX_READY) {
            b->was_ready = true;
            ms_timer_stop(&b->deadline);
            b->events.on_ready(b->events.arg);
        }
    } else {
        if (rc)
            b->state = MS_BOX_OVER;
        b->events.on_fed(b->events.arg, rc);
    }
}

/* ---- no word from the agent: what does the engine say? ------------------------------------- */

static void ended(ms_box *b, const ms_box_end *end)
{
    ms_timer_stop(&b->deadline);
    if (b->was_ready) {
        b->events.on_end(b->events.arg, end);
        return;
    }
    moonsand_error *err = NULL;
    ms_fail(&err, MOONSAND_E_ENGINE, "the container ended before the program began: %s",
            b->diagnosis[0] ? b->diagnosis : "the engine tells no reason");
    ms_box_fail(b, err);
}

static void on_inspect(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                       moonsand_error *err)
{
    ms_box *b = arg;
    ms_box_end end = {.answered = true};
    (void)call;
    b->call = NULL;
    json_t *v = !err && status == 200 ? ms_json_parse(body, len, "container inspect", &err) : NULL;
    moonsand_error_free(err);
    if (v && !ms_json_bool(v, "State.Running")) {
        int64_t code = ms_json_int(v, "State.ExitCode", -1);
        end.oom = ms_json_bool(v, "State.OOMKilled") && code == 137;
        const char *text = ms_json_str(v, "State.Error", "");
        if (*text)
            ms_printable(b->diagnosis, sizeof b->diagnosis, text, strlen(text));
        else if (!b->diagnosis[0])
            snprintf(b->diagnosis, sizeof b->diagnosis,
                     "the container's first process ended with %lld", (long long)code);
    }
    json_decref(v);
    ended(b, &end);
}

void ms_box_ask(ms_box *b)
{
    char *path = ms_asprintf("/containers/%s/json", b->name);
    b->state = MS_BOX_ENDING;
    ms_http_cancel(b->call);
    b->call = NULL;
    ms_timer_start(&b->deadline, b->engine->loop, 2 * END_TIMEOUT, ms_box_on_deadline, b);
    if (!path ||
        ms_engine_call(&b->call, b->engine, "GET", path, NULL, END_TIMEOUT, on_inspect, b, NULL)) {
        ms_free(path);
        on_inspect(b, NULL, 0, NULL, 0, NULL);
        return;
    }
    ms_free(path);
}

static void on_killed(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                      moonsand_error *err)
{
    ms_box *b = arg;
    (void)call;
    (void)body;
    (void)len;
    b->call = NULL;
    /* 409, 500: it was not running any more, which inspect will tell. */
    bool answered = !err && status != 0;
    moonsand_error_free(err);
    if (answered)
        ms_box_ask(b);
    else
        ended(b, &(ms_box_end){0});
}

void ms_box_kill(ms_box *b)
{
    char *path = ms_asprintf("/containers/%s/kill", b->name);
    b->state = MS_BOX_ENDING;
    ms_timer_start(&b->deadline, b->engine->loop, 2 * END_TIMEOUT, ms_box_on_deadline, b);
    if (!path ||
        ms_engine_call(&b->call, b->engine, "POST", path, NULL, END_TIMEOUT, on_killed, b, NULL)) {
        ms_free(path);
        on_killed(b, NULL, 0, NULL, 0, NULL);
        return;
    }
    ms_free(path);
}

void ms_box_on_stream_end(void *arg, moonsand_error *err)
{
    ms_box *b = arg;
    ms_stream_free(b->stream);
    b->stream = NULL;
    if (b->state == MS_BOX_ATTACHING && err) {
        ms_error_op(&err, "container attach");
        ms_box_fail(b, err);
        return;
    }
    if (err && !b->diagnosis[0]) {
        const char *m = moonsand_error_message(err);
        ms_printable(b->diagnosis, sizeof b->diagnosis, m, strlen(m));
    }
    moonsand_error_free(err);
    if (!b->was_ready)
        ms_box_ask(b);
    else if (b->state != MS_BOX_ENDING)
        b->events.on_lost(b->events.arg);
}

void ms_box_on_deadline(void *arg)
{
    ms_box *b = arg;
    moonsand_error *err = NULL;
    if (b->state == MS_BOX_ENDING) { /* the engine does not answer */
        ended(b, &(ms_box_end){0});
        return;
    }
    if (b->server && b->heard)
        ms_fail(&err, MOONSAND_E_TIMEOUT,
                "the fork server did not get its imports done within 60 s; give it more cpus, or "
                "preload less");
    else
        ms_fail(&err, MOONSAND_E_TIMEOUT,
                "the engine did not get the container going within 60 s; is the machine "
                "overloaded?");
    ms_error_op(&err, "container start");
    ms_box_fail(b, err);
}
