/* The facts are there, have their types, and agree with what else the machine says. */
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"
#include "json.h"
#include "moonsand.h"
#include "tap.h"

static int count_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void is_type(const json_t *o, const char *path, json_type type)
{
    const json_t *v = ms_json_at(o, path);
    ok(v && json_typeof(v) == type, "%s has its type", path);
}

static void is_bool(const json_t *o, const char *path)
{
    ok(json_is_boolean(ms_json_at(o, path)), "%s is a boolean", path);
}

static void test_userns(const json_t *o)
{
    bool works = ms_json_bool(o, "userns.works");
    ok(works == json_is_null(ms_json_at(o, "userns.error")), "userns: works, or says why not");
    if (ms_json_int(o, "userns.max_user_namespaces", 1) == 0)
        ok(!works, "no user namespaces allowed, none works");
    else
        pass("user namespaces are not forbidden by number");
}

static void test_values(const json_t *o)
{
    struct utsname u;
    uname(&u);
    is_str(ms_json_str(o, "kernel", ""), u.release, "kernel");
    is_str(ms_json_str(o, "arch", ""), u.machine, "arch");
    is_int(ms_json_int(o, "uid", -1), geteuid(), "uid");
    int64_t cpus = ms_json_int(o, "cpus", 0);
    ok(cpus >= 1 && cpus <= sysconf(_SC_NPROCESSORS_CONF), "cpus is %lld", (long long)cpus);
    ok(ms_json_int(o, "memory_bytes", 0) > 16 << 20, "memory");
    ok(ms_json_int(o, "swap_bytes", -1) >= 0, "swap");
    is_int(strlen(ms_json_str(o, "boot_id", "")), 36, "boot id");
    int64_t version = ms_json_int(o, "cgroup.version", -1);
    ok(version >= 0 && version <= 2, "cgroup version is %lld", (long long)version);
    is_int(ms_host_cgroup_mode() == MS_CGROUP_V2, version == 2, "cgroup mode agrees");
    ok(!ms_json_bool(o, "landlock.works") || ms_json_int(o, "landlock.abi", 0) > 0,
       "Landlock works only where there is an ABI");
    const json_t *tmp = json_object_get(json_object_get(o, "disk"), "/tmp");
    ok(ms_json_int(tmp, "total_bytes", 0) >= ms_json_int(tmp, "free_bytes", -1), "disk of /tmp");
}

int main(void)
{
    char *text = NULL;
    moonsand_error *err = NULL;
    int before = count_fds();
    is_int(moonsand_host_facts(&text, &err), 0, "host facts");
    diag("%s", text ? text : moonsand_error_message(err));
    is_int(count_fds(), before, "no descriptor left");
    is_int(waitpid(-1, NULL, WNOHANG), -1, "no child left");
    is_int(geteuid(), getuid(), "still the same user");
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ok(fd >= 0, "and in no Landlock domain");
    close(fd);
    json_t *o = json_loads(text ? text : "", 0, NULL);
    if (ok(json_is_object(o), "is an object")) {
        is_type(o, "cgroup.controllers", JSON_ARRAY);
        is_type(o, "lsm", JSON_ARRAY);
        is_type(o, "landlock.abi", JSON_INTEGER);
        is_type(o, "core_pattern.pattern", JSON_STRING);
        is_bool(o, "core_pattern.piped");
        is_bool(o, "landlock.works");
        is_bool(o, "userns.works");
        test_userns(o);
        test_values(o);
    }
    json_decref(o);
    moonsand_free(text);
    moonsand_error_free(err);
    /* The second call must not see what the first one tried. */
    is_int(moonsand_host_facts(&text, NULL), 0, "twice");
    moonsand_free(text);
    return done_testing();
}
