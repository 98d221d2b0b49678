/* The container's JSON for Docker: every wall is asked for. */
#include "spec_make.h"

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

int main(void)
{
    docker_fields();
    return done_testing();
}
