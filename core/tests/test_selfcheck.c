/* The self-check: captures of good containers pass; each missing wall is found and named. */
#include <stdint.h>
#include <unistd.h>

#include "spec.h"
#include "tap.h"

enum { STATUS, MOUNTS, NET, ROUTE, NS, CGROUP, LIMITS, ID, MASKED, OOM, ITEMS };
static const char *const names[ITEMS] = {"status", "mounts", "net", "route",  "ns",
                                         "cgroup", "limits", "id",  "masked", "oom_score_adj"};

#define STATUS_TEXT                                                                                \
    "Name:\tagent\nUmask:\t0022\nState:\tR (running)\nTgid:\t1\nPid:\t1\nPPid:\t0\n"               \
    "Uid:\t2000001\t2000001\t2000001\t2000001\nGid:\t2000001\t2000001\t2000001\t2000001\n"         \
    "FDSize:\t64\nGroups:\t2000001 \nThreads:\t1\nCapInh:\t0000000000000000\n"                     \
    "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"            \
    "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"

/* Docker 20.10, runc 1.1, cgroup v1, with a volume at /data and a bind at /refs. */
#define DOCKER_MOUNTS                                                                              \
    "75 50 0:39 / / ro,relatime master:2 - overlay overlay "                                       \
    "rw,lowerdir=/var/lib/docker/overlay2/l/A:/var/lib/docker/overlay2/l/B,upperdir=/u,workdir=/"  \
    "w\n"                                                                                          \
    "76 75 0:42 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n"                          \
    "77 75 0:43 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755\n"                          \
    "78 77 0:44 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620\n"          \
    "79 75 0:45 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro\n"                         \
    "80 79 0:46 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755\n"      \
    "84 80 0:32 / /sys/fs/cgroup/memory ro,nosuid,nodev,noexec - cgroup cgroup rw,memory\n"        \
    "90 77 0:41 / /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw\n"                \
    "91 77 0:47 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=16384k\n"           \
    "92 75 0:48 / /tmp rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs "                             \
    "rw,size=65536k,nr_inodes=8192\n"                                                              \
    "93 75 0:49 / /data ro,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,size=64k,mode=555\n"      \
    "95 75 254:0 /srv/refs /refs ro,relatime - ext4 /dev/vda rw,discard\n"                         \
    "94 75 254:0 /c/hostname /etc/hostname ro,relatime - ext4 /dev/vda rw\n"                       \
    "51 76 0:42 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw\n"                   \
    "54 76 0:42 /sys /proc/sys ro,nosuid,nodev,noexec,relatime - proc proc rw\n"                   \
    "55 76 0:50 / /proc/acpi ro,relatime - tmpfs tmpfs ro\n"                                       \
    "57 76 0:43 /null /proc/keys rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755\n"                \
    "59 79 0:51 / /sys/firmware ro,relatime - tmpfs tmpfs ro\n"

/* Podman, rootless, cgroup v2: devices are binds of the machine's, and no inode limit exists. */
#define PODMAN_MOUNTS                                                                              \
    "101 75 0:43 / / ro,relatime - overlay overlay rw,lowerdir=/x,uuid=on\n"                       \
    "103 101 0:46 / /tmp rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs "                           \
    "rw,size=65536k,uid=100000,gid=100000,inode64\n"                                               \
    "104 101 0:47 / /run ro,nosuid,nodev,noexec - tmpfs tmpfs rw,size=64k,mode=555\n"              \
    "111 101 0:53 / /var/tmp ro,nosuid,nodev,noexec - tmpfs tmpfs rw,size=64k,mode=555\n"          \
    "102 101 0:48 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs rw\n"                       \
    "103 102 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec - cgroup2 cgroup rw\n"                   \
    "105 101 0:50 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n"                        \
    "107 101 0:51 / /dev rw,nosuid,noexec - tmpfs tmpfs rw,size=65536k,mode=755,uid=1,gid=1\n"     \
    "112 107 0:5 /null /dev/null rw,nosuid,relatime - devtmpfs udev rw,size=8k\n"                  \
    "113 107 0:5 /urandom /dev/urandom rw,nosuid,relatime - devtmpfs udev rw,size=8k\n"            \
    "108 107 0:52 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620\n"        \
    "109 107 0:45 / /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw\n"              \
    "110 101 0:25 /c/hosts /etc/hosts ro,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw\n"          \
    "110 101 0:25 /c/.containerenv /run/.containerenv ro,nosuid,nodev,noexec - tmpfs tmpfs rw\n"   \
    "112 107 0:40 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=16384k\n"         \
    "79 105 0:50 /sys /proc/sys ro,nosuid,nodev,noexec,relatime - proc proc rw\n"                  \
    "81 105 0:5 /null /proc/keys rw,nosuid,noexec - devtmpfs udev rw,size=8k\n"                    \
    "84 102 0:57 / /sys/dev/block ro,relatime - tmpfs tmpfs ro\n"

#define NET_TEXT                                                                                   \
    "Inter-|   Receive                          |  Transmit\n"                                     \
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n"    \
    "    lo:       0       0    0    0    0     0          0         0        0       0    0\n"
#define ROUTE_TEXT "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n"
#define NS_TEXT "cgroup 1\nipc 2\nmnt 3\nnet 4\npid 5\ntime 6\nuser 7\nuts 8\n"
#define CGROUP_1                                                                                   \
    "version 1\nmemory.max 536870912\nmemsw 536870912\ncpu.max 50000 100000\npids.max 128\n"
#define CGROUP_2                                                                                   \
    "version 2\nmemory.max 536870912\nmemory.swap.max 0\ncpu.max 50000 100000\npids.max 128\n"
#define LIMITS_TEXT                                                                                \
    "Limit                     Soft Limit           Hard Limit           Units     \n"             \
    "Max core file size        0                    0                    bytes     \n"             \
    "Max open files            512                  512                  files     \n"             \
    "Max msgqueue size         0                    0                    bytes     \n"
#define MASKED_TEXT                                                                                \
    "/proc/kcore missing\n/proc/keys empty\n/proc/kmsg denied\n/ readonly\n/proc/sys readonly\n"

static const char *const docker[ITEMS] = {
    STATUS_TEXT, DOCKER_MOUNTS, NET_TEXT,    ROUTE_TEXT,
    NS_TEXT,     CGROUP_1,      LIMITS_TEXT, "2000001 2000001 2000001",
    MASKED_TEXT, "500\n"};
static const char *const podman[ITEMS] = {
    STATUS_TEXT, PODMAN_MOUNTS, NET_TEXT,          "",          NS_TEXT,
    CGROUP_2,    LIMITS_TEXT,   "2000001 2000001", MASKED_TEXT, "1000\n"};

static const moonsand_engine_facts on_docker = {
    .kind = "docker", .cgroup_version = 1, .local = true};
static const moonsand_engine_facts on_podman = {
    .kind = "podman", .cgroup_version = 2, .local = true, .rootless = true};
static const moonsand_bind bind_refs = {"/srv/refs", "/refs"};
static const char *const volume_data = "/data";

static ms_limits base(bool binds)
{
    ms_limits l = {.nano_cpus = 500000000,
                   .memory_bytes = 512 << 20,
                   .disk_bytes = 64 << 20,
                   .shm_bytes = 16 << 20,
                   .pids = 128,
                   .disk_inodes = 8192,
                   .open_files = 512};
    if (binds) {
        l.binds = (moonsand_bind *)(uintptr_t)&bind_refs;
        l.bind_count = 1;
    }
    return l;
}

static int verify(const char *const items[ITEMS], const ms_limits *l,
                  const moonsand_engine_facts *facts, char *why, size_t size)
{
    ms_probe *p = NULL;
    moonsand_error *err = NULL;
    ms_container c = {.limits = l, .uid = 2000001, .volumes = &volume_data, .volume_count = 1};
    why[0] = 0;
    int rc = ms_probe_new(&p, &err);
    for (size_t i = 0; !rc && i < ITEMS; i++) {
        if (items[i])
            rc = ms_probe_add(p, names[i], items[i], strlen(items[i]), &err);
    }
    if (!rc)
        rc = ms_probe_verify(p, &c, facts, &err);
    if (rc) {
        (void)snprintf(why, size, "%s: %s", moonsand_code_name(moonsand_error_code(err)),
                       moonsand_error_message(err));
        moonsand_error_free(err);
    }
    ms_probe_free(p);
    return rc;
}

/* The Docker capture with `from` replaced by `to` in one item has to fail, naming `wall`, and only
 * that. */
static void broken(size_t item, const char *from, const char *to, const char *wall)
{
    const char *items[ITEMS];
    memcpy(items, docker, sizeof items);
    const char *at = strstr(docker[item], from);
    char *text = ms_asprintf("%.*s%s%s", at ? (int)(at - docker[item]) : 0, docker[item], to,
                             at ? at + strlen(from) : "");
    items[item] = text;
    ms_limits l = base(true);
    char why[4096];
    int rc = verify(items, &l, &on_docker, why, sizeof why);
    ok(at && rc && strstr(why, "isolation:") == why && strstr(why, "(1)") && strstr(why, wall),
       "%s \"%.*s\": %s", names[item], (int)strcspn(to, "\n"), to, rc ? why : "passed");
    ms_free(text);
}

static void good(void)
{
    char why[4096];
    ms_limits l = base(true), plain = base(false);
    is_int(verify(docker, &l, &on_docker, why, sizeof why), 0, "docker passes %s", why);
    is_int(verify(podman, &plain, &on_podman, why, sizeof why), 0, "podman passes %s", why);
    const char *items[ITEMS];
    memcpy(items, docker, sizeof items);
    items[NET] = NET_TEXT "  sit0:       0       0    0\n tunl0: 0 0 0\n";
    items[CGROUP] = "memory.max 536866816\ncpu.max 49999 100000\npids.max 128\n";
    items[STATUS] = STATUS_TEXT "Groups:\n";
    is_int(verify(items, &l, &on_docker, why, sizeof why), 0,
           "down tunnels, rounded limits, no swap file: %s", why);
    items[NET] = NET_TEXT "  eth0: 0 0 0\n";
    items[ROUTE] = ROUTE_TEXT "eth0\t00000000\t010011AC\n";
    l.network = MOONSAND_NETWORK_BRIDGE;
    is_int(verify(items, &l, &on_docker, why, sizeof why), 0, "with network=bridge: %s", why);
}

static void walls(void)
{
    broken(STATUS, "CapEff:\t0000000000000000", "CapEff:\t0000000000000400", "CapEff");
    broken(STATUS, "CapPrm:\t0000000000000000", "CapPrm:\t0000000000000001", "CapPrm");
    broken(STATUS, "CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff", "CapBnd");
    broken(STATUS, "CapInh:\t0000000000000000", "CapInh:\t8000000000000000", "CapInh");
    broken(STATUS, "CapAmb:\t0000000000000000", "CapAmb:\t", "CapAmb");
    broken(STATUS, "NoNewPrivs:\t1", "NoNewPrivs:\t0", "no_new_privs");
    broken(STATUS, "NoNewPrivs:\t1\n", "", "no_new_privs");
    broken(STATUS, "Seccomp:\t2", "Seccomp:\t0", "seccomp");
    broken(STATUS, "Uid:\t2000001\t2000001\t2000001", "Uid:\t2000001\t0\t2000001", "user");
    broken(STATUS, "Gid:\t2000001", "Gid:\t0", "group");
    broken(STATUS, "Groups:\t2000001 ", "Groups:\t0 2000001 ", "supplementary");
    broken(STATUS, "Groups:\t2000001 ", "Groups:\t999 ", "supplementary");
    broken(ID, "2000001 2000001 2000001", "2000001 2000001 10", "ids");
    broken(ID, "2000001 2000001 2000001", "0 0", "ids");
    broken(ID, "2000001 2000001 2000001", "2000001", "ids");
    broken(MOUNTS, "/ / ro,relatime", "/ / rw,relatime", "root file system");
    broken(MOUNTS, "/tmp rw,nosuid,nodev,noexec", "/tmp rw,nosuid,nodev", "/tmp");
    broken(MOUNTS, "/tmp rw,nosuid,nodev,", "/tmp rw,nodev,", "/tmp");
    broken(MOUNTS, "/tmp rw,nosuid,nodev,", "/tmp rw,nosuid,", "/tmp");
    broken(MOUNTS, "size=65536k,nr_inodes=8192", "nr_inodes=8192", "/tmp");
    broken(MOUNTS, "size=65536k,nr_inodes=8192", "size=65600k,nr_inodes=8192", "/tmp");
    broken(MOUNTS, "size=65536k,nr_inodes=8192", "size=65536k,nr_inodes=8193", "/tmp");
    broken(MOUNTS, "size=65536k,nr_inodes=8192", "size=65536k", "/tmp");
    broken(MOUNTS, "92 75 0:48 / /tmp rw", "92 75 0:48 /host /tmp rw", "/tmp");
    broken(MOUNTS, "tmpfs shm rw,size=16384k", "tmpfs shm rw,size=65536k", "/dev/shm");
    broken(MOUNTS, "/dev/mqueue rw,nosuid,nodev,noexec", "/dev/mqueue rw", "/dev/mqueue");
    broken(MOUNTS, "- tmpfs tmpfs rw,size=65536k,mode=755", "- devtmpfs udev rw,mode=755", "/dev");
    broken(MOUNTS, "/proc rw,nosuid,nodev,noexec", "/proc rw", "/proc");
    broken(MOUNTS, "/proc/sys ro", "/proc/other ro", "/proc/sys");
    broken(MOUNTS, "- sysfs sysfs ro\n", "- sysfs sysfs ro\n1 1 0:3 / /sys/x rw - sysfs sysfs rw\n",
           "/sys/x");
    broken(MOUNTS, "/data ro,nosuid,nodev,noexec,relatime - tmpfs", "/data rw - ext4", "/data");
    broken(
        MOUNTS,
        "93 75 0:49 / /data ro,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,size=64k,mode=555\n",
        "", "volume /data");
    broken(MOUNTS, "54 76", "96 75 0:9 /docker.sock /run/docker.sock ro - tmpfs tmpfs rw\n54 76",
           "/run/docker.sock");
    broken(MOUNTS, "54 76", "96 75 8:1 /a /mnt\\040b rw - ext4 /dev/sda rw\n54 76", "/mnt b");
    broken(MOUNTS, "54 76", "96 75 0:9 / /run rw - tmpfs tmpfs rw\n54 76", "/run");
    broken(MOUNTS, "54 76", "96 75 0:5 /sda /dev/sda rw - devtmpfs udev rw\n54 76", "/dev/sda");
    broken(NET, "    lo:", "  eth0:", "network device (eth0)");
    broken(ROUTE, "Mask\n", "Mask\neth0\t00000000\n", "routes");
    broken(NS, "pid 5\n", "", "pid namespace");
    broken(CGROUP, "memory.max 536870912", "memory.max max", "memory limit");
    broken(CGROUP, "memory.max 536870912", "memory.max 536870913", "memory limit");
    broken(CGROUP, "memory.max 536870912\n", "", "memory limit");
    broken(CGROUP, "memsw 536870912", "memsw 1073741824", "swap");
    broken(CGROUP, "memsw 536870912", "memory.swap.max 1", "swap");
    broken(CGROUP, "memsw 536870912", "memory.swap.max max", "swap");
    broken(CGROUP, "cpu.max 50000 100000", "cpu.max max 100000", "CPU");
    broken(CGROUP, "cpu.max 50000 100000", "cpu.max 60000 100000", "CPU");
    broken(CGROUP, "cpu.max 50000 100000", "cpu.max 50000 0", "CPU");
    broken(CGROUP, "cpu.max 50000 100000\n", "", "CPU");
    broken(CGROUP, "pids.max 128", "pids.max max", "process limit");
    broken(CGROUP, "pids.max 128", "pids.max 129", "process limit");
    broken(LIMITS, "512                  512", "512                  1024", "Max open files");
    broken(LIMITS, "Max core file size        0                    0",
           "Max core file size        0                    unlimited", "Max core");
    broken(MASKED, "/proc/keys empty", "/proc/keys readable",
           "/proc/keys is not masked (readable)");
    broken(MASKED, "/proc/sys readonly", "/proc/sys writable",
           "/proc/sys is not masked (writable)");
    broken(OOM, "500", "0", "oom_score_adj");
    broken(OOM, "500", "-500", "oom_score_adj");
}

static void hostile(void)
{
    char why[4096], ns[64];
    ms_limits l = base(true);
    const char *items[ITEMS];
    for (size_t i = 0; i < ITEMS; i++) {
        memcpy(items, docker, sizeof items);
        items[i] = NULL;
        (void)snprintf(ns, sizeof ns, "\"%s\" was not reported", names[i]);
        ok(verify(items, &l, &on_docker, why, sizeof why) && strstr(why, ns), "no %s: %s", names[i],
           why);
    }
    memset(items, 0, sizeof items);
    ok(verify(items, &l, &on_docker, why, sizeof why) && strstr(why, "..."), "nothing: %s", why);
    memcpy(items, docker, sizeof items);
    items[MOUNTS] = DOCKER_MOUNTS "garbage\n";
    ok(verify(items, &l, &on_docker, why, sizeof why) && strstr(why, "mount table"), "%s", why);
    /* A namespace of this process, and so of the machine that the engine shares with it. */
    ssize_t n = readlink("/proc/self/ns/net", ns, sizeof ns - 1);
    char *inode = n > 0 ? (ns[n] = 0, strchr(ns, '[')) : NULL;
    char *text =
        inode ? ms_asprintf("cgroup 1\nipc 2\nmnt 3\nnet %s\npid 5\nuts 8\n", inode + 1) : NULL;
    if (text) {
        *strchr(text, ']') = ' ';
        memcpy(items, docker, sizeof items);
        items[NS] = text;
        ok(verify(items, &l, &on_docker, why, sizeof why) && strstr(why, "net namespace is the"),
           "%s", why);
        moonsand_engine_facts far = on_docker;
        far.local = false;
        is_int(verify(items, &l, &far, why, sizeof why), 0, "on another machine: %s", why);
    }
    ms_free(text);
    ms_probe *p = NULL;
    is_int(ms_probe_new(&p, NULL), 0, "probe");
    is_int(ms_probe_add(p, "nonsense", "x", 1, NULL), -1, "unknown item");
    is_int(ms_probe_add(p, "id", "a\0b", 3, NULL), -1, "binary item");
    is_int(ms_probe_add(p, "id", "1 1", 3, NULL), 0, "item");
    is_int(ms_probe_add(p, "id", "1 1", 3, NULL), -1, "item twice");
    ms_probe_free(p);
    ms_probe_free(NULL);
}

int main(void)
{
    good();
    walls();
    hostile();
    return done_testing();
}
