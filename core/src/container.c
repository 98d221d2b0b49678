/* From the image to a container whose agent is attached, and out of sight again. */
#include "container.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "json.h"
#include "owner.h"
#include "removal.h"

#define LAUNCH_TIMEOUT (60 * MS_S) /* create, and again from there until it is ready */
#define LEASE_SLACK (240 * MS_S)   /* what may come on top, all deadlines used */

/* ---- lifetime ----------------------------------------------------------------------------- */

int ms_box_new(ms_box **out, moonsand_sandbox *sandbox, bool server, int64_t lease_ns,
               const ms_box_events *events, moonsand_error **err)
{
    ms_box *b = *out = ms_calloc(1, sizeof *b);
    if (!b)
        return ms_fail_nomem(err);
    if (ms_agent_decoder_new(&b->decoder, err)) {
        ms_free(b);
        *out = NULL;
        return -1;
    }
    moonsand_engine *e = b->engine = sandbox->engine;
    b->sandbox = sandbox;
    b->events = *events;
    b->server = server;
    b->lease_ns = lease_ns;
    b->uid_fd = -1;
    b->next = e->boxes;
    if (b->next)
        b->next->prev = b;
    e->boxes = b;
    return 0;
}

/* The container, its connection and its uid go to the background. */
void ms_box_gone(ms_box *b)
{
    moonsand_engine *e = b->engine;
    ms_timer_stop(&b->deadline);
    ms_layer_unwant(&b->waiter);
    if (b->state == MS_BOX_CREATING && b->call) /* the engine may still be about to create it */
        ms_removal_unsure(b->removal);
    ms_http_cancel(b->start_call);
    ms_http_cancel(b->call);
    if (b->removal) {
        if (b->stream && b->how == MS_BOX_HANG_UP)
            ms_stream_half_close(b->stream);
        ms_removal_start(b->removal, e, b->stream, b->uid_fd, b->how == MS_BOX_FORCE);
    } else {
        ms_stream_free(b->stream);
        if (b->uid_fd >= 0)
            close(b->uid_fd);
    }
    if (b->prev)
        b->prev->next = b->next;
    else
        e->boxes = b->next;
    if (b->next)
        b->next->prev = b->prev;
    ms_agent_decoder_free(b->decoder);
    ms_probe_free(b->probe);
    moonsand_error_free(b->error);
    ms_free(b->check_key);
    ms_free(b->name);
    ms_free(b->image);
    ms_free(b->path);
    ms_free(b->lang);
    ms_free(b);
}

void ms_box_release(ms_box *b, ms_box_how how)
{
    b->released = true;
    b->how = how;
    b->sandbox = NULL;
    b->events = (ms_box_events){0};
    ms_layer_unwant(&b->waiter);
    /* In CREATING, whether the engine creates it is known only when the call has ended; a removal
     * by name could come before the creation. */
    if (!b->busy && !(b->state == MS_BOX_CREATING && b->call))
        ms_box_gone(b);
}

void ms_box_abandon(ms_box *b)
{
    b->how = MS_BOX_FORCE;
    ms_box_gone(b);
}

void ms_box_set_events(ms_box *b, const ms_box_events *events)
{
    b->events = *events;
}

void ms_box_fail(ms_box *b, moonsand_error *err)
{
    b->state = MS_BOX_OVER;
    ms_timer_stop(&b->deadline);
    if (b->released) {
        moonsand_error_free(err);
        ms_box_gone(b);
    } else {
        b->events.on_failed(b->events.arg, err);
    }
}

static void fail_here(ms_box *b, const char *op, moonsand_error *err)
{
    ms_error_op(&err, op);
    ms_box_fail(b, err);
}

int ms_box_write(ms_box *b, const ms_buf *frames, moonsand_error **err)
{
    if (!b->stream)
        return ms_fail(err, MOONSAND_E_CLOSED, "the connection to the container has ended");
    return ms_stream_write(b->stream, frames->data, frames->len, err);
}

/* ---- start -------------------------------------------------------------------------------- */

static void on_start(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                     moonsand_error *err)
{
    ms_box *b = arg;
    (void)call;
    b->start_call = NULL;
    if (!err && status != 204 && status != 304 && status != 200)
        ms_fail_http(&err, "container start", status, body, len);
    if (!err)
        return; /* the agent's HELLO says that it lives */
    if (b->state == MS_BOX_STARTING)
        fail_here(b, "container start", err);
    else
        moonsand_error_free(err); /* it got further without this answer */
}

/* ---- attach ------------------------------------------------------------------------------- */

static void on_open(void *arg)
{
    ms_box *b = arg;
    moonsand_error *err = NULL;
    b->attached = ms_now_ns();
    b->state = MS_BOX_STARTING;
    char *path = ms_asprintf("/containers/%s/start", b->name);
    if (!path)
        ms_fail_nomem(&err);
    else
        ms_engine_call(&b->start_call, b->engine, "POST", path, NULL, LAUNCH_TIMEOUT, on_start, b,
                       &err);
    ms_free(path);
    if (err)
        fail_here(b, "container start", err);
}

static int attach(ms_box *b, const ms_layer *layer, moonsand_error **err)
{
    static const char query[] = "stream=1&stdin=1&stdout=1&stderr=1";
    ms_buf greeting = {0};
    char *path = ms_asprintf("%s/containers/%s/attach?%s", b->engine->prefix, b->name, query);
    ms_stream_events events = {
        .on_open = on_open, .on_data = ms_box_on_data, .on_end = ms_box_on_stream_end, .arg = b};
    int rc = -1;
    b->state = MS_BOX_ATTACHING;
    ms_timer_start(&b->deadline, b->engine->loop, LAUNCH_TIMEOUT, ms_box_on_deadline, b);
    b->path = ms_strdup(layer->path);
    b->lang = ms_strdup(layer->lang);
    if (!path || !b->path || !b->lang || ms_box_greet(&greeting, b))
        ms_fail_nomem(err);
    else if (!ms_stream_open(&b->stream, b->engine->http, path, LAUNCH_TIMEOUT, &events, err))
        rc = ms_stream_write(b->stream, greeting.data, greeting.len, err);
    ms_free(path);
    ms_buf_free(&greeting);
    return rc;
}

/* ---- create ------------------------------------------------------------------------------- */

/* Something that the engine could not apply is only a warning to it; to us it is a refusal. */
static int check_created(const char *body, size_t len, moonsand_error **err)
{
    json_t *v = ms_json_parse(body, len, "container create", err);
    if (!v)
        return -1;
    const json_t *first = json_array_get(ms_json_at(v, "Warnings"), 0);
    int rc = 0;
    if (first) {
        const char *text = json_string_value(first);
        char warning[512];
        ms_printable(warning, sizeof warning, text ? text : "", text ? strlen(text) : 0);
        rc = ms_fail(err, MOONSAND_E_UNSUPPORTED,
                     "the engine would weaken the sandbox, so the run is refused: %s", warning);
    }
    json_decref(v);
    return rc;
}

/* Podman says 500 where Docker says 404. */
static bool image_is_gone(int status, const char *body, size_t len)
{
    static const char words[] = "image not known";
    return status == 404 || (status == 500 && memmem(body, len, words, sizeof words - 1));
}

static void on_created(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                       moonsand_error *err)
{
    ms_box *b = arg;
    (void)call;
    b->call = NULL;
    if (err) /* the answer did not come, which says nothing about the container */
        ms_removal_unsure(b->removal);
    if (b->released) {
        moonsand_error_free(err);
        ms_box_gone(b);
        return;
    }
    const ms_layer *layer = ms_layer_find(b->engine, b->sandbox->limits.image);
    if (!err && image_is_gone(status, body, len)) {
        /* Removed behind our back (`moonsand image prune`): prepared again, once. */
        if (layer)
            ms_layer_forget(b->engine, layer);
        if (!b->prepared_again) {
            b->prepared_again = true;
            b->state = MS_BOX_PREPARING;
            ms_box_launch(b);
            return;
        }
    }
    if (!err && status != 201 && status != 200)
        ms_fail_http(&err, "container create", status, body, len);
    if (!err)
        check_created(body, len, &err);
    if (!err && !layer)
        ms_fail(&err, MOONSAND_E_NOT_FOUND, "the image was removed while the run began");
    if (!err)
        attach(b, layer, &err);
    if (err)
        fail_here(b, "container create", err);
}

/* Equal bodies but for name, owner, lease and uid mean equal walls. */
static char *key_of(const ms_box *b, const ms_container *c, moonsand_error **err)
{
    ms_container plain = *c;
    plain.name = "moonsand-0";
    plain.owner = "0";
    plain.lease_epoch_s = 1;
    plain.uid = b->engine->profile->uid_low;
    ms_buf path = {0}, body = {0};
    int rc = b->engine->profile->create(&path, &body, &plain, &b->engine->facts, err);
    ms_buf_free(&path);
    if (rc)
        ms_buf_free(&body);
    return body.data;
}

static int name_container(ms_box *b, moonsand_error **err)
{
    char hex[25];
    if (ms_random_hex(hex, 12, err))
        return -1;
    b->name = ms_asprintf("moonsand-%s", hex);
    return b->name ? ms_removal_new(&b->removal, b->name, err) : ms_fail_nomem(err);
}

static int create(ms_box *b, const ms_layer *layer, moonsand_error **err)
{
    moonsand_engine *e = b->engine;
    bool remapped = e->facts.rootless || e->facts.userns_remap;
    uint32_t low = e->profile->uid_low, high = e->profile->uid_high;
    if (remapped) { /* only the first 65536 ids exist in the user namespace */
        low = 10000;
        high = 60000;
    }
    char **seccomp = &e->seccomp_path[b->server];
    if (e->profile->seccomp_by_path && !*seccomp) {
        if (!e->facts.local)
            return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                           "a remote Podman reads the seccomp profile from its own disk, where it "
                           "cannot be put; run moonsand beside it, or use Docker");
        if (ms_seccomp_file(seccomp, e->facts.arch, b->server, err))
            return -1;
    }
    /* Still there when the image is prepared again: no container has taken them. */
    if (!b->removal && (ms_uid_take(&b->uid, &b->uid_fd, low, high, err) || name_container(b, err)))
        return -1;
    ms_container c = {
        .limits = &b->sandbox->limits,
        .image_id = layer->run_id,
        .name = b->name,
        .owner = e->owner,
        .lease_epoch_s = (int64_t)time(NULL) + (b->lease_ns + LEASE_SLACK) / MS_S,
        .uid = b->uid,
        .volumes = (const char *const *)layer->volumes,
        .volume_count = layer->volume_count,
        .seccomp_path = *seccomp,
        .server = b->server,
    };
    ms_free(b->image);
    if (!(b->image = ms_strdup(layer->image_id)))
        return ms_fail_nomem(err);
    ms_free(b->check_key);
    if (!(b->check_key = key_of(b, &c, err)))
        return -1;
    b->checked = json_object_get(e->checked, b->check_key) != NULL;
    if (!b->checked && !b->probe && ms_probe_new(&b->probe, err))
        return -1;
    ms_buf path = {0}, body = {0};
    int rc =
        e->profile->create(&path, &body, &c, &e->facts, err) ||
        ms_engine_call(&b->call, e, "POST", path.data, &body, LAUNCH_TIMEOUT, on_created, b, err);
    ms_buf_free(&path);
    ms_buf_free(&body);
    return rc ? -1 : 0;
}

/* ---- prepare ------------------------------------------------------------------------------ */

static void on_layer(void *arg, const ms_layer *layer, moonsand_error *err)
{
    ms_box *b = arg;
    if (!err) {
        b->state = MS_BOX_CREATING; /* for as long as the call lasts, which has a time limit */
        if (!create(b, layer, &err))
            return;
        b->state = MS_BOX_PREPARING; /* no call is under way */
    }
    fail_here(b, "run", err);
}

void ms_box_launch(ms_box *b)
{
    const ms_layer *layer;
    moonsand_error *err = NULL;
    if (ms_layer_want(&b->waiter, b->engine, b->sandbox->limits.image, on_layer, b, &layer, &err))
        fail_here(b, "image prepare", err);
    else if (layer)
        on_layer(b, layer, NULL);
}
