/* What a run must leave as it found it, looked at before the first and after each. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inside.h"

#define HASH_START 0xcbf29ce484222325u
#define MEMORY_SLACK ((uint64_t)32 << 20)

/* FNV-1a: tells apart what differs; nobody can choose what is hashed and gain by it. */
static uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_file(uint64_t h, const char *path)
{
    char buf[4096];
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return hash_bytes(h, &errno, sizeof errno);
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            h = hash_bytes(h, buf, (size_t)n);
    close(fd);
    return h;
}

/* Calls seen(arg, entry) for each entry but "." and ".."; false: the directory cannot be read. */
static bool each_entry(const char *path, bool (*seen)(void *, const struct entry *), void *arg)
{
    _Alignas(8) char buf[8192];
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    long n;
    bool more = true;
    while (more && (n = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0)
        for (long at = 0; at < n && more;) {
            const struct entry *e = (const struct entry *)(const void *)(buf + at);
            at += e->len;
            if (strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0)
                more = seen(arg, e);
        }
    close(fd);
    return true;
}

static bool add_entry(void *arg, const struct entry *e)
{
    uint64_t *h = arg;
    *h = hash_bytes(*h, e->name, strlen(e->name) + 1);
    *h = hash_bytes(*h, &e->ino, sizeof e->ino);
    return true;
}

static uint64_t hash_dir(uint64_t h, const char *path)
{
    if (!each_entry(path, add_entry, &h))
        h = hash_bytes(h, "x", 1);
    return h;
}

struct process_list {
    pid_t *out;
    size_t room, n;
    pid_t one, other;
};

static bool add_process(void *arg, const struct entry *e)
{
    struct process_list *l = arg;
    if (e->name[0] < '1' || e->name[0] > '9')
        return true;
    pid_t pid = (pid_t)strtol(e->name, NULL, 10);
    if (pid == 1 || pid == l->one || pid == l->other)
        return true;
    if (l->n < l->room)
        l->out[l->n++] = pid;
    return l->n < l->room;
}

size_t list_processes(const struct agent *a, pid_t *out, size_t room)
{
    struct process_list l = {out, room, 0, a->server.pid, a->server.init_pid};
    (void)each_entry("/proc", add_process, &l);
    return l.n;
}

/* A program of the same user may slow down whom it can name. */
static uint64_t hash_schedule(uint64_t h, pid_t pid)
{
    cpu_set_t cpus;
    int how[2] = {getpriority(PRIO_PROCESS, (id_t)pid), sched_getscheduler(pid)};
    CPU_ZERO(&cpus);
    (void)sched_getaffinity(pid, sizeof cpus, &cpus);
    return hash_bytes(hash_bytes(h, how, sizeof how), &cpus, sizeof cpus);
}

void snapshot_take(const struct agent *a, struct snapshot *s)
{
    static const char *const ipc[] = {"/proc/sysvipc/msg", "/proc/sysvipc/sem",
                                      "/proc/sysvipc/shm"};
    pid_t pids[64];
    memset(s, 0, sizeof *s);
    s->mounts = hash_file(HASH_START, "/proc/self/mountinfo");
    s->tmp = hash_dir(HASH_START, "/tmp");
    s->shm = hash_dir(HASH_START, "/dev/shm");
    s->ipc = hash_dir(HASH_START, "/dev/mqueue");
    for (size_t i = 0; i < sizeof ipc / sizeof *ipc; i++)
        s->ipc = hash_file(s->ipc, ipc[i]);
    s->keepers = hash_schedule(hash_schedule(HASH_START, 0), a->server.pid);
    s->memory = cgroup_memory(&a->cgroup);
    s->descriptors = a->server.descriptors;
    s->processes = list_processes(a, pids, sizeof pids / sizeof *pids);
}

/* RETIRE's reason, NULL when all is as it was. */
const char *snapshot_odd(const struct snapshot *first, const struct snapshot *now)
{
    uint64_t quarter = first->memory / 4;
    if (now->mounts != first->mounts)
        return "mounts";
    if (now->tmp != first->tmp)
        return "tmp";
    if (now->shm != first->shm)
        return "shm";
    if (now->ipc != first->ipc)
        return "ipc";
    if (now->processes != first->processes || now->keepers != first->keepers)
        return "processes";
    if (now->descriptors != first->descriptors)
        return "descriptors";
    if (now->memory > first->memory + (quarter > MEMORY_SLACK ? quarter : MEMORY_SLACK))
        return "memory";
    return NULL;
}
