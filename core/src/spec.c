#include <string.h>

#include "error.h"
#include "json.h"
#include "masked.h"
#include "proto.h"
#include "spec.h"

const char *const ms_masked_default[] = {MS_MASKED_DEFAULT, NULL};
const char *const ms_masked_extended[] = {MS_MASKED_EXTENDED, NULL};
const char *const ms_readonly_paths[] = {MS_READONLY_PATHS, NULL};

/* Below these a mount of an image would hide a wall, or the agent. */
static const char *const no_volumes[] = {"/proc", "/sys", "/dev", "/.moonsand", NULL};

const ms_profile *ms_profile_for(const char *kind)
{
    if (!kind)
        return NULL;
    if (strcmp(kind, ms_profile_docker.kind) == 0)
        return &ms_profile_docker;
    return strcmp(kind, ms_profile_podman.kind) == 0 ? &ms_profile_podman : NULL;
}

uint32_t ms_container_pids(const ms_container *c)
{
    /* The interpreter that is forked, and process 1 of the run's namespace. */
    return c->limits->pids + (c->server ? 2 : 0);
}

bool ms_volume_needs_cover(const ms_container *c, const char *path)
{
    for (size_t i = 0; i < c->limits->bind_count; i++) {
        if (strcmp(c->limits->binds[i].target, path) == 0)
            return false;
    }
    return strcmp(path, "/tmp") != 0;
}

static int volume_check(const ms_container *c, const char *v, moonsand_error **err)
{
    bool bad = !ms_path_normal(v), covered = !bad && !ms_volume_needs_cover(c, v);
    for (size_t i = 0; !bad && !covered && no_volumes[i]; i++)
        bad = ms_path_within(v, no_volumes[i]);
    if (bad) {
        char shown[128];
        ms_printable(shown, sizeof shown, v, strlen(v));
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "the image declares the volume \"%s\", which cannot be covered; build the "
                       "image without it",
                       shown);
    }
    for (size_t i = 0; !covered && i < c->limits->bind_count; i++) {
        const char *target = c->limits->binds[i].target;
        if (ms_path_within(target, v) || ms_path_within(v, target))
            return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                           "the bind target %s and the image's volume %s overlap; bind elsewhere",
                           target, v);
    }
    return 0;
}

static int volumes_check(const ms_container *c, moonsand_error **err)
{
    if (c->volume_count > MS_VOLUME_MAX)
        return ms_fail(err, MOONSAND_E_UNSUPPORTED, "the image declares %zu volumes; at most %d",
                       c->volume_count, MS_VOLUME_MAX);
    for (size_t i = 0; i < c->volume_count; i++) {
        if (volume_check(c, c->volumes[i], err))
            return -1;
    }
    return 0;
}

int ms_container_check(const ms_container *c, moonsand_error **err)
{
    /* It goes into a URL. */
    size_t n = strspn(c->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    if (n < 2 || n > 128 || c->name[n])
        return ms_fail(err, MOONSAND_E_INVALID, "the container's name is not plain");
    if (c->uid == 0 || c->uid > INT32_MAX)
        return ms_fail(err, MOONSAND_E_INVALID, "uid %u: a sandbox never runs as root", c->uid);
    if (!c->image_id || !*c->image_id)
        return ms_fail(err, MOONSAND_E_INVALID, "no image");
    return volumes_check(c, err);
}

/* ---- JSON --------------------------------------------------------------------------------- */

void ms_spec_set(bool *bad, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        *bad = true;
}

json_t *ms_spec_strings(bool *bad, const char *const *list)
{
    json_t *a = json_array();
    for (; a && *list; list++) {
        if (json_array_append_new(a, json_string(*list)))
            *bad = true;
    }
    return a;
}

json_t *ms_spec_labels(bool *bad, const ms_container *c)
{
    json_t *o = json_object();
    char *lease = ms_asprintf("%lld", (long long)c->lease_epoch_s);
    if (!o || !lease)
        *bad = true;
    ms_spec_set(bad, o, "moonsand", json_string("1"));
    ms_spec_set(bad, o, "moonsand.owner", json_string(c->owner));
    ms_spec_set(bad, o, "moonsand.lease", lease ? json_string(lease) : NULL);
    ms_spec_set(bad, o, "moonsand.version", json_string(MOONSAND_VERSION));
    ms_free(lease);
    return o;
}

static json_t *exceptions(bool *bad, const ms_limits *l)
{
    json_t *a = json_array();
    if (l->network == MOONSAND_NETWORK_BRIDGE &&
        json_array_append_new(a, json_string("network=bridge")))
        *bad = true;
    for (size_t i = 0; i < l->bind_count; i++) {
        if (json_array_append_new(
                a, json_sprintf("bind=%s:%s:ro", l->binds[i].source, l->binds[i].target)))
            *bad = true;
    }
    if (l->exec_tmp && json_array_append_new(a, json_string("exec_tmp")))
        *bad = true;
    return a;
}

static json_t *words(bool *bad, const char *list)
{
    json_t *a = json_array();
    while (*list) {
        size_t n = strcspn(list, ",");
        if (json_array_append_new(a, json_stringn(list, n)))
            *bad = true;
        list += n + (list[n] == ',');
    }
    return a;
}

static void set_mode(bool *bad, json_t *o, const ms_applied *a)
{
    ms_spec_set(bad, o, "mode", json_string(a->fork ? "fork" : "container"));
    if (a->fork) {
        ms_spec_set(bad, o, "tier",
                    json_string(a->tier == MS_TIER_NAMESPACES ? "namespaces" : "landlock"));
        ms_spec_set(bad, o, "namespaces", words(bad, a->namespaces));
        ms_spec_set(bad, o, "trust_key", a->trust_key ? json_string(a->trust_key) : json_null());
        ms_spec_set(bad, o, "worker_runs", json_integer((json_int_t)a->worker_runs));
    }
    if (a->preloaded)
        ms_spec_set(bad, o, "preloaded", json_true());
    if (a->fell_back)
        ms_spec_set(bad, o, "fell_back", json_string(a->fell_back));
}

int ms_isolation_json(ms_buf *out, const ms_container *c, const moonsand_engine_facts *facts,
                      const ms_applied *a, moonsand_error **err)
{
    const ms_limits *l = c->limits;
    bool bad = false;
    json_t *o = json_object(), *tmp = json_object();
    set_mode(&bad, o, a);
    ms_spec_set(&bad, o, "engine", json_string(facts->kind));
    ms_spec_set(&bad, o, "runtime", json_string(l->runtime ? l->runtime : "default"));
    ms_spec_set(&bad, o, "network",
                json_string(l->network == MOONSAND_NETWORK_NONE ? "none" : "bridge"));
    ms_spec_set(&bad, o, "rootfs", json_string("read-only"));
    ms_spec_set(&bad, o, "capabilities", json_array());
    ms_spec_set(&bad, o, "no_new_privileges", json_true());
    ms_spec_set(&bad, o, "seccomp", json_string("moonsand"));
    ms_spec_set(&bad, o, "uid", json_integer(c->uid));
    ms_spec_set(&bad, o, "userns",
                json_string(facts->rootless       ? "rootless"
                            : facts->userns_remap ? "remap"
                                                  : "host"));
    ms_spec_set(&bad, o, "memory", json_integer((json_int_t)l->memory_bytes));
    ms_spec_set(&bad, o, "swap", json_integer(0));
    ms_spec_set(&bad, o, "cpus", json_real((double)l->nano_cpus / 1e9));
    ms_spec_set(&bad, o, "pids", json_integer(l->pids));
    ms_spec_set(&bad, tmp, "bytes", json_integer((json_int_t)l->disk_bytes));
    /* Podman has no option for it. */
    ms_spec_set(&bad, tmp, "inodes",
                strcmp(facts->kind, ms_profile_podman.kind) == 0 ? json_null()
                                                                 : json_integer(l->disk_inodes));
    ms_spec_set(&bad, tmp, "exec", json_boolean(l->exec_tmp));
    ms_spec_set(&bad, o, "tmp", tmp);
    ms_spec_set(&bad, o, "shm", json_integer((json_int_t)l->shm_bytes));
    ms_spec_set(&bad, o, "open_files", json_integer(l->open_files));
    ms_spec_set(&bad, o, "ipc", json_string("private"));
    ms_spec_set(&bad, o, "cgroup", json_integer(facts->cgroup_version));
    ms_spec_set(&bad, o, "masked", json_string("extended"));
    ms_spec_set(&bad, o, "landlock", json_boolean(a->landlocked));
    ms_spec_set(&bad, o, "self_check", json_boolean(a->self_checked));
    ms_spec_set(&bad, o, "exceptions", exceptions(&bad, l));
    int rc = bad ? ms_fail_nomem(err) : ms_json_write(out, o, false, err);
    json_decref(o);
    return rc;
}
