/* Limits: defaults, bounds, the machine's size, binds. */
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spec.h"
#include "tap.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define S 1000000000ull

static const moonsand_engine_facts machine = {.kind = "docker",
                                              .arch = "x86_64",
                                              .cgroup_version = 2,
                                              .cpus = 4,
                                              .memory_bytes = 8ull << 30,
                                              .has_bridge = true};

static moonsand_code resolve(ms_limits *l, const moonsand_sandbox_options *o,
                             const moonsand_engine_facts *facts, char *why, size_t size)
{
    moonsand_error *err = NULL;
    why[0] = 0;
    if (ms_limits_resolve(l, o, facts, &err) == 0)
        return MOONSAND_OK;
    moonsand_code code = moonsand_error_code(err);
    (void)snprintf(why, size, "%s", moonsand_error_message(err));
    moonsand_error_free(err);
    return code;
}

static void check_code(const moonsand_sandbox_options *o, moonsand_code want, const char *names,
                       const char *what)
{
    ms_limits l;
    char why[512];
    moonsand_code got = resolve(&l, o, &machine, why, sizeof why);
    ok(got == want && (want == MOONSAND_OK || strstr(why, names) != NULL), "%s: %s (%s)", what,
       moonsand_code_name(got), why);
    if (got == MOONSAND_OK)
        ms_limits_free(&l);
}

static void defaults(void)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "python:3.11-slim";
    ms_limits l;
    char why[512];
    is_int((int)resolve(&l, &o, &machine, why, sizeof why), MOONSAND_OK, "defaults %s", why);
    is_str(l.image, "python:3.11-slim", "image");
    ok(l.image != o.image, "image is a copy");
    is_int((long long)l.nano_cpus, 500000000, "cpus");
    is_int((long long)l.memory_bytes, 512 << 20, "memory");
    is_int(l.pids, 128, "pids");
    is_int((long long)l.disk_bytes, 64 << 20, "disk");
    is_int(l.disk_inodes, 8192, "inodes");
    is_int((long long)l.shm_bytes, 16 << 20, "shm");
    is_int((long long)l.file_bytes, 64 << 20, "file = disk");
    is_int(l.open_files, 512, "open files");
    is_int((long long)l.timeout_ns, (long long)(300 * S), "timeout");
    is_int((long long)l.stdout_bytes, 16 << 20, "stdout");
    is_int((long long)l.stderr_bytes, 16 << 20, "stderr");
    is_int((long long)l.artefact_bytes, 64 << 20, "artefact bytes = disk");
    is_int(l.artefact_count, 256, "artefact count");
    is_int((long long)l.value_bytes, 1 << 20, "value");
    ok(l.network == MOONSAND_NETWORK_NONE && !l.exec_tmp && l.bind_count == 0 && !l.runtime &&
           !l.inodes_given,
       "no exception by default");
    ms_limits_free(&l);
    o.memory_bytes = 16 * MIB;
    is_int((int)resolve(&l, &o, &machine, why, sizeof why), MOONSAND_OK, "small memory %s", why);
    ok(l.disk_bytes + l.shm_bytes < l.memory_bytes, "the defaults shrink with the memory");
    ms_limits_free(&l);
    moonsand_engine_facts small = machine;
    small.memory_bytes = 256 * MIB;
    o.memory_bytes = 0;
    is_int((int)resolve(&l, &o, &small, why, sizeof why), MOONSAND_OK, "small machine %s", why);
    ok(l.memory_bytes <= small.memory_bytes, "the default fits the machine");
    ms_limits_free(&l);
}

#define FIELD(f, value, code)                                                                      \
    do {                                                                                           \
        moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;                                \
        o.image = "i";                                                                             \
        o.f = value;                                                                               \
        check_code(&o, MOONSAND_##code, #f, #f " = " #value);                                      \
    } while (0)

static void bounds(void)
{
    FIELD(nano_cpus, 9999999, E_INVALID);
    FIELD(nano_cpus, 10000000, OK);
    FIELD(nano_cpus, 4 * S, OK);
    FIELD(nano_cpus, UINT64_MAX, E_INVALID);
    FIELD(memory_bytes, 16 * MIB - 1, E_INVALID);
    FIELD(memory_bytes, 16 * MIB, OK);
    FIELD(memory_bytes, 8 * GIB, OK);
    FIELD(memory_bytes, UINT64_MAX, E_INVALID);
    FIELD(pids, 3, E_INVALID);
    FIELD(pids, 4, OK);
    FIELD(pids, 32768, OK);
    FIELD(pids, 32769, E_INVALID);
    FIELD(disk_bytes, 65535, E_INVALID);
    FIELD(disk_bytes, 65536, OK);
    FIELD(disk_bytes, 256 * MIB, OK);
    FIELD(disk_bytes, 256 * MIB + 1, E_INVALID);
    FIELD(disk_inodes, 15, E_INVALID);
    FIELD(disk_inodes, 16, OK);
    FIELD(disk_inodes, (1 << 20) + 1, E_INVALID);
    FIELD(shm_bytes, 4095, E_INVALID);
    FIELD(shm_bytes, 128 * MIB, OK);
    FIELD(shm_bytes, 128 * MIB + 1, E_INVALID);
    FIELD(file_bytes, 1, OK);
    FIELD(file_bytes, 513 * MIB, E_INVALID);
    FIELD(open_files, 15, E_INVALID);
    FIELD(open_files, 65536, OK);
    FIELD(open_files, 65537, E_INVALID);
    FIELD(timeout_ns, 49999999, E_INVALID);
    FIELD(timeout_ns, 50000000, OK);
    FIELD(timeout_ns, UINT64_MAX, E_INVALID);
    FIELD(stdout_bytes, 1, OK);
    FIELD(stdout_bytes, 4 * GIB + 1, E_INVALID);
    FIELD(stderr_bytes, 4 * GIB + 1, E_INVALID);
    FIELD(artefact_bytes, 4 * GIB + 1, E_INVALID);
    FIELD(artefact_count, 65537, E_INVALID);
    FIELD(value_bytes, MIB, OK);
    FIELD(value_bytes, MIB + 1, E_INVALID);
    FIELD(network, MOONSAND_NETWORK_BRIDGE, OK);
    FIELD(network, (moonsand_network)2, E_INVALID);
    FIELD(image, NULL, E_INVALID);
    FIELD(image, "", E_INVALID);
    FIELD(image, "a b", E_INVALID);
    FIELD(image, "-x", E_INVALID);
    FIELD(image, "a\nb", E_INVALID);
    FIELD(image, "sha256:0123", OK);
    FIELD(runtime, "runsc", OK);
    FIELD(runtime, "", E_INVALID);
    FIELD(runtime, "../x", E_INVALID);
    FIELD(runtime, "a/b", E_INVALID);
}

static void machines(void)
{
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "i";
    o.nano_cpus = 4 * S + 1;
    check_code(&o, MOONSAND_E_UNSUPPORTED, "4", "more CPUs than the machine has");
    o.nano_cpus = 0;
    o.memory_bytes = 8 * GIB + 1;
    check_code(&o, MOONSAND_E_UNSUPPORTED, "memory", "more memory than the machine has");
    o.memory_bytes = 0;
    o.version = 2;
    check_code(&o, MOONSAND_E_INVALID, "INIT", "a layout that is not known");
    o.version = 1;
    o.network = MOONSAND_NETWORK_BRIDGE;
    moonsand_engine_facts bare = machine;
    bare.has_bridge = false;
    ms_limits l;
    char why[512];
    is_int((int)resolve(&l, &o, &bare, why, sizeof why), MOONSAND_E_UNSUPPORTED, "no bridge: %s",
           why);
}

static void bind(const char *source, const char *target, moonsand_code want)
{
    moonsand_bind b = {source, target};
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "i";
    o.binds = &b;
    o.bind_count = 1;
    char what[256];
    (void)snprintf(what, sizeof what, "bind %s on %s", source ? source : "(null)",
                   target ? target : "(null)");
    check_code(&o, want, "bind", what);
}

static void binds(void)
{
    static const char *const sources[] = {"/",
                                          "",
                                          "data",
                                          "./data",
                                          "/data/",
                                          "//data",
                                          "/data//x",
                                          "/data/../etc",
                                          "/data/.",
                                          "/proc",
                                          "/proc/1",
                                          "/sys",
                                          "/dev",
                                          "/dev/shm",
                                          "/etc",
                                          "/etc/ssl",
                                          "/root",
                                          "/root/.ssh",
                                          "/run",
                                          "/run/docker.sock",
                                          "/var/run",
                                          "/var/run/docker.sock",
                                          "/var",
                                          "/var/lib",
                                          "/var/lib/docker",
                                          "/var/lib/docker/x",
                                          "/var/lib/containers",
                                          "/var/lib/moonsand/run",
                                          "/boot",
                                          "/a,b",
                                          "/a:b",
                                          "/a\nb",
                                          NULL};
    for (size_t i = 0; sources[i]; i++)
        bind(sources[i], "/data", MOONSAND_E_INVALID);
    static const char *const targets[] = {"/",       "",        "x",          "/proc",
                                          "/proc/x", "/sys/fs", "/dev",       "/dev/shm",
                                          "/tmp",    "/tmp/x",  "/.moonsand", "/.moonsand/agent",
                                          "/a/../b", "/a:b",    "/run/x",     NULL};
    for (size_t i = 0; targets[i]; i++)
        bind("/srv/data", targets[i], MOONSAND_E_INVALID);
    bind(NULL, "/data", MOONSAND_E_INVALID);
    bind("/srv/data", NULL, MOONSAND_E_INVALID);
    bind("/srv/data", "/data", MOONSAND_OK);
    bind("/develop", "/devil", MOONSAND_OK);
    bind("/home/a/.b", "/..c", MOONSAND_OK);

    moonsand_bind many[17];
    for (size_t i = 0; i < 17; i++)
        many[i] = (moonsand_bind){"/srv/data", "/data"};
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "i";
    o.binds = many;
    o.bind_count = 17;
    check_code(&o, MOONSAND_E_INVALID, "17 binds", "too many binds");
    o.bind_count = 2;
    check_code(&o, MOONSAND_E_INVALID, "overlap", "two binds on one place");
    many[1].target = "/data/below";
    check_code(&o, MOONSAND_E_INVALID, "overlap", "a bind below another");
    many[1].target = "/data2";
    check_code(&o, MOONSAND_OK, "", "two binds");
}

static void links(void)
{
    char dir[] = "/tmp/moonsand-test-XXXXXX", path[64], why[512];
    if (!mkdtemp(dir)) {
        skip("no directory");
        return;
    }
    moonsand_engine_facts here = machine;
    here.local = true;
    (void)snprintf(path, sizeof path, "%s/link", dir);
    moonsand_bind b = {path, "/data"};
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = "i";
    o.binds = &b;
    o.bind_count = 1;
    ms_limits l;
    ok(symlink("/etc", path) == 0 && resolve(&l, &o, &here, why, sizeof why) == MOONSAND_E_INVALID,
       "a link to /etc is refused: %s", why);
    ok(unlink(path) == 0 && symlink("/", path) == 0 &&
           resolve(&l, &o, &here, why, sizeof why) == MOONSAND_E_INVALID,
       "a link to / is refused: %s", why);
    (void)unlink(path);
    is_int((int)resolve(&l, &o, &here, why, sizeof why), MOONSAND_E_NOT_FOUND, "missing: %s", why);
    b.source = "/usr/bin/env";
    is_int((int)resolve(&l, &o, &here, why, sizeof why), MOONSAND_E_INVALID, "a file: %s", why);
    b.source = dir;
    is_int((int)resolve(&l, &o, &here, why, sizeof why), MOONSAND_OK, "a directory %s", why);
    ms_limits_free(&l);

    char below[64], url[96];
    (void)snprintf(below, sizeof below, "%s/real", dir);
    ok(mkdir(below, 0755) == 0 && symlink("real", path) == 0, "a link to a directory");
    b.source = path;
    is_int((int)resolve(&l, &o, &here, why, sizeof why), MOONSAND_OK, "is taken: %s", why);
    is_str(l.binds[0].source, below, "for what it leads to now");
    ms_limits_free(&l);
    (void)snprintf(url, sizeof url, "unix://%s/real/engine.sock", dir);
    here.endpoint = url;
    is_int((int)resolve(&l, &o, &here, why, sizeof why), MOONSAND_OK, "no socket there: %s", why);
    ms_limits_free(&l);
    FILE *f = fopen(url + 7, "w"); /* anything of that name */
    is_int((int)resolve(&l, &o, &here, why, sizeof why), MOONSAND_E_INVALID, "a socket: %s", why);
    if (f)
        (void)fclose(f);
    (void)unlink(url + 7);
    (void)unlink(path);
    (void)rmdir(below);
    (void)snprintf(below, sizeof below, "%s/a,b", dir);
    ok(mkdir(below, 0755) == 0 && symlink("a,b", path) == 0 &&
           resolve(&l, &o, &here, why, sizeof why) == MOONSAND_E_INVALID,
       "a link to a name that no engine takes: %s", why);
    (void)unlink(path);
    (void)rmdir(below);
    (void)rmdir(dir);
}

int main(void)
{
    defaults();
    bounds();
    machines();
    binds();
    links();
    return done_testing();
}
