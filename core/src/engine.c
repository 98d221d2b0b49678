#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent_blob.h"
#include "container.h"
#include "embedded.h"
#include "endpoint.h"
#include "error.h"
#include "json.h"
#include "layer.h"
#include "owner.h"
#include "removal.h"
#include "request.h"

/* Older ones have no PidsLimit; what a later version has to have for a run, the profile checks. The
 * newest is the last one that was read. */
enum { API_MIN = 40, API_MAX = 52 };
#define LIBPOD_PREFIX "/v4.0.0"
#define OPEN_TIMEOUT (10 * MS_S)
#define CALL_TIMEOUT (30 * MS_S)

/* ---- calls -------------------------------------------------------------------------------- */

char *ms_engine_path(const moonsand_engine *e, const char *path)
{
    bool libpod = strncmp(path, "/libpod/", 8) == 0;
    return ms_asprintf("%s%s", libpod ? LIBPOD_PREFIX : e->prefix, path);
}

int ms_engine_call(ms_http_call **out, moonsand_engine *e, const char *method, const char *path,
                   const ms_buf *body, int64_t timeout_ns, ms_engine_cb cb, void *arg,
                   moonsand_error **err)
{
    char *full = ms_engine_path(e, path);
    if (!full)
        return ms_fail_nomem(err);
    ms_http_request req = {
        .method = method,
        .path = full,
        .body = body ? body->data : NULL,
        .body_len = body ? body->len : 0,
        .body_fd = -1,
        .timeout_ns = timeout_ns ? timeout_ns : e->call_timeout_ns,
        .on_done = cb,
        .arg = arg,
    };
    int rc = ms_http_start(out, e->http, &req, err);
    ms_free(full);
    return rc;
}

/* ---- opening ------------------------------------------------------------------------------ */

static void opening_end(moonsand_engine *e, moonsand_error *err)
{
    for (size_t i = 0; i < 3; i++) {
        ms_http_cancel(e->opening[i]);
        e->opening[i] = NULL;
    }
    if (err)
        ms_error_wrap(&err, "engine %s", e->ep.url);
    e->state = err ? MS_ENGINE_FAILED : MS_ENGINE_READY;
    e->done(e->done_arg, e, err);
}

static bool has_label(const json_t *info, const char *label)
{
    size_t i;
    const json_t *l;
    json_array_foreach(ms_json_at(info, "Labels"), i, l)
    {
        if (json_is_string(l) && strcmp(json_string_value(l), label) == 0)
            return true;
    }
    return false;
}

static bool has_security_option(const json_t *info, const char *name)
{
    size_t i;
    const json_t *option;
    json_array_foreach(ms_json_at(info, "SecurityOptions"), i, option)
    {
        const char *s = json_string_value(option);
        size_t n = strlen(name);
        if (s && strncmp(s, "name=", 5) == 0 && strncmp(s + 5, name, n) == 0 &&
            (s[5 + n] == 0 || s[5 + n] == ','))
            return true;
    }
    return false;
}

/* Podman names its components "Podman Engine", "Conmon", "OCI Runtime (runc)". */
static int read_components(moonsand_engine *e, moonsand_error **err)
{
    e->components = json_object();
    if (!e->components)
        return ms_fail_nomem(err);
    size_t i;
    const json_t *c;
    json_array_foreach(ms_json_at(e->version_json, "Components"), i, c)
    {
        const char *name = ms_json_str(c, "Name", NULL), *version = ms_json_str(c, "Version", NULL);
        if (!name || !version || i >= 32)
            continue;
        char key[64], text[128];
        ms_printable(key, sizeof key, name, strlen(name));
        ms_printable(text, sizeof text, version, strlen(version));
        if (json_object_set_new(e->components, key, json_string(text)))
            return ms_fail_nomem(err);
    }
    ms_buf b = {0};
    if (ms_json_write(&b, e->components, true, err)) {
        ms_buf_free(&b);
        return -1;
    }
    e->components_text = b.data;
    return 0;
}

static int read_facts(moonsand_engine *e, moonsand_error **err)
{
    const json_t *v = e->version_json, *info = e->info_json;
    moonsand_engine_facts *f = &e->facts;
    if (read_components(e, err))
        return -1;
    f->endpoint = e->ep.url;
    f->found_by = e->ep.found_by;
    f->kind = e->profile->kind;
    f->engine_version = ms_json_str(v, "Version", "");
    f->api_version = e->api_version;
    f->os = ms_json_str(v, "Os", ms_json_str(info, "OSType", ""));
    f->arch = ms_json_str(v, "Arch", "");
    f->kernel = ms_json_str(v, "KernelVersion", ms_json_str(info, "KernelVersion", ""));
    f->components = e->components_text;
    f->cgroup_version = strcmp(ms_json_str(info, "CgroupVersion", "1"), "2") == 0 ? 2 : 1;
    int64_t cpus = ms_json_int(info, "NCPU", 0), memory = ms_json_int(info, "MemTotal", 0);
    f->cpus = cpus > 0 && cpus < 1 << 20 ? (uint32_t)cpus : 0;
    f->memory_bytes = memory > 0 ? (uint64_t)memory : 0;
    f->rootless = has_security_option(info, "rootless");
    f->userns_remap = has_security_option(info, "userns");
    f->has_bridge = e->has_networks && !has_label(info, MS_LABEL_NO_NETWORK);
    struct utsname u;
    f->local = e->ep.kind == MS_UNIX && uname(&u) == 0 && strcmp(u.release, f->kernel) == 0;
    if (strcmp(f->os, "linux") != 0)
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "it runs %s containers; moonsand needs a Linux engine", f->os);
    if (!f->cpus || !f->memory_bytes)
        return ms_fail(err, MOONSAND_E_PROTOCOL, "it does not tell its CPUs and memory");
    return 0;
}

static int negotiate(moonsand_engine *e, moonsand_error **err)
{
    int major = 0, newest = 0, oldest = 0;
    const char *offered = e->api_version;
    if (sscanf(offered, "%d.%d", &major, &newest) != 2 || major != 1)
        return ms_fail(err, MOONSAND_E_PROTOCOL, "it offers API version \"%s\"", offered);
    if (sscanf(ms_json_str(e->version_json, "MinAPIVersion", "1.24"), "%d.%d", &major, &oldest) !=
        2)
        oldest = 24;
    if (newest < API_MIN)
        return ms_fail(
            err, MOONSAND_E_UNSUPPORTED,
            "its API version 1.%d is too old; moonsand needs 1.%d (Docker 19.03) or newer", newest,
            API_MIN);
    if (oldest > API_MAX)
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "its oldest API version is 1.%d; this moonsand knows up to 1.%d: update it",
                       oldest, API_MAX);
    int use = newest < API_MAX ? newest : API_MAX;
    snprintf(e->api_version, sizeof e->api_version, "1.%d", use);
    snprintf(e->prefix, sizeof e->prefix, "/v1.%d", use);
    return 0;
}

static void opening_step(moonsand_engine *e, moonsand_error *err)
{
    if (!err && (e->opening[0] || e->opening[1] || e->opening[2]))
        return;
    if (!err && !negotiate(e, &err))
        read_facts(e, &err);
    opening_end(e, err);
}

static json_t *answer_json(const char *what, int status, const char *body, size_t len,
                           moonsand_error **err)
{
    if (*err)
        return NULL;
    if (status != 200) {
        ms_fail_http(err, what, status, body, len);
        return NULL;
    }
    return ms_json_parse(body, len, what, err);
}

static void on_version(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                       moonsand_error *err)
{
    moonsand_engine *e = arg;
    (void)call;
    e->opening[0] = NULL;
    e->version_json = answer_json("version", status, body, len, &err);
    opening_step(e, err);
}

static void on_info(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                    moonsand_error *err)
{
    moonsand_engine *e = arg;
    (void)call;
    e->opening[1] = NULL;
    e->info_json = answer_json("info", status, body, len, &err);
    opening_step(e, err);
}

/* The network that the exception opens is the engine's own default one; some engines have none. By
 * Docker's API Podman 4 calls it "bridge", too, Podman 3 "podman". An internal one leads nowhere.
 */
static void on_networks(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                        moonsand_error *err)
{
    moonsand_engine *e = arg;
    (void)call;
    e->opening[2] = NULL;
    json_t *list = answer_json("networks", status, body, len, &err);
    bool podman = e->profile == &ms_profile_podman;
    size_t i;
    const json_t *n;
    json_array_foreach(list, i, n)
    {
        const char *name = ms_json_str(n, "Name", "");
        if ((strcmp(name, "bridge") == 0 || (podman && strcmp(name, "podman") == 0)) &&
            !ms_json_bool(n, "Internal"))
            e->has_networks = true;
    }
    json_decref(list);
    moonsand_error_free(err); /* without the list there is simply no network to open */
    opening_step(e, NULL);
}

static void on_ping(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                    moonsand_error *err)
{
    moonsand_engine *e = arg;
    e->opening[0] = NULL;
    if (!err && status != 200)
        ms_fail_http(&err, "ping", status, body, len);
    const char *version = err ? NULL : ms_http_header(call, "Api-Version");
    if (!err && !version)
        ms_fail(&err, MOONSAND_E_PROTOCOL, "it does not answer as a container engine does");
    if (err) {
        opening_end(e, err);
        return;
    }
    snprintf(e->api_version, sizeof e->api_version, "%s", version);
    e->profile = ms_profile_for(ms_http_header(call, "Libpod-Api-Version") ? "podman" : "docker");
    /* Unversioned, as the version to use is known only after /version has told the oldest one. */
    static const struct {
        const char *path;
        ms_engine_cb cb;
    } calls[3] = {{"/version", on_version}, {"/info", on_info}, {"/networks", on_networks}};
    for (size_t i = 0; i < 3; i++) {
        if (ms_engine_call(&e->opening[i], e, "GET", calls[i].path, NULL, OPEN_TIMEOUT, calls[i].cb,
                           e, &err)) {
            opening_end(e, err);
            return;
        }
    }
}

static void report_failure(void *arg)
{
    moonsand_engine *e = arg;
    moonsand_error *err = e->open_error;
    e->open_error = NULL;
    opening_end(e, err);
}

int moonsand_engine_open(moonsand_engine **out, moonsand_loop *loop,
                         const moonsand_engine_options *options, moonsand_engine_done done,
                         void *arg, moonsand_error **err)
{
    static const moonsand_engine_options defaults = MOONSAND_ENGINE_OPTIONS_INIT;
    *out = NULL;
    if (!options)
        options = &defaults;
    if (options->version != 1 || !loop || !done)
        return ms_fail(err, MOONSAND_E_INVALID, "moonsand_engine_open: bad options");
    moonsand_engine *e = ms_calloc(1, sizeof *e);
    if (!e)
        return ms_fail_nomem(err);
    e->loop = loop;
    e->done = done;
    e->done_arg = arg;
    e->call_timeout_ns =
        options->call_timeout_ns ? (int64_t)options->call_timeout_ns : CALL_TIMEOUT;
    e->checked = json_object();
    if (!e->checked || (options->agent_path && !(e->agent_path = ms_strdup(options->agent_path)))) {
        ms_fail_nomem(err);
        goto fail;
    }
    if (!(e->owner = ms_owner_label(err)))
        goto fail;
    if (ms_endpoint_find(&e->ep, options->endpoint, options->tls_dir, NULL, err) ||
        ms_http_new(&e->http, loop, &e->ep, err))
        goto fail;
    moonsand_error *first = NULL;
    /* GET, not HEAD: an error then has a body that says why. */
    if (ms_engine_call(&e->opening[0], e, "GET", "/_ping", NULL, OPEN_TIMEOUT, on_ping, e,
                       &first)) {
        e->open_error = first;
        ms_timer_start(&e->failed_later, loop, 0, report_failure, e);
    }
    *out = e;
    return 0;
fail:
    moonsand_engine_close(e);
    return -1;
}

const moonsand_engine_facts *moonsand_engine_get_facts(const moonsand_engine *e)
{
    return e->state == MS_ENGINE_READY ? &e->facts : NULL;
}

/* ---- the agent for it --------------------------------------------------------------------- */

static const char *normal_arch(const char *arch)
{
    if (strcmp(arch, "x86_64") == 0)
        return "amd64";
    return strcmp(arch, "aarch64") == 0 ? "arm64" : arch;
}

static int read_agent(const char *path, char **own, size_t *len, moonsand_error **err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ms_fail_errno(err, errno, "agent %s", path);
    ms_buf b = {0};
    char piece[16384];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0 && b.len < (64u << 20)) {
        if (ms_buf_add(&b, piece, (size_t)n)) {
            n = -1;
            errno = ENOMEM;
            break;
        }
    }
    int e = errno;
    close(fd);
    if (n != 0 || b.len < 64) {
        ms_buf_free(&b);
        if (n < 0)
            return ms_fail_errno(err, e, "agent %s", path);
        return ms_fail(err, MOONSAND_E_INVALID, "agent %s is not a program", path);
    }
    *own = b.data;
    *len = b.len;
    return 0;
}

int ms_engine_agent(const moonsand_engine *e, const unsigned char **data, size_t *len, char **own,
                    moonsand_error **err)
{
    *own = NULL;
    if (e->agent_path) {
        if (read_agent(e->agent_path, own, len, err))
            return -1;
        *data = (const unsigned char *)*own;
        return 0;
    }
    struct utsname u;
    const char *here = uname(&u) == 0 ? normal_arch(u.machine) : "";
    const char *there = normal_arch(e->facts.arch);
    if (strcmp(here, there) != 0)
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "the engine runs %s and this moonsand has only an agent for %s; build "
                       "moonsand-agent for %s and name it with agent_path",
                       there, here, there);
    *data = ms_agent_blob;
    *len = ms_agent_blob_len;
    return 0;
}

/* ---- closing ------------------------------------------------------------------------------ */

size_t moonsand_engine_pending(const moonsand_engine *engine)
{
    size_t count = engine->removal_count;
    for (const ms_box *b = engine->boxes; b; b = b->next)
        count += b->released;
    return count;
}

static void wait_for_removals(moonsand_engine *e)
{
    int64_t end = ms_now_ns() + 5 * MS_S;
    while (e->removal_count && ms_now_ns() < end) {
        /* Signals must not cut this short: what is left then stays on the engine. */
        if (moonsand_loop_wait(e->loop, end - ms_now_ns(), NULL) == 0 &&
            moonsand_loop_step(e->loop, NULL))
            break;
    }
}

void moonsand_engine_close(moonsand_engine *e)
{
    if (!e)
        return;
    ms_timer_stop(&e->failed_later);
    moonsand_error_free(e->open_error);
    for (size_t i = 0; i < 3; i++)
        ms_http_cancel(e->opening[i]);
    while (e->runs)
        ms_run_orphan(e->runs);
    while (e->sandboxes)
        ms_sandbox_orphan(e->sandboxes);
    while (e->boxes) /* of runs that were given up while their container was created */
        ms_box_abandon(e->boxes);
    ms_layers_free(e);
    ms_requests_close(e);
    wait_for_removals(e);
    ms_removals_free(e);
    ms_http_free(e->http);
    ms_endpoint_free(&e->ep);
    json_decref(e->version_json);
    json_decref(e->info_json);
    json_decref(e->components);
    json_decref(e->checked);
    ms_free(e->components_text);
    ms_free(e->agent_path);
    ms_free(e->owner);
    ms_free(e->seccomp_path[0]);
    ms_free(e->seccomp_path[1]);
    ms_free(e);
}
