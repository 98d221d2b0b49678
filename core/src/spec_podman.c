#include <stdio.h>
#include <string.h>

#include "error.h"
#include "json.h"
#include "proto.h"
#include "spec.h"

/* Podman's own API, not the Docker-compatible one, which ignores MaskedPaths and Runtime, takes
 * Docker's IpcMode and ShmSize apart from each other, and adds writable /run and /var/tmp. Its
 * JSON is Podman's SpecGenerator; unknown fields are ignored, so the self-check has the last word.
 */

static void append(bool *bad, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value))
        *bad = true;
}

static json_t *namespace(bool *bad, const char *mode)
{
    json_t *o = json_object();
    ms_spec_set(bad, o, "nsmode", json_string(mode));
    return o;
}

static json_t *rlimit(bool *bad, const char *name, uint64_t value)
{
    json_t *o = json_object();
    ms_spec_set(bad, o, "type", json_string(name));
    ms_spec_set(bad, o, "soft", json_integer((json_int_t)value));
    ms_spec_set(bad, o, "hard", json_integer((json_int_t)value));
    return o;
}

/* nofile and nproc must be named, or Podman raises both to 1048576, which a service without
 * CAP_SYS_RESOURCE cannot. The uid is this container's own, so nproc counts nobody else; it lies
 * above the pids limit, which is the one that is to be met. */
static json_t *rlimits(bool *bad, const ms_limits *l)
{
    json_t *a = json_array();
    append(bad, a, rlimit(bad, "core", 0));
    append(bad, a, rlimit(bad, "memlock", 64 << 10));
    append(bad, a, rlimit(bad, "msgqueue", 0));
    append(bad, a, rlimit(bad, "nofile", l->open_files));
    append(bad, a, rlimit(bad, "nproc", (uint64_t)l->pids * 2));
    return a;
}

static json_t *mount(bool *bad, const char *type, const char *source, const char *target,
                     json_t *options)
{
    json_t *m = json_object();
    ms_spec_set(bad, m, "destination", json_string(target));
    ms_spec_set(bad, m, "type", json_string(type));
    ms_spec_set(bad, m, "source", json_string(source));
    ms_spec_set(bad, m, "options", options);
    return m;
}

static json_t *cover(bool *bad, const char *target)
{
    static const char *const options[] = {"ro",         "nosuid",    "nodev",   "noexec",
                                          "size=65536", "mode=0555", "private", NULL};
    _Static_assert(MS_COVER_BYTES == 65536, "the size above");
    return mount(bad, "tmpfs", "tmpfs", target, ms_spec_strings(bad, options));
}

static json_t *mounts(bool *bad, const ms_container *c)
{
    static const char *const bind_options[] = {"bind", "ro", "rprivate", "nosuid", "nodev", NULL};
    static const char *const tmp_options[] = {"rw",        "nosuid",  "nodev",
                                              "mode=1777", "private", NULL};
    const ms_limits *l = c->limits;
    json_t *a = json_array(), *tmp = ms_spec_strings(bad, tmp_options);
    append(bad, tmp, json_string(l->exec_tmp ? "exec" : "noexec"));
    append(bad, tmp, json_sprintf("size=%llu", (unsigned long long)l->disk_bytes));
    append(bad, a, mount(bad, "tmpfs", "tmpfs", "/tmp", tmp));
    append(bad, a, cover(bad, "/run"));
    append(bad, a, cover(bad, "/var/tmp"));
    for (size_t i = 0; i < l->bind_count; i++)
        append(bad, a,
               mount(bad, "bind", l->binds[i].source, l->binds[i].target,
                     ms_spec_strings(bad, bind_options)));
    return a;
}

static json_t *resources(bool *bad, const ms_container *c, const moonsand_engine_facts *facts)
{
    const ms_limits *l = c->limits;
    json_t *r = json_object(), *memory = json_object(), *pids = json_object(), *cpu = json_object();
    /* Period and quota as the other engine computes them. */
    const uint64_t period = 100000;
    ms_spec_set(bad, memory, "limit", json_integer((json_int_t)l->memory_bytes));
    /* Memory and swap together, on both versions of cgroup (the runtime converts). */
    ms_spec_set(bad, memory, "swap", json_integer((json_int_t)l->memory_bytes));
    if (facts->cgroup_version == 1)
        ms_spec_set(bad, memory, "swappiness", json_integer(0));
    ms_spec_set(bad, r, "memory", memory);
    ms_spec_set(bad, pids, "limit", json_integer(ms_container_pids(c)));
    ms_spec_set(bad, r, "pids", pids);
    ms_spec_set(bad, cpu, "period", json_integer((json_int_t)period));
    ms_spec_set(bad, cpu, "quota",
                json_integer((json_int_t)(l->nano_cpus / (1000000000 / period))));
    ms_spec_set(bad, r, "cpu", cpu);
    return r;
}

static void set_process(bool *bad, json_t *o, const ms_container *c)
{
    static const char *const agent[] = {MS_AGENT_PATH_INSIDE, NULL}, *const none[] = {NULL};
    static const char *const no_check[] = {"NONE", NULL};
    json_t *health = json_object(), *log = json_object();
    ms_spec_set(bad, o, "image", json_string(c->image_id));
    ms_spec_set(bad, o, "name", json_string(c->name));
    ms_spec_set(bad, o, "labels", ms_spec_labels(bad, c));
    ms_spec_set(bad, o, "entrypoint", ms_spec_strings(bad, agent));
    ms_spec_set(bad, o, "command", ms_spec_strings(bad, none));
    ms_spec_set(bad, o, "env", json_object());
    ms_spec_set(bad, o, "env_host", json_false());
    ms_spec_set(bad, o, "httpproxy", json_false());
    ms_spec_set(bad, o, "unsetenvall", json_true());
    ms_spec_set(bad, o, "user", json_sprintf("%u:%u", c->uid, c->uid));
    ms_spec_set(bad, o, "work_dir", json_string("/"));
    ms_spec_set(bad, o, "hostname", json_string("sandbox"));
    ms_spec_set(bad, o, "terminal", json_false());
    ms_spec_set(bad, o, "stdin", json_true());
    ms_spec_set(bad, o, "systemd", json_string("false"));
    ms_spec_set(bad, o, "init", json_false());
    ms_spec_set(bad, o, "remove", json_false());
    ms_spec_set(bad, o, "restart_policy", json_string("no"));
    ms_spec_set(bad, o, "stop_signal", json_integer(9));
    ms_spec_set(bad, o, "stop_timeout", json_integer(1));
    ms_spec_set(bad, log, "driver", json_string("none"));
    ms_spec_set(bad, o, "log_configuration", log);
    ms_spec_set(bad, health, "Test", ms_spec_strings(bad, no_check));
    ms_spec_set(bad, o, "healthconfig", health);
}

static void set_walls(bool *bad, json_t *o, const ms_container *c,
                      const moonsand_engine_facts *facts)
{
    static const char *const all[] = {"ALL", NULL}, *const none[] = {NULL};
    const ms_limits *l = c->limits;
    json_t *sysctl = json_object(), *mask = ms_spec_strings(bad, ms_masked_default);
    json_t *more = ms_spec_strings(bad, ms_masked_extended);
    if (json_array_extend(mask, more))
        *bad = true;
    json_decref(more);
    ms_spec_set(bad, o, "mask", mask);
    ms_spec_set(bad, o, "unmask", ms_spec_strings(bad, none));
    ms_spec_set(bad, o, "privileged", json_false());
    ms_spec_set(bad, o, "cap_drop", ms_spec_strings(bad, all));
    ms_spec_set(bad, o, "cap_add", ms_spec_strings(bad, none));
    ms_spec_set(bad, o, "no_new_privileges", json_true());
    ms_spec_set(bad, o, "seccomp_profile_path", json_string(c->seccomp_path));
    ms_spec_set(bad, o, "seccomp_policy", json_string("default"));
    ms_spec_set(bad, o, "groups", ms_spec_strings(bad, none));
    ms_spec_set(bad, o, "read_only_filesystem", json_true());
    ms_spec_set(bad, o, "read_write_tmpfs", json_false());
    /* So volumes of the image need no cover: what it has there is seen, read-only. */
    ms_spec_set(bad, o, "image_volume_mode", json_string("ignore"));
    ms_spec_set(bad, o, "mounts", mounts(bad, c));
    ms_spec_set(bad, o, "shm_size", json_integer((json_int_t)l->shm_bytes));
    ms_spec_set(bad, o, "netns",
                namespace(bad, l->network == MOONSAND_NETWORK_NONE ? "none" : "bridge"));
    /* Else Podman copies the machine's own /etc/hosts and adds the machine's address. */
    ms_spec_set(bad, o, "use_image_hosts", json_true());
    ms_spec_set(bad, o, "ipcns", namespace(bad, "private"));
    ms_spec_set(bad, o, "pidns", namespace(bad, "private"));
    ms_spec_set(bad, o, "utsns", namespace(bad, "private"));
    ms_spec_set(bad, o, "cgroupns", namespace(bad, "private"));
    ms_spec_set(bad, o, "cgroups_mode", json_string("enabled"));
    ms_spec_set(bad, o, "resource_limits", resources(bad, c, facts));
    ms_spec_set(bad, o, "r_limits", rlimits(bad, l));
    ms_spec_set(bad, o, "oom_score_adj", json_integer(MS_OOM_SCORE_ADJ));
    ms_spec_set(bad, sysctl, "kernel.shm_rmid_forced", json_string("1"));
    ms_spec_set(bad, o, "sysctl", sysctl);
    if (l->runtime)
        ms_spec_set(bad, o, "oci_runtime", json_string(l->runtime));
}

static int create(ms_buf *path, ms_buf *body, const ms_container *c,
                  const moonsand_engine_facts *facts, moonsand_error **err)
{
    if (ms_container_check(c, err))
        return -1;
    if (!c->seccomp_path || c->seccomp_path[0] != '/')
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "Podman reads the seccomp profile from a file on its own machine, and this "
                       "engine is elsewhere; run moonsand there");
    if (c->limits->inodes_given)
        return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                       "Podman cannot limit the number of files in /tmp (memory_bytes does, in the "
                       "end); leave disk_inodes at 0");
    bool bad = false;
    json_t *o = json_object();
    set_process(&bad, o, c);
    set_walls(&bad, o, c, facts);
    int rc = -1;
    if (bad || ms_buf_adds(path, "/libpod/containers/create"))
        ms_fail_nomem(err);
    else
        rc = ms_json_write(body, o, false, err);
    json_decref(o);
    return rc;
}

const ms_profile ms_profile_podman = {"podman", create, true, 2000000, 2065535};
