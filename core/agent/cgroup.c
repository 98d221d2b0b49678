/* What the container's cgroup counts and allows, version 1 and 2. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"

/* From where the descriptor stands, as a string; the length, or -1. */
static ssize_t read_open(int fd, char *out, size_t size)
{
    size_t used = 0;
    ssize_t n = 0;
    while (used < size - 1) {
        n = read(fd, out + used, size - 1 - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    out[used] = 0;
    return n < 0 && used == 0 ? -1 : (ssize_t)used;
}

static int open_file(const char *path)
{
    return open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* A file's beginning as a string; its length, or -1. */
ssize_t read_file(const char *path, char *out, size_t size)
{
    int fd = open_file(path);
    if (fd < 0)
        return -1;
    ssize_t n = read_open(fd, out, size);
    close(fd);
    return n;
}

/* The path behind "N:controller:" in /proc/self/cgroup, "" when it is not there. */
static void own_path(const char *list, const char *controller, char *out, size_t size)
{
    out[0] = 0;
    size_t want = strlen(controller);
    for (const char *line = list; line != NULL && *line != 0;) {
        const char *names = strchr(line, ':');
        const char *path = names != NULL ? strchr(names + 1, ':') : NULL;
        const char *end = strchr(line, '\n');
        if (path == NULL)
            return;
        bool hit = want == 0 && path == names + 1;
        for (const char *p = names + 1; want > 0 && p < path;) {
            size_t n = strcspn(p, ",:");
            hit = hit || (n == want && memcmp(p, controller, n) == 0);
            p += n + 1;
        }
        if (hit) {
            size_t n = end != NULL ? (size_t)(end - path) - 1 : strlen(path + 1);
            if (n < size) {
                memcpy(out, path + 1, n);
                out[n] = 0;
            }
            return;
        }
        line = end != NULL ? end + 1 : NULL;
    }
}

int cgroup_version(void)
{
    return access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ? 2 : 1;
}

/* With a cgroup namespace of its own the container is at the mount's root, without one it is where
 * /proc/self/cgroup says, unless the engine mounted just that place. */
static int open_control(const char *controller, const char *name)
{
    char list[4096], own[1024], path[2048];
    const char *dir = cgroup_version() == 2 ? "" : controller;
    if (read_file("/proc/self/cgroup", list, sizeof list) < 0)
        list[0] = 0;
    own_path(list, dir, own, sizeof own);
    /* A path with ".." leads out of the namespace: the mount's root is nearer. */
    if (own[0] == '/' && own[1] != 0 && strstr(own, "/..") == NULL) {
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup/%s%s/%s", dir, own, name);
        int fd = open_file(path);
        if (fd >= 0)
            return fd;
    }
    (void)snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", dir, name);
    return open_file(path);
}

static ssize_t read_control(const char *controller, const char *name, char *out, size_t size)
{
    int fd = open_control(controller, name);
    if (fd < 0)
        return -1;
    ssize_t n = read_open(fd, out, size);
    close(fd);
    return n;
}

static uint64_t to_number(const char *text)
{
    uint64_t v = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
            return UINT64_MAX;
    return v;
}

/* The number after "key " at a line's start, 0 when there is none. */
static uint64_t keyed(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; line != NULL && *line != 0;) {
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return to_number(line + n + 1);
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
    return 0;
}

/* They are looked up once: a fork server's run takes less time than that. */
void cgroup_open(struct cgroup *g)
{
    bool v2 = cgroup_version() == 2;
    g->events = open_control("memory", v2 ? "memory.events" : "memory.oom_control");
    g->peak = open_control("memory", v2 ? "memory.peak" : "memory.max_usage_in_bytes");
    g->now = open_control("memory", v2 ? "memory.current" : "memory.usage_in_bytes");
    g->stat = open_control("memory", "memory.stat");
    g->pids = open_control("pids", "pids.events");
}

static bool read_again(int fd, char *out, size_t size)
{
    return fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 && read_open(fd, out, size) > 0;
}

void cgroup_read(const struct cgroup *g, struct counters *c)
{
    char text[4096];
    memset(c, 0, sizeof *c);
    if (read_again(g->events, text, sizeof text))
        c->oom_kills = keyed(text, "oom_kill");
    if (read_again(g->peak, text, sizeof text))
        c->memory_peak = to_number(text);
    if (read_again(g->pids, text, sizeof text))
        c->pids_refused = keyed(text, "max");
}

/* Files that were read stay in memory until somebody needs it, and are counted with the one who
 * read them first; so do the names of those that were looked for. Version 1 tells the kernel's own
 * memory only with these. */
static uint64_t not_reclaimable(const char *stat)
{
    if (cgroup_version() == 1)
        return keyed(stat, "total_rss") + keyed(stat, "total_shmem");
    uint64_t kernel = keyed(stat, "kernel"), names = keyed(stat, "slab_reclaimable");
    return keyed(stat, "anon") + keyed(stat, "shmem") + (kernel > names ? kernel - names : 0);
}

/* The details lag behind on machines of many processors, so that they may only say less. */
uint64_t cgroup_memory(const struct cgroup *g)
{
    char text[8192];
    uint64_t all = read_again(g->now, text, sizeof text) ? to_number(text) : 0;
    if (!read_again(g->stat, text, sizeof text))
        return all;
    uint64_t held = not_reclaimable(text);
    return held < all ? held : all;
}

static size_t add_line(char *out, size_t size, size_t used, const char *key, const char *value)
{
    int n = snprintf(out + used, size - used, "%s %.*s\n", key, (int)strcspn(value, "\n"), value);
    return n > 0 && (size_t)n < size - used ? used + (size_t)n : used;
}

static size_t describe(char *out, size_t size, size_t used, const char *controller,
                       const char *name, const char *key)
{
    char value[256];
    if (read_control(controller, name, value, sizeof value) <= 0)
        return used;
    return add_line(out, size, used, key, value);
}

size_t cgroup_describe(char *out, size_t size)
{
    bool v2 = cgroup_version() == 2;
    size_t used = add_line(out, size, 0, "version", v2 ? "2" : "1");
    if (v2) {
        used = describe(out, size, used, "", "memory.max", "memory.max");
        used = describe(out, size, used, "", "memory.swap.max", "memory.swap.max");
        used = describe(out, size, used, "", "cpu.max", "cpu.max");
        return describe(out, size, used, "", "pids.max", "pids.max");
    }
    char quota[64], period[64], both[160];
    used = describe(out, size, used, "memory", "memory.limit_in_bytes", "memory.max");
    used = describe(out, size, used, "memory", "memory.memsw.limit_in_bytes", "memsw");
    if (read_control("cpu", "cpu.cfs_quota_us", quota, sizeof quota) > 0 &&
        read_control("cpu", "cpu.cfs_period_us", period, sizeof period) > 0) {
        (void)snprintf(both, sizeof both, "%.*s %.*s", (int)strcspn(quota, "\n"), quota,
                       (int)strcspn(period, "\n"), period);
        used = add_line(out, size, used, "cpu.max", both);
    }
    return describe(out, size, used, "pids", "pids.max", "pids.max");
}
