#include <stdio.h>
#include <string.h>

#include "error.h"
#include "json.h"
#include "proto.h"
#include "spec.h"

/* A daemon ignores a field that its API does not know without a word, and from the outside nothing
 * tells. What is asked for below is known since 1.40, but for CgroupnsMode. */
static int check_api(const moonsand_engine_facts *facts, moonsand_error **err)
{
    int major = 0, minor = 0;
    if (sscanf(facts->api_version, "%d.%d", &major, &minor) == 2 && (major > 1 || minor >= 41))
        return 0;
    return ms_fail(err, MOONSAND_E_UNSUPPORTED,
                   "the engine's API %s cannot give a container a cgroup namespace of its own; "
                   "Docker can from 20.10 (API 1.41) on",
                   facts->api_version);
}

static json_t *ulimit(bool *bad, const char *name, uint64_t value)
{
    json_t *o = json_object();
    ms_spec_set(bad, o, "Name", json_string(name));
    ms_spec_set(bad, o, "Soft", json_integer((json_int_t)value));
    ms_spec_set(bad, o, "Hard", json_integer((json_int_t)value));
    return o;
}

static void append(bool *bad, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value))
        *bad = true;
}

/* No nproc: it counts a uid's processes on the whole machine. No fsize: it would bind the agent. */
static json_t *ulimits(bool *bad, const ms_limits *l)
{
    json_t *a = json_array();
    append(bad, a, ulimit(bad, "core", 0));
    append(bad, a, ulimit(bad, "memlock", 64 << 10));
    append(bad, a, ulimit(bad, "msgqueue", 0));
    append(bad, a, ulimit(bad, "nofile", l->open_files));
    return a;
}

static json_t *tmpfs(bool *bad, const ms_limits *l)
{
    json_t *o = json_object();
    ms_spec_set(bad, o, "/tmp",
                json_sprintf("rw,nosuid,nodev,%s,size=%llu,nr_inodes=%u,mode=1777",
                             l->exec_tmp ? "exec" : "noexec", (unsigned long long)l->disk_bytes,
                             l->disk_inodes));
    return o;
}

/* Mounts, not Tmpfs and not Binds: only for these does the daemon neither make an anonymous volume
 * for the image's VOLUME, nor create a bind's source that is missing. */
static json_t *mounts(bool *bad, const ms_container *c)
{
    json_t *a = json_array();
    for (size_t i = 0; i < c->volume_count; i++) {
        if (!ms_volume_needs_cover(c, c->volumes[i]))
            continue;
        json_t *m = json_object(), *o = json_object();
        ms_spec_set(bad, m, "Type", json_string("tmpfs"));
        ms_spec_set(bad, m, "Target", json_string(c->volumes[i]));
        ms_spec_set(bad, m, "ReadOnly", json_true());
        ms_spec_set(bad, o, "SizeBytes", json_integer(MS_COVER_BYTES));
        ms_spec_set(bad, o, "Mode", json_integer(0555));
        ms_spec_set(bad, m, "TmpfsOptions", o);
        append(bad, a, m);
    }
    for (size_t i = 0; i < c->limits->bind_count; i++) {
        json_t *m = json_object(), *o = json_object();
        ms_spec_set(bad, m, "Type", json_string("bind"));
        ms_spec_set(bad, m, "Source", json_string(c->limits->binds[i].source));
        ms_spec_set(bad, m, "Target", json_string(c->limits->binds[i].target));
        ms_spec_set(bad, m, "ReadOnly", json_true());
        ms_spec_set(bad, o, "Propagation", json_string("rprivate"));
        /* Older daemons leave what is mounted below the source writable; so it is left out. */
        ms_spec_set(bad, o, "NonRecursive", json_true());
        ms_spec_set(bad, m, "BindOptions", o);
        append(bad, a, m);
    }
    return a;
}

static json_t *security(bool *bad, const ms_container *c, const moonsand_engine_facts *facts,
                        moonsand_error **err)
{
    static const char head[] = "seccomp=";
    ms_buf b = {0};
    json_t *a = NULL;
    if (ms_buf_adds(&b, head)) {
        *bad = true;
    } else if (ms_seccomp_json(&b, facts->arch, c->server, err) == 0) {
        a = json_array();
        append(bad, a, json_string("no-new-privileges"));
        append(bad, a, json_stringn(b.data, b.len));
    }
    ms_buf_free(&b);
    return a;
}

static json_t *masked(bool *bad)
{
    json_t *a = ms_spec_strings(bad, ms_masked_default);
    json_t *more = ms_spec_strings(bad, ms_masked_extended);
    if (json_array_extend(a, more))
        *bad = true;
    json_decref(more);
    return a;
}

static json_t *host_config(bool *bad, const ms_container *c, const moonsand_engine_facts *facts,
                           moonsand_error **err)
{
    static const char *const all[] = {"ALL", NULL}, *const none[] = {NULL};
    const ms_limits *l = c->limits;
    json_t *security_opt = security(bad, c, facts, err);
    if (!security_opt)
        return NULL;
    json_t *h = json_object(), *log = json_object(), *restart = json_object();
    json_t *sysctls = json_object();
    ms_spec_set(bad, h, "SecurityOpt", security_opt);
    ms_spec_set(bad, h, "Privileged", json_false());
    ms_spec_set(bad, h, "CapDrop", ms_spec_strings(bad, all));
    ms_spec_set(bad, h, "CapAdd", ms_spec_strings(bad, none));
    ms_spec_set(bad, h, "NetworkMode",
                json_string(l->network == MOONSAND_NETWORK_NONE ? "none" : "bridge"));
    ms_spec_set(bad, h, "IpcMode", json_string("private"));
    ms_spec_set(bad, h, "CgroupnsMode", json_string("private"));
    ms_spec_set(bad, h, "PidMode", json_string(""));
    ms_spec_set(bad, h, "UTSMode", json_string(""));
    ms_spec_set(bad, h, "UsernsMode", json_string(""));
    ms_spec_set(bad, h, "ReadonlyRootfs", json_true());
    ms_spec_set(bad, h, "Tmpfs", tmpfs(bad, l));
    ms_spec_set(bad, h, "Mounts", mounts(bad, c));
    ms_spec_set(bad, h, "Binds", ms_spec_strings(bad, none));
    ms_spec_set(bad, h, "Devices", ms_spec_strings(bad, none));
    ms_spec_set(bad, h, "DeviceCgroupRules", ms_spec_strings(bad, none));
    ms_spec_set(bad, h, "GroupAdd", ms_spec_strings(bad, none));
    ms_spec_set(bad, h, "ExtraHosts", ms_spec_strings(bad, none));
    ms_spec_set(bad, h, "Links", ms_spec_strings(bad, none));
    ms_spec_set(bad, h, "VolumesFrom", ms_spec_strings(bad, none));
    ms_spec_set(bad, h, "PortBindings", json_object());
    ms_spec_set(bad, h, "PublishAllPorts", json_false());
    ms_spec_set(bad, h, "MaskedPaths", masked(bad));
    ms_spec_set(bad, h, "ReadonlyPaths", ms_spec_strings(bad, ms_readonly_paths));
    ms_spec_set(bad, h, "ShmSize", json_integer((json_int_t)l->shm_bytes));
    ms_spec_set(bad, h, "Memory", json_integer((json_int_t)l->memory_bytes));
    ms_spec_set(bad, h, "MemorySwap", json_integer((json_int_t)l->memory_bytes));
    if (facts->cgroup_version == 1)
        ms_spec_set(bad, h, "MemorySwappiness", json_integer(0));
    ms_spec_set(bad, h, "OomScoreAdj", json_integer(MS_OOM_SCORE_ADJ));
    ms_spec_set(bad, h, "NanoCpus", json_integer((json_int_t)l->nano_cpus));
    ms_spec_set(bad, h, "PidsLimit", json_integer(ms_container_pids(c)));
    ms_spec_set(bad, h, "Ulimits", ulimits(bad, l));
    ms_spec_set(bad, sysctls, "kernel.shm_rmid_forced", json_string("1"));
    ms_spec_set(bad, h, "Sysctls", sysctls);
    ms_spec_set(bad, log, "Type", json_string("none"));
    ms_spec_set(bad, log, "Config", json_object());
    ms_spec_set(bad, h, "LogConfig", log);
    ms_spec_set(bad, restart, "Name", json_string("no"));
    ms_spec_set(bad, h, "RestartPolicy", restart);
    ms_spec_set(bad, h, "AutoRemove", json_false());
    ms_spec_set(bad, h, "Init", json_false());
    if (l->runtime)
        ms_spec_set(bad, h, "Runtime", json_string(l->runtime));
    return h;
}

static int create(ms_buf *path, ms_buf *body, const ms_container *c,
                  const moonsand_engine_facts *facts, moonsand_error **err)
{
    static const char *const agent[] = {MS_AGENT_PATH_INSIDE, NULL}, *const none[] = {NULL};
    static const char *const no_check[] = {"NONE", NULL};
    if (check_api(facts, err) || ms_container_check(c, err))
        return -1;
    bool bad = false;
    json_t *host = host_config(&bad, c, facts, err);
    if (!host && !bad)
        return -1;
    json_t *o = json_object(), *health = json_object();
    ms_spec_set(&bad, o, "Image", json_string(c->image_id));
    ms_spec_set(&bad, o, "Entrypoint", ms_spec_strings(&bad, agent));
    ms_spec_set(&bad, o, "Cmd", ms_spec_strings(&bad, none));
    ms_spec_set(&bad, o, "Env", ms_spec_strings(&bad, none));
    ms_spec_set(&bad, o, "User", json_sprintf("%u:%u", c->uid, c->uid));
    ms_spec_set(&bad, o, "WorkingDir", json_string("/"));
    ms_spec_set(&bad, o, "Hostname", json_string("sandbox"));
    ms_spec_set(&bad, o, "Domainname", json_string(""));
    ms_spec_set(&bad, o, "Tty", json_false());
    ms_spec_set(&bad, o, "OpenStdin", json_true());
    ms_spec_set(&bad, o, "StdinOnce", json_true());
    ms_spec_set(&bad, o, "AttachStdin", json_true());
    ms_spec_set(&bad, o, "AttachStdout", json_true());
    ms_spec_set(&bad, o, "AttachStderr", json_true());
    ms_spec_set(&bad, o, "NetworkDisabled",
                json_boolean(c->limits->network == MOONSAND_NETWORK_NONE));
    ms_spec_set(&bad, o, "StopSignal", json_string("SIGKILL"));
    ms_spec_set(&bad, o, "StopTimeout", json_integer(1));
    ms_spec_set(&bad, health, "Test", ms_spec_strings(&bad, no_check));
    ms_spec_set(&bad, o, "Healthcheck", health);
    ms_spec_set(&bad, o, "Labels", ms_spec_labels(&bad, c));
    ms_spec_set(&bad, o, "HostConfig", host);
    int rc = -1;
    if (bad || ms_buf_addf(path, "/containers/create?name=%s", c->name))
        ms_fail_nomem(err);
    else
        rc = ms_json_write(body, o, false, err);
    json_decref(o);
    return rc;
}

const ms_profile ms_profile_docker = {"docker", create, false, 2000000, 2065535};
