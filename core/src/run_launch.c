/* From the image to the request that is on its way to the agent. */
#include <string.h>
#include <time.h>

#include "error.h"
#include "json.h"
#include "owner.h"
#include "removal.h"
#include "run.h"

#define LAUNCH_TIMEOUT (60 * MS_S) /* create, and again from there to the program's start */
#define LEASE_SLACK_S 240 /* what a run may last beyond its time limit, all deadlines used */

#define CWD "/tmp/work"
#define OUTPUT_DIR "/tmp/out"
#define VALUE_FILE "/tmp/result.json"

static void fail_here(moonsand_run *r, const char *op, moonsand_error *err)
{
    ms_error_op(&err, op);
    ms_run_fail(r, err);
}

/* ---- start -------------------------------------------------------------------------------- */

static void on_start(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                     moonsand_error *err)
{
    moonsand_run *r = arg;
    (void)call;
    r->start_call = NULL;
    if (!err && status != 204 && status != 304 && status != 200)
        ms_fail_http(&err, "container start", status, body, len);
    if (!err)
        return; /* the agent's HELLO says that it lives */
    if (r->phase == MS_STARTING)
        fail_here(r, "container start", err);
    else
        moonsand_error_free(err); /* the run got further without this answer */
}

/* ---- the request -------------------------------------------------------------------------- */

/* "NAME=..." has the name of one of the caller's. */
static bool is_given(const moonsand_run *r, const char *entry)
{
    size_t n = strcspn(entry, "=") + 1;
    for (size_t i = 0; i < r->envc; i++) {
        if (strncmp(r->env[i], entry, n) == 0)
            return true;
    }
    return false;
}

static int put_request(moonsand_run *r, const ms_layer *layer, ms_buf *out, moonsand_error **err)
{
    const ms_limits *l = &r->sandbox->limits;
    char *path = ms_asprintf("PATH=%s", layer->path), *lang = ms_asprintf("LANG=%s", layer->lang);
    const char **env = ms_calloc(r->envc + 6, sizeof *env);
    int rc = -1;
    if (path && lang && env) {
        const char *ours[] = {path,
                              lang,
                              "HOME=/tmp",
                              "TMPDIR=/tmp",
                              "MOONSAND_OUTPUT=" OUTPUT_DIR,
                              "MOONSAND_RESULT=" VALUE_FILE};
        size_t n = 0;
        for (size_t i = 0; i < r->envc; i++)
            env[n++] = r->env[i];
        /* Of two entries with one name getenv() takes the first, and sh the last. */
        for (size_t i = 0; i < 6; i++) {
            if (!is_given(r, ours[i]))
                env[n++] = ours[i];
        }
        ms_agent_request request = {
            .argv = (const char *const *)r->argv,
            .argc = r->argc,
            .env = env,
            .envc = n,
            .cwd = CWD,
            .output_dir = OUTPUT_DIR,
            .value_file = VALUE_FILE,
            .wall_limit_ns = r->wall_limit_ns,
            .stdout_max = l->stdout_bytes,
            .stderr_max = l->stderr_bytes,
            .artefact_count_max = l->artefact_count,
            .artefact_bytes_max = l->artefact_bytes,
            .value_max = l->value_bytes,
            .fsize = l->file_bytes,
            .flags =
                MS_FLAG_LANDLOCK | (r->opt.stdin_mode != MOONSAND_STDIN_EMPTY ? MS_FLAG_STDIN : 0u),
        };
        rc = (!r->checked && ms_agent_put(out, MS_F_CHECK, NULL, 0)) ||
             ms_agent_put_request(out, &request) || ms_buf_add(out, r->files.data, r->files.len);
    }
    if (!rc && r->checked)
        rc = ms_agent_put(out, MS_F_GO, NULL, 0);
    ms_free(path);
    ms_free(lang);
    ms_free((void *)env);
    return rc ? ms_fail_nomem(err) : 0;
}

/* ---- attach ------------------------------------------------------------------------------- */

static void on_open(void *arg)
{
    moonsand_run *r = arg;
    moonsand_error *err = NULL;
    r->attached = ms_now_ns();
    r->phase = MS_STARTING;
    char *path = ms_asprintf("/containers/%s/start", r->name);
    if (!path)
        ms_fail_nomem(&err);
    else
        ms_engine_call(&r->start_call, r->engine, "POST", path, NULL, LAUNCH_TIMEOUT, on_start, r,
                       &err);
    ms_free(path);
    if (err)
        fail_here(r, "container start", err);
}

static int attach(moonsand_run *r, const ms_layer *layer, moonsand_error **err)
{
    static const char query[] = "stream=1&stdin=1&stdout=1&stderr=1";
    ms_buf request = {0};
    char *path = ms_asprintf("%s/containers/%s/attach?%s", r->engine->prefix, r->name, query);
    ms_stream_events events = {
        .on_open = on_open, .on_data = ms_run_talk_data, .on_end = ms_run_talk_end, .arg = r};
    int rc = -1;
    r->phase = MS_ATTACHING;
    ms_timer_start(&r->deadline, r->engine->loop, LAUNCH_TIMEOUT, ms_run_on_deadline, r);
    if (!path)
        ms_fail_nomem(err);
    else if (!put_request(r, layer, &request, err) &&
             !ms_stream_open(&r->stream, r->engine->http, path, LAUNCH_TIMEOUT, &events, err))
        rc = ms_stream_write(r->stream, request.data, request.len, err);
    ms_free(path);
    ms_buf_free(&request);
    ms_buf_free(&r->files);
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
    moonsand_run *r = arg;
    (void)call;
    r->call = NULL;
    const ms_layer *layer = ms_layer_find(r->engine, r->sandbox->limits.image);
    if (err) { /* the answer did not come, which says nothing about the container */
        ms_removal_unsure(r->removal);
    } else if (image_is_gone(status, body, len)) {
        /* Removed behind our back (`moonsand image prune`): prepared again, once. */
        if (layer)
            ms_layer_forget(r->engine, layer);
        if (!r->prepared_again && !r->cancel_asked && !r->freed) {
            r->prepared_again = true;
            r->phase = MS_PREPARING;
            ms_run_prepare(r);
            return;
        }
    }
    if (!err && status != 201 && status != 200)
        ms_fail_http(&err, "container create", status, body, len);
    if (!err)
        check_created(body, len, &err);
    if (r->cancel_asked || r->freed) {
        moonsand_error_free(err);
        r->ending.cancelled = true;
        ms_run_finish(r);
        return;
    }
    if (!err && !layer)
        ms_fail(&err, MOONSAND_E_NOT_FOUND, "the image was removed while the run began");
    if (!err)
        attach(r, layer, &err);
    if (err)
        fail_here(r, "container create", err);
}

/* Equal bodies but for name, owner, lease and uid mean equal walls. */
static char *key_of(const moonsand_run *r, const ms_container *c, moonsand_error **err)
{
    ms_container plain = *c;
    plain.name = "moonsand-0";
    plain.owner = "0";
    plain.lease_epoch_s = 1;
    plain.uid = r->engine->profile->uid_low;
    ms_buf path = {0}, body = {0};
    int rc = r->engine->profile->create(&path, &body, &plain, &r->engine->facts, err);
    ms_buf_free(&path);
    if (rc)
        ms_buf_free(&body);
    return body.data;
}

static int name_container(moonsand_run *r, moonsand_error **err)
{
    char hex[25];
    if (ms_random_hex(hex, 12, err))
        return -1;
    r->name = ms_asprintf("moonsand-%s", hex);
    return r->name ? ms_removal_new(&r->removal, r->name, err) : ms_fail_nomem(err);
}

static int create(moonsand_run *r, const ms_layer *layer, moonsand_error **err)
{
    moonsand_engine *e = r->engine;
    bool remapped = e->facts.rootless || e->facts.userns_remap;
    uint32_t low = e->profile->uid_low, high = e->profile->uid_high;
    if (remapped) { /* only the first 65536 ids exist in the user namespace */
        low = 10000;
        high = 60000;
    }
    if (e->profile->seccomp_by_path && !e->seccomp_path) {
        if (!e->facts.local)
            return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                           "a remote Podman reads the seccomp profile from its own disk, where it "
                           "cannot be put; run moonsand beside it, or use Docker");
        if (ms_seccomp_file(&e->seccomp_path, e->facts.arch, err))
            return -1;
    }
    /* Still there when the image is prepared again: no container has taken them. */
    if (!r->removal && (ms_uid_take(&r->uid, &r->uid_fd, low, high, err) || name_container(r, err)))
        return -1;
    ms_container c = {
        .limits = &r->sandbox->limits,
        .image_id = layer->run_id,
        .name = r->name,
        .owner = e->owner,
        .lease_epoch_s =
            (int64_t)time(NULL) + (int64_t)(r->wall_limit_ns / (uint64_t)MS_S) + LEASE_SLACK_S,
        .uid = r->uid,
        .volumes = (const char *const *)layer->volumes,
        .volume_count = layer->volume_count,
        .seccomp_path = e->seccomp_path,
    };
    ms_free(r->outcome.image);
    if (!(r->outcome.image = ms_strdup(layer->image_id)))
        return ms_fail_nomem(err);
    ms_free(r->check_key);
    if (!(r->check_key = key_of(r, &c, err)))
        return -1;
    r->checked = json_object_get(e->checked, r->check_key) != NULL;
    if (!r->checked && !r->probe && ms_probe_new(&r->probe, err))
        return -1;
    ms_buf path = {0}, body = {0};
    int rc =
        e->profile->create(&path, &body, &c, &e->facts, err) ||
        ms_engine_call(&r->call, e, "POST", path.data, &body, LAUNCH_TIMEOUT, on_created, r, err);
    ms_buf_free(&path);
    ms_buf_free(&body);
    return rc ? -1 : 0;
}

/* ---- prepare ------------------------------------------------------------------------------ */

static void on_layer(void *arg, const ms_layer *layer, moonsand_error *err)
{
    moonsand_run *r = arg;
    if (!err) {
        r->phase = MS_CREATING; /* for as long as the call lasts, which has a time limit */
        if (!create(r, layer, &err))
            return;
        r->phase = MS_PREPARING; /* no call is under way */
    }
    fail_here(r, "run", err);
}

void ms_run_prepare(moonsand_run *r)
{
    const ms_layer *layer;
    moonsand_error *err = NULL;
    if (ms_layer_want(&r->waiter, r->engine, r->sandbox->limits.image, on_layer, r, &layer, &err))
        fail_here(r, "image prepare", err);
    else if (layer)
        on_layer(r, layer, NULL);
}
