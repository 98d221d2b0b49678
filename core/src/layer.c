#include "layer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "error.h"
#include "json.h"
#include "owner.h"
#include "proto.h"
#include "python_blob.h"
#include "removal.h"
#include "sha256.h"

#define RUN_REPOSITORY "localhost/moonsand/run"
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define BUILD_TIMEOUT (300 * MS_S) /* a commit copies the whole image on some storage drivers */

/* The calls that lead to a ready layer, in their order. */
typedef enum step { INSPECT, FIND, CREATE, UPLOAD, COMMIT, REMOVE, CONFIRM } step;

struct ms_layer_work {
    moonsand_engine *engine;
    ms_layer *layer;
    ms_http_call *call;
    step step;
    char tag[80];
    char container[48];
    moonsand_error *failed; /* kept while the container is removed */
    int looked;             /* how often the same look at an image failed */
};

static void go(struct ms_layer_work *w, step next);

/* ---- the end of the work ------------------------------------------------------------------ */

/* What the work has made, or is about to make, goes away in the background. */
static void give_up_container(struct ms_layer_work *w)
{
    ms_removal *r;
    if (!w->container[0] || w->step == CONFIRM || ms_removal_new(&r, w->container, NULL))
        return;
    if (w->step == CREATE)
        ms_removal_unsure(r);
    ms_removal_start(r, w->engine, NULL, -1, true);
}

static void layer_free(ms_layer *l)
{
    if (l->work) {
        ms_http_cancel(l->work->call);
        give_up_container(l->work);
        moonsand_error_free(l->work->failed);
        ms_free(l->work);
    }
    for (size_t i = 0; i < l->volume_count; i++)
        ms_free(l->volumes[i]);
    ms_free(l->volumes);
    ms_free(l->image);
    ms_free(l->image_id);
    ms_free(l->run_id);
    ms_free(l->path);
    ms_free(l->lang);
    ms_free(l);
}

static void unlink_layer(moonsand_engine *e, const ms_layer *layer)
{
    ms_layer **p = &e->layers;
    while (*p && *p != layer)
        p = &(*p)->next;
    if (*p)
        *p = layer->next;
}

static moonsand_error *copy_error(const moonsand_error *err)
{
    moonsand_error *copy = NULL;
    ms_fail(&copy, moonsand_error_code(err), "%s", moonsand_error_message(err));
    return copy;
}

/* Each waiter gets the layer, or an error of its own. */
static void finish(struct ms_layer_work *w, moonsand_error *err)
{
    ms_layer *l = w->layer;
    moonsand_engine *e = w->engine;
    l->work = NULL;
    l->ready = !err;
    ms_free(w);
    if (err) {
        ms_error_op(&err, "image prepare");
        unlink_layer(e, l); /* the next run tries again */
    }
    while (l->waiters) {
        ms_layer_waiter *waiter = l->waiters;
        ms_layer_unwant(waiter);
        waiter->cb(waiter->arg, err ? NULL : l, err ? copy_error(err) : NULL);
    }
    if (err)
        layer_free(l);
    moonsand_error_free(err);
}

/* With a container there is something to take away before the failure is told. */
static void fail(struct ms_layer_work *w, moonsand_error *err)
{
    if (w->step == UPLOAD || w->step == COMMIT) {
        w->failed = err;
        go(w, REMOVE);
    } else {
        finish(w, err);
    }
}

/* ---- what the image says ------------------------------------------------------------------ */

static char *env_of(const json_t *image, const char *name, const char *fallback)
{
    size_t i, n = strlen(name);
    const json_t *entry;
    json_array_foreach(ms_json_at(image, "Config.Env"), i, entry)
    {
        const char *s = json_string_value(entry);
        if (s && strncmp(s, name, n) == 0 && s[n] == '=' && s[n + 1] && strlen(s) < 4096)
            return ms_strdup(s + n + 1);
    }
    return ms_strdup(fallback);
}

static int read_volumes(ms_layer *l, const json_t *image, moonsand_error **err)
{
    const json_t *volumes = ms_json_at(image, "Config.Volumes");
    size_t count = json_object_size(volumes);
    if (!count)
        return 0;
    if (count > 32)
        return ms_fail(err, MOONSAND_E_UNSUPPORTED, "image %s declares %zu volumes; 32 is the most",
                       l->image, count);
    l->volumes = ms_calloc(count, sizeof *l->volumes);
    if (!l->volumes)
        return ms_fail_nomem(err);
    const char *path;
    json_t *unused;
    json_object_foreach((json_t *)(uintptr_t)volumes, path, unused)
    {
        if (path[0] != '/' || strchr(path, ':') || strstr(path, ".."))
            return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                           "image %s declares the volume \"%s\", which cannot be covered", l->image,
                           path);
        if (!(l->volumes[l->volume_count] = ms_strdup(path)))
            return ms_fail_nomem(err);
        l->volume_count++;
    }
    return 0;
}

/* By what goes in, so that it is found again; and by this machine's id, which a stranger does not
 * know: an archive that somebody loads can bring names of images along, and one that has this name
 * would be believed whatever it says. */
static int name_tag(struct ms_layer_work *w, moonsand_error **err)
{
    const char *owner = w->engine->owner; /* begins with the id */
    const unsigned char *agent;
    size_t len;
    char *own;
    if (ms_engine_agent(w->engine, &agent, &len, &own, err))
        return -1;
    char hex[MS_SHA256_HEX];
    EVP_MD_CTX *c = ms_sha256_new();
    bool good = c && ms_sha256_add(c, owner, strcspn(owner, "/")) == 0 &&
                ms_sha256_add(c, w->layer->image_id, strlen(w->layer->image_id) + 1) == 0 &&
                ms_sha256_add(c, agent, len) == 0 &&
                ms_sha256_add(c, ms_python_blob, ms_python_blob_len) == 0 &&
                ms_sha256_hex(c, hex) == 0;
    EVP_MD_CTX_free(c);
    ms_free(own);
    if (!good)
        return ms_fail_nomem(err);
    snprintf(w->tag, sizeof w->tag, "%.32s", hex);
    return 0;
}

static int read_image(struct ms_layer_work *w, int status, const char *body, size_t len,
                      moonsand_error **err)
{
    ms_layer *l = w->layer;
    if (status == 404 && strncmp(l->image, "sha256:", 7) == 0)
        return ms_fail(err, MOONSAND_E_NOT_FOUND, "image %s is no longer on the engine %s",
                       l->image, w->engine->ep.url);
    if (status == 404)
        return ms_fail(err, MOONSAND_E_NOT_FOUND,
                       "image %s is not on the engine %s; get it with `moonsand image pull %s` or "
                       "`moonsand image import TAR %s`",
                       l->image, w->engine->ep.url, l->image, l->image);
    if (status != 200)
        return ms_fail_http(err, "image inspect", status, body, len);
    json_t *image = ms_json_parse(body, len, "image inspect", err);
    if (!image)
        return -1;
    int rc = -1;
    const char *id = ms_json_str(image, "Id", ""), *os = ms_json_str(image, "Os", "linux");
    if (!*id)
        ms_fail(err, MOONSAND_E_PROTOCOL, "image %s: the engine tells no id", l->image);
    else if (*os && strcmp(os, "linux") != 0)
        ms_fail(err, MOONSAND_E_UNSUPPORTED, "image %s is for %s; a Linux image is needed",
                l->image, os);
    else if (!(l->image_id = ms_strdup(id)) || !(l->path = env_of(image, "PATH", DEFAULT_PATH)) ||
             !(l->lang = env_of(image, "LANG", "C.UTF-8")))
        ms_fail_nomem(err);
    else
        rc = read_volumes(l, image, err) || name_tag(w, err) ? -1 : 0;
    json_decref(image);
    return rc;
}

static int read_run_id(struct ms_layer_work *w, const char *body, size_t len, moonsand_error **err)
{
    json_t *image = ms_json_parse(body, len, "image inspect", err);
    if (!image)
        return -1;
    const char *id = ms_json_str(image, "Id", "");
    w->layer->run_id = ms_strdup(id);
    int rc = 0;
    if (!*id)
        rc = ms_fail(err, MOONSAND_E_PROTOCOL, "image %s: the engine tells no id", w->tag);
    else if (!w->layer->run_id)
        rc = ms_fail_nomem(err);
    json_decref(image);
    return rc;
}

/* Podman looks for an image's parents among all images, and fails when one of these goes at that
 * moment. */
static bool others_went(struct ms_layer_work *w, int status, const char *body, size_t len)
{
    static const char words[] = "failed to convert";
    bool look = w->step == INSPECT || w->step == FIND || w->step == CONFIRM;
    return look && status == 500 && memmem(body, len, words, sizeof words - 1) && w->looked++ < 5;
}

/* ---- the calls ---------------------------------------------------------------------------- */

static void on_answer(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                      moonsand_error *err)
{
    struct ms_layer_work *w = arg;
    (void)call;
    w->call = NULL;
    if (w->step == REMOVE) {
        if (err) /* its labels let `moonsand clean` find it, should this fail as well */
            give_up_container(w);
        moonsand_error_free(err);
        if (w->failed) {
            moonsand_error *failed = w->failed;
            w->failed = NULL;
            finish(w, failed);
        } else {
            go(w, CONFIRM);
        }
        return;
    }
    if (err) {
        if (w->step == CREATE) /* the answer did not come, which says nothing about the container */
            give_up_container(w);
        fail(w, err);
        return;
    }
    if (others_went(w, status, body, len)) {
        go(w, w->step);
        return;
    }
    w->looked = 0;
    switch (w->step) {
    case INSPECT:
        if (read_image(w, status, body, len, &err))
            fail(w, err);
        else
            go(w, FIND);
        return;
    case FIND:
        if (status == 404) {
            go(w, CREATE);
            return;
        }
        /* fall through */
    case CONFIRM:
        if (status != 200)
            ms_fail_http(&err, "image inspect", status, body, len);
        else
            read_run_id(w, body, len, &err);
        finish(w, err);
        return;
    case CREATE:
    case UPLOAD:
    case COMMIT:
        if (status < 200 || status > 299) {
            ms_fail_http(&err, "adding the agent to the image", status, body, len);
            fail(w, err);
        } else {
            go(w, (step)(w->step + 1));
        }
        return;
    case REMOVE:
        return;
    }
}

/* The commit takes the container's labels over into the image. Podman takes no others, so those of
 * the image stand here, too. */
static int put_create(const struct ms_layer_work *w, ms_buf *body, moonsand_error **err)
{
    json_t *v = json_pack("{s:s, s:[s], s:b, s:{s:s, s:s, s:s, s:s, s:s}, s:{s:s}}", "Image",
                          w->layer->image_id, "Cmd", MS_AGENT_PATH_INSIDE, "NetworkDisabled", 1,
                          "Labels", "moonsand", "1", "moonsand.owner", w->engine->owner,
                          "moonsand.lease", "0", "moonsand.kind", "run", "moonsand.base",
                          w->layer->image_id, "HostConfig", "NetworkMode", "none");
    if (!v)
        return ms_fail_nomem(err);
    char lease[24];
    snprintf(lease, sizeof lease, "%lld", (long long)time(NULL) + 600);
    json_object_set_new(json_object_get(v, "Labels"), "moonsand.lease", json_string(lease));
    int rc = ms_json_write(body, v, false, err);
    json_decref(v);
    return rc;
}

static int put_agent(const struct ms_layer_work *w, ms_buf *body, moonsand_error **err)
{
    const unsigned char *agent;
    size_t len;
    char *own;
    if (ms_engine_agent(w->engine, &agent, &len, &own, err))
        return -1;
    int rc = ms_archive_agent(body, agent, len, err);
    ms_free(own);
    return rc;
}

static void go(struct ms_layer_work *w, step next)
{
    moonsand_error *err = NULL;
    const char *method = "GET", *type = NULL;
    char *path = NULL;
    ms_buf body = {0};
    int rc = 0;
    w->step = next;
    switch (next) {
    case INSPECT:
        path = ms_asprintf("/images/%s/json", w->layer->image);
        break;
    case FIND:
    case CONFIRM:
        path = ms_asprintf("/images/" RUN_REPOSITORY ":%s/json", w->tag);
        break;
    case CREATE:
        method = "POST";
        snprintf(w->container, sizeof w->container, "moonsand-layer-");
        rc = ms_random_hex(w->container + strlen(w->container), 8, &err) ||
             put_create(w, &body, &err);
        path = ms_asprintf("/containers/create?name=%s", w->container);
        break;
    case UPLOAD:
        method = "PUT";
        type = "application/x-tar";
        rc = put_agent(w, &body, &err);
        path = ms_asprintf("/containers/%s/archive?path=/", w->container);
        break;
    case COMMIT:
        method = "POST";
        if (ms_buf_add(&body, "{}", 2)) /* Podman takes no call without a body */
            rc = ms_fail_nomem(&err);
        path = ms_asprintf("/commit?container=%s&repo=" RUN_REPOSITORY "&tag=%s&pause=0",
                           w->container, w->tag);
        break;
    case REMOVE:
        method = "DELETE";
        path = ms_asprintf("/containers/%s?force=1&v=1", w->container);
        break;
    }
    char *full = path && !rc ? ms_engine_path(w->engine, path) : NULL;
    if (!full && !rc)
        ms_fail_nomem(&err);
    ms_http_request req = {.method = method,
                           .path = full,
                           .body = body.data,
                           .body_len = body.len,
                           .body_fd = -1,
                           .content_type = type,
                           .timeout_ns = BUILD_TIMEOUT,
                           .on_done = on_answer,
                           .arg = w};
    if (full)
        ms_http_start(&w->call, w->engine->http, &req, &err);
    ms_free(full);
    ms_free(path);
    ms_buf_free(&body);
    if (!err)
        return;
    if (next == REMOVE) {
        give_up_container(w);
        moonsand_error *first = w->failed ? w->failed : err;
        if (w->failed)
            moonsand_error_free(err);
        w->failed = NULL;
        finish(w, first);
    } else {
        fail(w, err);
    }
}

/* ---- the cache ---------------------------------------------------------------------------- */

/* What may stand in a URL's path as it is; an image reference needs no more. */
static bool reference_ok(const char *image)
{
    size_t n =
        strspn(image, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@-");
    return n && n <= 512 && image[n] == 0 && image[0] != '/' && !strstr(image, "..") &&
           !strstr(image, "//");
}

int ms_layer_want(ms_layer_waiter *w, moonsand_engine *e, const char *image,
                  void (*cb)(void *arg, const ms_layer *layer, moonsand_error *err), void *arg,
                  const ms_layer **ready, moonsand_error **err)
{
    *ready = NULL;
    ms_layer *l = e->layers;
    while (l && strcmp(l->image, image) != 0)
        l = l->next;
    if (l && l->ready) {
        *ready = l;
        return 0;
    }
    if (!l) {
        if (!reference_ok(image))
            return ms_fail(err, MOONSAND_E_INVALID,
                           "\"%s\" is not an image reference, such as python:3.10-slim", image);
        l = ms_calloc(1, sizeof *l);
        struct ms_layer_work *work = ms_calloc(1, sizeof *work);
        if (!l || !work || !(l->image = ms_strdup(image))) {
            ms_free(l);
            ms_free(work);
            return ms_fail_nomem(err);
        }
        work->engine = e;
        work->layer = l;
        l->work = work;
        l->next = e->layers;
        e->layers = l;
        go(work, INSPECT);
        if (e->layers != l) /* it failed at once, which only want of memory makes it do */
            return ms_fail_nomem(err);
    }
    *w = (ms_layer_waiter){.layer = l, .next = l->waiters, .cb = cb, .arg = arg};
    l->waiters = w;
    return 0;
}

const ms_layer *ms_layer_find(const moonsand_engine *e, const char *image)
{
    const ms_layer *l = e->layers;
    while (l && (!l->ready || strcmp(l->image, image) != 0))
        l = l->next;
    return l;
}

void ms_layer_unwant(ms_layer_waiter *w)
{
    if (!w->layer)
        return;
    ms_layer_waiter **p = &w->layer->waiters;
    while (*p && *p != w)
        p = &(*p)->next;
    if (*p)
        *p = w->next;
    w->layer = NULL;
}

void ms_layer_forget(moonsand_engine *e, const ms_layer *layer)
{
    ms_layer *l = e->layers;
    while (l && l != layer)
        l = l->next;
    if (!l || !l->ready)
        return;
    unlink_layer(e, l);
    layer_free(l);
}

void ms_layers_free(moonsand_engine *e)
{
    while (e->layers) {
        ms_layer *l = e->layers;
        e->layers = l->next;
        layer_free(l);
    }
}
