/* The walls round a run. They are built before its request is there, by I, from whom P inherits
 * them; in the Landlock tier I must stay outside of P's domain, so P builds the last ones itself.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "inner.h"
#include "landlock.h"

#define ENOENT_ 2
#define ENOTDIR_ 20

bool wrong(const char *what, long err)
{
    server.failure.err = (int32_t)-err;
    size_t n = text_len(what);
    if (n >= sizeof server.failure.what)
        n = sizeof server.failure.what - 1;
    for (size_t i = 0; i < n; i++)
        server.failure.what[i] = what[i];
    server.failure.what[n] = 0;
    return false;
}

/* The first to be shot when memory ends. The kernel leaves out I itself, which is a vfork child. */
void offer_to_oom_killer(void)
{
    (void)put_file("/proc/self/oom_score_adj", "1000");
}

/* One user inside, the one that is outside. The files belong to root unless the memory is dumpable;
 * for this moment nobody hostile is alive. */
static bool map_user(void)
{
    char line[64];
    uint64_t uid = server.uid, gid = server.gid;
    bool good = true;
    long r;
    (void)raw(prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    if ((r = put_file("/proc/self/setgroups", "deny")) < 0)
        good = wrong("setgroups", r);
    text_add(text_number(text_add(text_number(line, uid), " "), uid), " 1");
    if (good && (r = put_file("/proc/self/uid_map", line)) < 0)
        good = wrong("uid_map", r);
    text_add(text_number(text_add(text_number(line, gid), " "), gid), " 1");
    if (good && (r = put_file("/proc/self/gid_map", line)) < 0)
        good = wrong("gid_map", r);
    offer_to_oom_killer();
    (void)raw(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    return good;
}

static bool scratch(const char *path, uint64_t bytes, uint64_t inodes, bool exec)
{
    char how[96];
    char *end = text_add(how, "mode=1777,size=");
    end = text_number(end, bytes);
    if (inodes > 0)
        text_number(text_add(end, ",nr_inodes="), inodes);
    unsigned long flags = MS_NOSUID | MS_NODEV | (exec ? 0 : MS_NOEXEC);
    long r = raw(mount, "tmpfs", path, "tmpfs", flags, how);
    return r == 0 || wrong(path, r);
}

static bool there(const char *path)
{
    return raw(faccessat, AT_FDCWD, path, 0) == 0;
}

static bool mounts(void)
{
    const struct control_config *c = &server.config;
    long r = raw(mount, 0, "/", 0, MS_REC | MS_PRIVATE, 0);
    if (r < 0)
        return wrong("mount", r);
    if (!scratch("/tmp", c->tmp_bytes, c->tmp_inodes, c->tmp_exec != 0))
        return false;
    if (there("/dev/shm") && !scratch("/dev/shm", c->shm_bytes, 0, false))
        return false;
    /* Queues of the container's own IPC namespace would outlive the run. It makes none of its own,
     * which would be memory that no limit of /tmp or /dev/shm counts. */
    if (there("/dev/mqueue") && (r = raw(mount, "mqueue", "/dev/mqueue", "mqueue",
                                         MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, 0)) < 0)
        return wrong("/dev/mqueue", r);
    return true;
}

static bool loopback(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    long fd = raw(socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    long r = fd < 0 ? fd : raw(ioctl, fd, SIOCSIFFLAGS, &request);
    if (fd >= 0)
        (void)raw(close, fd);
    return r == 0 || wrong("loopback", r);
}

/* For ever: an exec gives nothing back, since the bounding set is empty as well. */
static long no_capabilities(void)
{
    for (int cap = 0; cap < 64; cap++)
        if (raw(prctl, PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            break; /* beyond the last, or none is held that it takes */
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    long r = raw(capset, &head, none);
    return r < 0 ? r : raw(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static long no_core(void)
{
    static const struct rlimit none = {0, 0};
    return raw(prlimit64, 0, RLIMIT_CORE, &none, 0);
}

static long filter(void)
{
    struct sock_fprog program = {(unsigned short)server.config.filter_len, server.config.filter};
    return raw(seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static long allow(long ruleset, const char *path, uint64_t access)
{
    long fd = open_path(path, O_PATH);
    if (fd < 0)
        return fd == -ENOENT_ || fd == -ENOTDIR_ ? 0 : fd;
    struct path_beneath rule = {access, (int32_t)fd};
    long r = raw(landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    (void)raw(close, fd);
    return r;
}

/* A descriptor or a negative errno; *scoped: whether signals and abstract sockets are kept in. */
static long landlock_rules(bool *scoped)
{
    static const char trees[][16] = {LANDLOCK_TREES};
    static const char files[][16] = {LANDLOCK_FILES};
    int abi = (int)server.config.landlock_abi;
    struct ruleset_attr attr = {landlock_handled(abi), 0, SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL};
    long fd = -22;
    *scoped = false;
    if (abi >= SCOPES_ABI) {
        fd = raw(landlock_create_ruleset, &attr, sizeof attr, 0);
        *scoped = fd >= 0;
    }
    if (fd < 0)
        fd = raw(landlock_create_ruleset, &attr, sizeof attr.handled_access_fs, 0);
    if (fd < 0)
        return fd;
    long r = 0;
    for (size_t i = 0; i < sizeof trees / sizeof *trees && r >= 0; i++)
        r = allow(fd, trees[i], attr.handled_access_fs);
    for (size_t i = 0; i < sizeof files / sizeof *files && r >= 0; i++)
        r = allow(fd, files[i], attr.handled_access_fs & (FS_WRITE_FILE | FS_TRUNCATE));
    if (r >= 0)
        return fd;
    (void)raw(close, fd);
    return r;
}

bool walls_namespaces(void)
{
    bool scoped = false;
    if (!map_user() || !mounts())
        return false;
    if ((server.namespaces & CLONE_NEWNET) != 0 && !loopback())
        return false;
    long r = no_core();
    if (r < 0)
        return wrong("prlimit", r);
    if ((r = no_capabilities()) < 0)
        return wrong("capset", r);
    if (server.config.landlock_abi > 0) {
        long ruleset = landlock_rules(&scoped);
        r = ruleset < 0 ? ruleset : raw(landlock_restrict_self, ruleset, 0);
        if (r < 0)
            return wrong("landlock", r);
        (void)raw(close, ruleset);
        server.landlocked = true;
    }
    return (r = filter()) == 0 || wrong("seccomp", r);
}

bool walls_landlock_ready(void)
{
    bool scoped = false, needed = server.tier == MS_TIER_LANDLOCK;
    if (server.config.landlock_abi == 0)
        return !needed || wrong("landlock", -38);
    long ruleset = landlock_rules(&scoped);
    if (ruleset < 0)
        return wrong("landlock", ruleset);
    server.ruleset = (int)ruleset;
    server.landlocked = true;
    return scoped || !needed || wrong("landlock scopes", -95);
}

long walls_landlock_enter(void)
{
    long r = no_core();
    if (r == 0)
        r = no_capabilities();
    if (r == 0 && server.landlocked)
        r = raw(landlock_restrict_self, server.ruleset, 0);
    return r == 0 ? filter() : r;
}
