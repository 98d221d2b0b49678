/* Whatever the options are: none can take a wall away. */
#include "spec_make.h"

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

int main(void)
{
    property();
    return done_testing();
}
