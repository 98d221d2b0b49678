/* The container's JSON for Podman: every wall is asked for. */
#include "spec_make.h"

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

int main(void)
{
    podman_fields();
    return done_testing();
}
