/* What the container looks like from inside, for the host to compare with what it asked for. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inside.h"
#include "masked.h"

#define ITEM_MAX ((size_t)65536)
#define PROBE_MAX (12 * (ITEM_MAX + 64)) /* all items; below MS_PROTO_MAX */

struct sheet {
    unsigned char *p;
    size_t len;
    size_t item; /* where the text of the item under way begins */
};

/* Room for the text of a new item, ITEM_MAX bytes; item_end() says how many are used. */
static char *item_begin(struct sheet *s, const char *name)
{
    size_t n = strlen(name) + 1;
    s->p[s->len] = MS_T_PROBE;
    memcpy(s->p + s->len + 5, name, n);
    s->item = s->len + 5 + n;
    return (char *)s->p + s->item;
}

static void item_end(struct sheet *s, size_t n)
{
    ms_put_u32(s->p + s->len + 1, (uint32_t)(s->item + n - s->len - 5));
    s->len = s->item + n;
}

static void item_file(struct sheet *s, const char *name, const char *path)
{
    ssize_t n = read_file(path, item_begin(s, name), ITEM_MAX);
    item_end(s, n > 0 ? (size_t)n : 0);
}

static size_t line(char *out, size_t used, const char *key, const char *value)
{
    int n = snprintf(out + used, ITEM_MAX - used, "%s %s\n", key, value);
    return n > 0 && (size_t)n < ITEM_MAX - used ? used + (size_t)n : used;
}

static void item_namespaces(struct sheet *s)
{
    static const char *const names[] = {"cgroup", "ipc",  "mnt",  "net",
                                        "pid",    "time", "user", "uts"};
    char *out = item_begin(s, "ns");
    size_t used = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64], link[64];
        (void)snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        ssize_t n = readlink(path, link, sizeof link - 1);
        if (n <= 0)
            continue;
        link[n] = 0;
        char *inode = strchr(link, '[');
        if (inode == NULL)
            continue;
        inode++;
        inode[strcspn(inode, "]")] = 0;
        used = line(out, used, names[i], inode);
    }
    item_end(s, used);
}

static void item_identity(struct sheet *s)
{
    char *out = item_begin(s, "id");
    gid_t groups[256];
    int count = getgroups((int)(sizeof groups / sizeof *groups), groups);
    int n = snprintf(out, ITEM_MAX, "%u %u", (unsigned int)getuid(), (unsigned int)getgid());
    size_t used = n > 0 ? (size_t)n : 0;
    for (int i = 0; i < count; i++) {
        n = snprintf(out + used, ITEM_MAX - used, " %u", (unsigned int)groups[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    item_end(s, used);
}

/* Directories that an engine masks are covered by an empty one, files by /dev/null. */
static const char *readable_state(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? "missing" : "denied";
    struct stat st;
    const char *state = "denied";
    char buf[1024];
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        /* "." and ".." take 24 bytes each. */
        long n = syscall(SYS_getdents64, fd, buf, sizeof buf);
        state = n < 0 ? "denied" : n > 48 ? "readable" : "empty";
    } else {
        ssize_t n = read(fd, buf, 1);
        state = n < 0 ? "denied" : n > 0 ? "readable" : "empty";
    }
    close(fd);
    return state;
}

static const char *writable_state(const char *path)
{
    struct statvfs v;
    if (statvfs(path, &v) < 0)
        return errno == ENOENT || errno == ENOTDIR ? "missing" : "denied";
    return (v.f_flag & ST_RDONLY) != 0 ? "readonly" : "writable";
}

static void item_masked(struct sheet *s)
{
    static const char *const hidden[] = {MS_MASKED_DEFAULT, MS_MASKED_EXTENDED};
    /* Version 1 has a writable tmpfs, owned by root, on top of its read-only controllers. */
    const char *const fixed[] = {"/", "/sys",
                                 cgroup_version() == 2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory",
                                 MS_READONLY_PATHS};
    char *out = item_begin(s, "masked");
    size_t used = 0;
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        used = line(out, used, hidden[i], readable_state(hidden[i]));
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        used = line(out, used, fixed[i], writable_state(fixed[i]));
    item_end(s, used);
}

void probe_send(struct agent *a)
{
    struct sheet s = {malloc(PROBE_MAX), 0, 0};
    if (s.p == NULL)
        fail(a, "request", ENOMEM, "no memory for the self-check", NULL);
    item_file(&s, "status", "/proc/self/status");
    item_file(&s, "mounts", "/proc/self/mountinfo");
    item_file(&s, "net", "/proc/net/dev");
    item_file(&s, "route", "/proc/net/route");
    item_namespaces(&s);
    char *cgroup = item_begin(&s, "cgroup");
    item_end(&s, cgroup_describe(cgroup, ITEM_MAX));
    item_file(&s, "limits", "/proc/self/limits");
    item_identity(&s);
    item_masked(&s);
    item_file(&s, "oom_score_adj", "/proc/self/oom_score_adj");
    out_flush(a);
    frame_raw(a, MS_F_PROBE, s.p, s.len);
    free(s.p);
}
