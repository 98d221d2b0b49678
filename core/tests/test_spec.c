/* Containers that no engine is asked for, and the isolation that a result reports. */
#include "spec_make.h"

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
    json_t *newer = make(&c, &odd, path, sizeof path, why, sizeof why);
    ok(newer != NULL, "a newer one%s", why);
    json_decref(newer);
    ms_limits_free(&l);
    ok(ms_profile_for("docker") == &ms_profile_docker && !ms_profile_for("lxc") &&
           !ms_profile_for(NULL),
       "profiles by kind");
}

static void isolation(void)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "x";
    ms_limits l = limits(&o, &docker_v1);
    ms_container c = container(&l);
    ms_buf b = {0};
    is_int(ms_isolation_json(&b, &c, &docker_v1,
                             &(ms_applied){.landlocked = true, .self_checked = true}, NULL),
           0, "isolation");
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
    is_int(ms_isolation_json(&b, &c, &podman_v2, &(ms_applied){.landlocked = false}, NULL), 0,
           "isolation");
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
    refused();
    isolation();
    return done_testing();
}
