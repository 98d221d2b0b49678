/* The container's JSON: every wall is asked for, and no option can take one away. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "spec.h"
#include "tap.h"

static const moonsand_engine_facts docker_v1 = {.kind = "docker",
                                                .api_version = "1.41",
                                                .arch = "x86_64",
                                                .cgroup_version = 1,
                                                .cpus = 64,
                                                .memory_bytes = 64ull << 30,
                                                .has_bridge = true};
static const moonsand_engine_facts podman_v2 = {.kind = "podman",
                                                .api_version = "1.41",
                                                .arch = "aarch64",
                                                .cgroup_version = 2,
                                                .cpus = 64,
                                                .memory_bytes = 64ull << 30,
                                                .rootless = true,
                                                .has_bridge = true};
static const char *const two_volumes[] = {"/data", "/tmp"};

static ms_container container(const ms_limits *l)
{
    return (ms_container){.limits = l,
                          .image_id = "sha256:0123",
                          .name = "moonsand-abc",
                          .owner = "m/b/1/2/3",
                          .lease_epoch_s = 1234567890123,
                          .uid = 20001,
                          .seccomp_path = "/run/moonsand/seccomp-x.json"};
}

static json_t *make(const ms_container *c, const moonsand_engine_facts *facts, char *path,
                    size_t size, char *why, size_t why_size)
{
    ms_buf p = {0}, b = {0};
    moonsand_error *err = NULL;
    json_t *v = NULL;
    const ms_profile *profile = ms_profile_for(facts->kind);
    why[0] = 0;
    if (profile->create(&p, &b, c, facts, &err)) {
        (void)snprintf(why, why_size, "%s: %s", moonsand_code_name(moonsand_error_code(err)),
                       moonsand_error_message(err));
    } else {
        (void)snprintf(path, size, "%s", p.data);
        v = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
    }
    moonsand_error_free(err);
    ms_buf_free(&p);
    ms_buf_free(&b);
    return v;
}

static void is_json(const json_t *root, const char *path, const char *want)
{
    json_t *w = json_loads(want, JSON_DECODE_ANY, NULL);
    const json_t *got = ms_json_at(root, path);
    char *text = got ? json_dumps(got, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    ok(w && got && json_equal(w, got), "%s is %s (%.200s)", path, want, text ? text : "absent");
    free(text);
    json_decref(w);
}

static bool in_array(const json_t *array, const char *text)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)array, i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), text) == 0)
            return true;
    }
    return false;
}

static ms_limits limits(const moonsand_sandbox_options *o, const moonsand_engine_facts *facts)
{
    ms_limits l;
    moonsand_error *err = NULL;
    if (ms_limits_resolve(&l, o, facts, &err)) {
        printf("Bail out! %s\n", moonsand_error_message(err));
        exit(1);
    }
    return l;
}

static void docker_fields(void)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "x";
    ms_limits l = limits(&o, &docker_v1);
    ms_container c = container(&l);
    c.volumes = two_volumes;
    c.volume_count = 2;
    char path[256] = "", why[512];
    json_t *v = make(&c, &docker_v1, path, sizeof path, why, sizeof why);
    ok(v != NULL, "docker: JSON %s", why);
    is_str(path, "/containers/create?name=moonsand-abc", "docker: path");
    static const char *const want[][2] = {
        {"Image", "\"sha256:0123\""},
        {"Entrypoint", "[\"/.moonsand/agent\"]"},
        {"Cmd", "[]"},
        {"Env", "[]"},
        {"User", "\"20001:20001\""},
        {"WorkingDir", "\"/\""},
        {"Hostname", "\"sandbox\""},
        {"Tty", "false"},
        {"OpenStdin", "true"},
        {"StdinOnce", "true"},
        {"AttachStdin", "true"},
        {"AttachStdout", "true"},
        {"AttachStderr", "true"},
        {"NetworkDisabled", "true"},
        {"Healthcheck.Test", "[\"NONE\"]"},
        {"Labels", "{\"moonsand\":\"1\",\"moonsand.owner\":\"m/b/1/2/3\",\"moonsand.lease\":"
                   "\"1234567890123\",\"moonsand.version\":\"" MOONSAND_VERSION "\"}"},
        {"HostConfig.NetworkMode", "\"none\""},
        {"HostConfig.IpcMode", "\"private\""},
        {"HostConfig.CgroupnsMode", "\"private\""},
        {"HostConfig.PidMode", "\"\""},
        {"HostConfig.UTSMode", "\"\""},
        {"HostConfig.UsernsMode", "\"\""},
        {"HostConfig.ReadonlyRootfs", "true"},
        {"HostConfig.Privileged", "false"},
        {"HostConfig.CapDrop", "[\"ALL\"]"},
        {"HostConfig.CapAdd", "[]"},
        {"HostConfig.Memory", "536870912"},
        {"HostConfig.MemorySwap", "536870912"},
        {"HostConfig.MemorySwappiness", "0"},
        {"HostConfig.OomScoreAdj", "500"},
        {"HostConfig.NanoCpus", "500000000"},
        {"HostConfig.PidsLimit", "128"},
        {"HostConfig.ShmSize", "16777216"},
        {"HostConfig.Tmpfs",
         "{\"/tmp\":\"rw,nosuid,nodev,noexec,size=67108864,nr_inodes=8192,mode=1777\"}"},
        {"HostConfig.Mounts", "[{\"Type\":\"tmpfs\",\"Target\":\"/data\",\"ReadOnly\":true,"
                              "\"TmpfsOptions\":{\"SizeBytes\":65536,\"Mode\":365}}]"},
        {"HostConfig.Ulimits", "[{\"Name\":\"core\",\"Soft\":0,\"Hard\":0},"
                               "{\"Name\":\"memlock\",\"Soft\":65536,\"Hard\":65536},"
                               "{\"Name\":\"msgqueue\",\"Soft\":0,\"Hard\":0},"
                               "{\"Name\":\"nofile\",\"Soft\":512,\"Hard\":512}]"},
        {"HostConfig.LogConfig.Type", "\"none\""},
        {"HostConfig.RestartPolicy.Name", "\"no\""},
        {"HostConfig.AutoRemove", "false"},
        {"HostConfig.Init", "false"},
        {"HostConfig.Binds", "[]"},
        {"HostConfig.Devices", "[]"},
        {"HostConfig.DeviceCgroupRules", "[]"},
        {"HostConfig.GroupAdd", "[]"},
        {"HostConfig.ExtraHosts", "[]"},
        {"HostConfig.PublishAllPorts", "false"},
        {"HostConfig.ReadonlyPaths", "[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\","
                                     "\"/proc/sysrq-trigger\"]"},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        is_json(v, want[i][0], want[i][1]);
    const json_t *sysctls = ms_json_at(v, "HostConfig.Sysctls");
    is_str(json_string_value(json_object_get(sysctls, "kernel.shm_rmid_forced")), "1", "sysctl");
    const json_t *masked = ms_json_at(v, "HostConfig.MaskedPaths");
    static const char *const hidden[] = {
        "/proc/asound",        "/proc/acpi",       "/proc/kcore",       "/proc/keys",
        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
        "/proc/scsi",          "/sys/firmware",    "/proc/cmdline",     "/proc/config.gz",
        "/proc/kallsyms",      "/proc/locks",      "/proc/key-users",   "/proc/diskstats",
        "/proc/interrupts",    "/proc/pressure",   "/sys/block",        "/sys/class"};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        ok(in_array(masked, hidden[i]), "docker: %s is masked", hidden[i]);
    const json_t *security = ms_json_at(v, "HostConfig.SecurityOpt");
    is_int(json_array_size(security), 2, "docker: two security options");
    ok(in_array(security, "no-new-privileges"), "docker: no-new-privileges");
    const char *seccomp = json_string_value(json_array_get(security, 1));
    json_t *profile =
        seccomp && strncmp(seccomp, "seccomp=", 8) == 0 ? json_loads(seccomp + 8, 0, NULL) : NULL;
    ok(profile != NULL, "docker: the seccomp profile is inline JSON");
    json_decref(profile);
    json_decref(v);
    ms_limits_free(&l);

    moonsand_engine_facts v2 = docker_v1;
    v2.cgroup_version = 2;
    moonsand_bind b = {"/srv/d", "/d"};
    o.binds = &b;
    o.bind_count = 1;
    o.network = MOONSAND_NETWORK_BRIDGE;
    o.exec_tmp = true;
    o.runtime = "runsc";
    l = limits(&o, &v2);
    c = container(&l);
    v = make(&c, &v2, path, sizeof path, why, sizeof why);
    ok(v && !ms_json_at(v, "HostConfig.MemorySwappiness"), "v2: no swappiness %s", why);
    is_json(v, "HostConfig.NetworkMode", "\"bridge\"");
    is_json(v, "NetworkDisabled", "false");
    is_json(v, "HostConfig.Runtime", "\"runsc\"");
    is_json(v, "HostConfig.Tmpfs",
            "{\"/tmp\":\"rw,nosuid,nodev,exec,size=67108864,nr_inodes=8192,mode=1777\"}");
    is_json(v, "HostConfig.Mounts",
            "[{\"Type\":\"bind\",\"Source\":\"/srv/d\",\"Target\":\"/d\","
            "\"ReadOnly\":true,\"BindOptions\":{\"Propagation\":"
            "\"rprivate\",\"NonRecursive\":true}}]");
    json_decref(v);
    ms_limits_free(&l);
}

static void podman_fields(void)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "x";
    moonsand_bind b = {"/srv/d", "/d"};
    o.binds = &b;
    o.bind_count = 1;
    ms_limits l = limits(&o, &podman_v2);
    ms_container c = container(&l);
    c.volumes = two_volumes;
    c.volume_count = 2;
    char path[256] = "", why[512];
    json_t *v = make(&c, &podman_v2, path, sizeof path, why, sizeof why);
    ok(v != NULL, "podman: JSON %s", why);
    is_str(path, "/libpod/containers/create", "podman: path");
    static const char *const want[][2] = {
        {"name", "\"moonsand-abc\""},
        {"image", "\"sha256:0123\""},
        {"entrypoint", "[\"/.moonsand/agent\"]"},
        {"command", "[]"},
        {"env", "{}"},
        {"env_host", "false"},
        {"httpproxy", "false"},
        {"unsetenvall", "true"},
        {"user", "\"20001:20001\""},
        {"work_dir", "\"/\""},
        {"hostname", "\"sandbox\""},
        {"terminal", "false"},
        {"stdin", "true"},
        {"systemd", "\"false\""},
        {"init", "false"},
        {"remove", "false"},
        {"restart_policy", "\"no\""},
        {"log_configuration.driver", "\"none\""},
        {"healthconfig.Test", "[\"NONE\"]"},
        {"privileged", "false"},
        {"cap_drop", "[\"ALL\"]"},
        {"cap_add", "[]"},
        {"no_new_privileges", "true"},
        {"seccomp_profile_path", "\"/run/moonsand/seccomp-x.json\""},
        {"groups", "[]"},
        {"read_only_filesystem", "true"},
        {"read_write_tmpfs", "false"},
        {"image_volume_mode", "\"ignore\""},
        {"unmask", "[]"},
        {"use_image_hosts", "true"},
        {"shm_size", "16777216"},
        {"netns.nsmode", "\"none\""},
        {"ipcns.nsmode", "\"private\""},
        {"pidns.nsmode", "\"private\""},
        {"utsns.nsmode", "\"private\""},
        {"cgroupns.nsmode", "\"private\""},
        {"resource_limits", "{\"memory\":{\"limit\":536870912,\"swap\":536870912},\"pids\":"
                            "{\"limit\":128},\"cpu\":{\"period\":100000,\"quota\":50000}}"},
        {"oom_score_adj", "500"},
        {"mounts",
         "[{\"destination\":\"/tmp\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"rw\","
         "\"nosuid\",\"nodev\",\"mode=1777\",\"private\",\"noexec\",\"size=67108864\"]},"
         "{\"destination\":\"/run\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"ro\","
         "\"nosuid\",\"nodev\",\"noexec\",\"size=65536\",\"mode=0555\",\"private\"]},"
         "{\"destination\":\"/var/tmp\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":"
         "[\"ro\",\"nosuid\",\"nodev\",\"noexec\",\"size=65536\",\"mode=0555\",\"private\"]},"
         "{\"destination\":\"/d\",\"type\":\"bind\",\"source\":\"/srv/d\",\"options\":[\"bind\","
         "\"ro\",\"rprivate\",\"nosuid\",\"nodev\"]}]"},
        {"r_limits", "[{\"type\":\"core\",\"soft\":0,\"hard\":0},{\"type\":\"memlock\",\"soft\":"
                     "65536,\"hard\":65536},{\"type\":\"msgqueue\",\"soft\":0,\"hard\":0},"
                     "{\"type\":\"nofile\",\"soft\":512,\"hard\":512},{\"type\":\"nproc\","
                     "\"soft\":256,\"hard\":256}]"},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        is_json(v, want[i][0], want[i][1]);
    ok(in_array(ms_json_at(v, "mask"), "/proc/cmdline") &&
           in_array(ms_json_at(v, "mask"), "/proc/kcore"),
       "podman: masks");
    json_decref(v);
    c.seccomp_path = NULL;
    ok(!make(&c, &podman_v2, path, sizeof path, why, sizeof why) && strstr(why, "unsupported"),
       "podman: no profile, no container: %s", why);
    ms_limits_free(&l);
    o.disk_inodes = 100;
    l = limits(&o, &podman_v2);
    c = container(&l);
    ok(!make(&c, &podman_v2, path, sizeof path, why, sizeof why) && strstr(why, "disk_inodes"),
       "podman: an inode limit is refused: %s", why);
    ms_limits_free(&l);
}

static void refused(void)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "x";
    moonsand_bind b = {"/srv/d", "/data/x"};
    o.binds = &b;
    o.bind_count = 1;
    ms_limits l = limits(&o, &docker_v1);
    char path[256], why[512];
    static const char *const volumes[] = {"/",        "/proc",      "/proc/x",    "/sys",
                                          "/dev/shm", "/dev/shm/x", "/.moonsand", "data",
                                          "/a/../b",  "/data",      "/data/x/y"};
    for (size_t i = 0; i < sizeof volumes / sizeof *volumes; i++) {
        ms_container c = container(&l);
        c.volumes = &volumes[i];
        c.volume_count = 1;
        ok(!make(&c, &docker_v1, path, sizeof path, why, sizeof why) && strstr(why, "volume"),
           "image volume %s: %s", volumes[i], why);
    }
    static const char *const same = "/data/x";
    ms_container c = container(&l);
    c.volumes = &same;
    c.volume_count = 1;
    json_t *v = make(&c, &docker_v1, path, sizeof path, why, sizeof why);
    is_int(json_array_size(ms_json_at(v, "HostConfig.Mounts")), 1, "a bind covers its volume %s",
           why);
    json_decref(v);
    c = container(&l);
    c.uid = 0;
    ok(!make(&c, &docker_v1, path, sizeof path, why, sizeof why), "root: %s", why);
    c = container(&l);
    c.name = "a&b=c";
    ok(!make(&c, &docker_v1, path, sizeof path, why, sizeof why), "name: %s", why);
    moonsand_engine_facts odd = docker_v1;
    odd.arch = "riscv64";
    c = container(&l);
    ok(!make(&c, &odd, path, sizeof path, why, sizeof why) && strstr(why, "riscv64"), "arch: %s",
       why);
    odd = docker_v1;
    odd.api_version = "1.40";
    ok(!make(&c, &odd, path, sizeof path, why, sizeof why) && strstr(why, "cgroup namespace"),
       "an API that would leave a wall out: %s", why);
    odd.api_version = "1.52";
    v = make(&c, &odd, path, sizeof path, why, sizeof why);
    ok(v != NULL, "a newer one%s", why);
    json_decref(v);
    ms_limits_free(&l);
    ok(ms_profile_for("docker") == &ms_profile_docker && !ms_profile_for("lxc") &&
           !ms_profile_for(NULL),
       "profiles by kind");
}

/* ---- whatever the options are -------------------------------------------------------------- */

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint64_t dice(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return n ? seed % n : seed;
}

static uint64_t some(uint64_t usual)
{
    switch (dice(20)) {
    case 0:
        return dice(usual * 2 + 1);
    case 1:
        return usual;
    case 2:
        return dice(3) ? dice(usual + 1) : dice(0);
    default:
        return 0;
    }
}

static const char *text(void)
{
    static const char *const all[] = {"/srv/data",
                                      "/data",
                                      "/var/run/docker.sock",
                                      "/",
                                      "/x:rw",
                                      "/x,readonly=false",
                                      "host",
                                      "unconfined",
                                      "/dev/sda",
                                      "/tmp/../etc",
                                      "/home/u/d",
                                      "/x\",\"Privileged\":true,\"y\":\"",
                                      "container:1",
                                      "runsc",
                                      "runc",
                                      "/srv/a b",
                                      "/opt/d\xc3\xa9",
                                      "--privileged",
                                      "",
                                      "/dev"};
    return all[dice(sizeof all / sizeof *all)];
}

/* The whole tree: no key that opens something may hold anything but nothing. */
static const char *weakness(const json_t *v, const char *key)
{
    static const char *const empty_only[] = {"CapAdd",
                                             "cap_add",
                                             "Devices",
                                             "devices",
                                             "DeviceCgroupRules",
                                             "device_cgroup_rule",
                                             "Binds",
                                             "VolumesFrom",
                                             "GroupAdd",
                                             "groups",
                                             "unmask",
                                             "PortBindings",
                                             "PublishAllPorts",
                                             "portmappings",
                                             "Privileged",
                                             "privileged",
                                             "ExtraHosts",
                                             "PidMode",
                                             "UTSMode",
                                             "UsernsMode",
                                             "OomKillDisable",
                                             "env_host",
                                             "AutoRemove",
                                             "volumes",
                                             "Links"};
    for (size_t i = 0; i < sizeof empty_only / sizeof *empty_only; i++) {
        if (strcmp(key, empty_only[i]) != 0)
            continue;
        bool empty = json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0) ||
                     (json_is_object(v) && json_object_size(v) == 0) ||
                     (json_is_string(v) && json_string_length(v) == 0);
        if (!empty)
            return key;
    }
    /* Names of our own choosing, and of the administrator's. */
    bool name =
        strcmp(key, "name") == 0 || strcmp(key, "Runtime") == 0 || strcmp(key, "oci_runtime") == 0;
    const char *s = name ? NULL : json_string_value(v);
    bool source = strcmp(key, "Source") == 0 || strcmp(key, "source") == 0;
    if (s && (strcmp(s, "host") == 0 || strstr(s, "unconfined") ||
              strncmp(s, "container:", 10) == 0 || (source && strstr(s, "docker.sock"))))
        return s;
    const char *k, *found = NULL;
    size_t i;
    json_t *child;
    const char *kind = json_string_value(json_object_get(v, "Type"));
    if (kind && strcmp(kind, "bind") == 0 && !json_is_true(json_object_get(v, "ReadOnly")))
        return "writable bind";
    kind = json_string_value(json_object_get(v, "type"));
    if (kind && strcmp(kind, "bind") == 0 && !in_array(json_object_get(v, "options"), "ro"))
        return "writable bind";
    json_object_foreach((json_t *)(uintptr_t)v, k, child)
    {
        if (!found)
            found = weakness(child, k);
    }
    json_array_foreach((json_t *)(uintptr_t)v, i, child)
    {
        if (!found)
            found = weakness(child, "");
    }
    return found;
}

static const char *round_trip(unsigned *made)
{
    const moonsand_engine_facts *facts = dice(2) ? &docker_v1 : &podman_v2;
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    moonsand_bind binds[3];
    for (size_t i = 0; i < 3; i++)
        binds[i] = (moonsand_bind){text(), text()};
    o.image = dice(8) ? "img" : text();
    o.nano_cpus = some(4000000000);
    o.memory_bytes = some(1u << 30);
    o.pids = (uint32_t)some(1000);
    o.disk_bytes = some(64 << 20);
    o.disk_inodes = facts == &docker_v1 ? (uint32_t)some(10000) : 0;
    o.shm_bytes = some(16 << 20);
    o.open_files = (uint32_t)some(1024);
    o.network = (moonsand_network)(dice(4) ? dice(2) : dice(5));
    o.binds = binds;
    o.bind_count = dice(2) ? 0 : dice(4);
    o.exec_tmp = dice(2);
    o.runtime = dice(3) ? NULL : text();
    ms_limits l;
    if (ms_limits_resolve(&l, &o, facts, NULL))
        return NULL;
    const char *volumes[2] = {text(), text()};
    ms_container c = container(&l);
    c.name = dice(10) ? c.name : text();
    c.uid = dice(10) ? 20001 : (uint32_t)some(60000);
    c.volumes = volumes;
    c.volume_count = dice(3);
    char path[512], why[512];
    json_t *v = make(&c, facts, path, sizeof path, why, sizeof why);
    const char *found = NULL;
    static char copy[256];
    if (v) {
        found = weakness(v, "");
        if (!found &&
            strncmp(path, facts == &docker_v1 ? "/containers/create?name=" : "/libpod/", 8))
            found = path;
        (void)snprintf(copy, sizeof copy, "%.200s", found ? found : "");
        found = found ? copy : NULL;
        (*made)++;
    }
    json_decref(v);
    ms_limits_free(&l);
    return found;
}

static void property(void)
{
    unsigned made = 0, rounds = 20000;
    const char *found = NULL;
    for (unsigned i = 0; i < rounds && !found; i++)
        found = round_trip(&made);
    ok(!found, "no options weaken the container: %s", found ? found : "none of 20000");
    ok(made > rounds / 50, "%u of %u were accepted", made, rounds);
}

/* ---- seccomp and isolation ----------------------------------------------------------------- */

static void seccomp(void)
{
    ms_buf a = {0}, b = {0}, d = {0};
    is_int(ms_seccomp_json(&a, "x86_64", NULL), 0, "seccomp amd64");
    is_int(ms_seccomp_json(&b, "amd64", NULL), 0, "by its other name");
    is_int(ms_seccomp_json(&d, "arm64", NULL), 0, "seccomp arm64");
    is_str(a.data, b.data, "equal bytes");
    json_t *v = json_loadb(a.data, a.len, JSON_REJECT_DUPLICATES, NULL);
    is_json(v, "defaultAction", "\"SCMP_ACT_ERRNO\"");
    is_json(v, "architectures", "[\"SCMP_ARCH_X86_64\"]");
    json_t *arm = json_loadb(d.data, d.len, JSON_REJECT_DUPLICATES, NULL);
    is_json(arm, "architectures", "[\"SCMP_ARCH_AARCH64\"]");
    json_decref(arm);
    const json_t *plain =
        json_object_get(json_array_get(json_object_get(v, "syscalls"), 0), "names");
    static const char *const never[] = {"clone",
                                        "clone3",
                                        "unshare",
                                        "setns",
                                        "mount",
                                        "umount2",
                                        "pivot_root",
                                        "chroot",
                                        "ptrace",
                                        "process_vm_readv",
                                        "process_vm_writev",
                                        "process_madvise",
                                        "pidfd_getfd",
                                        "kcmp",
                                        "keyctl",
                                        "add_key",
                                        "request_key",
                                        "bpf",
                                        "perf_event_open",
                                        "io_uring_setup",
                                        "userfaultfd",
                                        "shmget",
                                        "semget",
                                        "msgget",
                                        "mq_open",
                                        "mknod",
                                        "mknodat",
                                        "setxattr",
                                        "socket",
                                        "socketpair",
                                        "socketcall",
                                        "personality",
                                        "ioctl",
                                        "vmsplice",
                                        "memfd_secret",
                                        "sync",
                                        "syncfs",
                                        "open_by_handle_at",
                                        "name_to_handle_at",
                                        "init_module",
                                        "finit_module",
                                        "kexec_load",
                                        "reboot",
                                        "syslog",
                                        "modify_ldt",
                                        "open_tree",
                                        "move_mount",
                                        "fsopen",
                                        "quotactl",
                                        "swapon",
                                        "settimeofday",
                                        "clock_settime",
                                        "acct",
                                        "iopl",
                                        "ioperm"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        ok(!in_array(plain, never[i]), "%s is not simply allowed", never[i]);
    static const char *const needed[] = {"landlock_create_ruleset",
                                         "landlock_add_rule",
                                         "landlock_restrict_self",
                                         "signalfd4",
                                         "timerfd_create",
                                         "epoll_pwait",
                                         "splice",
                                         "close_range",
                                         "prctl",
                                         "wait4",
                                         "waitid",
                                         "setrlimit",
                                         "prlimit64",
                                         "kill",
                                         "execve",
                                         "memfd_create",
                                         "futex",
                                         "rseq",
                                         "openat2",
                                         "seccomp",
                                         "pidfd_open"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        ok(in_array(plain, needed[i]), "%s is allowed", needed[i]);
    bool sorted = true;
    for (size_t i = 1; i < json_array_size(plain); i++)
        sorted &= strcmp(json_string_value(json_array_get(plain, i - 1)),
                         json_string_value(json_array_get(plain, i))) < 0;
    ok(sorted, "the names are sorted, each once");
    size_t i;
    json_t *rule;
    bool closed = true;
    json_array_foreach(json_object_get(v, "syscalls"), i, rule)
    {
        bool allow = strcmp(ms_json_str(rule, "action", ""), "SCMP_ACT_ALLOW") == 0;
        if (i > 0 && allow && json_array_size(json_object_get(rule, "args")) == 0)
            closed = false;
    }
    ok(closed, "what is allowed besides looks at arguments");
    json_decref(v);
    ms_buf_free(&a);
    ms_buf_free(&b);
    ms_buf_free(&d);
    is_int(ms_seccomp_json(&a, "mips", NULL), -1, "another architecture is refused");
    is_int(ms_seccomp_json(&a, NULL, NULL), -1, "none is refused");
    ms_buf_free(&a);
}

static void seccomp_file(void)
{
    moonsand_error *err = NULL;
    char *one = NULL, *two = NULL;
    if (ms_seccomp_file(&one, "amd64", &err)) {
        skip("no place for the profile: %s", moonsand_error_message(err));
        moonsand_error_free(err);
        return;
    }
    struct stat before, after;
    ok(stat(one, &before) == 0 && (before.st_mode & 0777) == 0444, "%s is there, read-only", one);
    is_int(ms_seccomp_file(&two, "amd64", NULL), 0, "again");
    is_str(two, one, "the same path");
    ok(stat(two, &after) == 0 && before.st_ino == after.st_ino, "and the same file");
    int fd = chmod(two, 0644) ? -1 : open(two, O_WRONLY | O_CLOEXEC);
    ok(fd >= 0 && write(fd, "x", 1) == 1 && fchmod(fd, 0444) == 0, "spoil it");
    if (fd >= 0)
        close(fd);
    ms_free(two);
    is_int(ms_seccomp_file(&two, "amd64", NULL), 0, "once more");
    ok(stat(two, &after) == 0 && before.st_ino != after.st_ino && after.st_size == before.st_size,
       "a spoilt file is replaced");
    ms_free(one);
    ms_free(two);
}

static void isolation(void)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "x";
    ms_limits l = limits(&o, &docker_v1);
    ms_container c = container(&l);
    ms_buf b = {0};
    is_int(ms_isolation_json(&b, &c, &docker_v1, true, true, NULL), 0, "isolation");
    json_t *v = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
    is_json(v, "exceptions", "[]");
    is_json(v, "network", "\"none\"");
    is_json(v, "tmp", "{\"bytes\":67108864,\"inodes\":8192,\"exec\":false}");
    is_json(v, "cpus", "0.5");
    is_json(v, "landlock", "true");
    json_decref(v);
    ms_buf_free(&b);
    ms_limits_free(&l);
    moonsand_bind bind = {"/srv/d", "/d"};
    o.binds = &bind;
    o.bind_count = 1;
    o.network = MOONSAND_NETWORK_BRIDGE;
    o.exec_tmp = true;
    l = limits(&o, &podman_v2);
    c = container(&l);
    is_int(ms_isolation_json(&b, &c, &podman_v2, false, false, NULL), 0, "isolation");
    v = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
    is_json(v, "exceptions", "[\"network=bridge\",\"bind=/srv/d:/d:ro\",\"exec_tmp\"]");
    is_json(v, "self_check", "false");
    is_json(v, "tmp.inodes", "null");
    is_json(v, "userns", "\"rootless\"");
    json_decref(v);
    ms_buf_free(&b);
    ms_limits_free(&l);
}

int main(void)
{
    docker_fields();
    podman_fields();
    refused();
    property();
    seccomp();
    seccomp_file();
    isolation();
    return done_testing();
}
