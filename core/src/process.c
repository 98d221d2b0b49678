#include "process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "loop.h"

#define POLL_NS (10 * MS_MS)
#define GONE_NS (5 * MS_S)
/* New ones can appear while we kill (a shim that was being started), so look more than once. */
#define ROUNDS 8

typedef struct process {
    pid_t pid, parent;
    uint64_t start;
    bool doomed;
} process;

typedef struct table {
    process *at;
    size_t n, cap;
} table;

static void pause_a_little(void)
{
    struct timespec t = {0, POLL_NS};
    nanosleep(&t, NULL);
}

static int read_proc(ms_buf *out, pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
    return ms_file_read(out, path, 1 << 20, NULL);
}

/* Fields of stat after the name, which may hold anything, also ")" and spaces. */
static bool read_stat(pid_t pid, process *out)
{
    ms_buf b = {0};
    memset(out, 0, sizeof *out);
    char state = 'X';
    long parent = 0;
    unsigned long long start = 0;
    const char *p = NULL;
    if (read_proc(&b, pid, "stat") == 0 && b.data)
        p = strrchr(b.data, ')');
    if (p &&
        sscanf(p + 1,
               " %c %ld %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &state, &parent, &start) != 3)
        p = NULL;
    ms_buf_free(&b);
    if (!p || state == 'Z' || state == 'X')
        return false;
    *out = (process){.pid = pid, .parent = (pid_t)parent, .start = start};
    return true;
}

uint64_t ms_process_start(pid_t pid)
{
    process p;
    return pid > 0 && read_stat(pid, &p) ? p.start : 0;
}

/* The pidfd is opened first and the start time compared after, so that no other process that got
 * the number in between is hit. */
static void send_signal(pid_t pid, uint64_t start, int sig)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (ms_process_start(pid) == start) {
        if (fd >= 0)
            syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
        else if (errno == ENOSYS)
            kill(pid, sig);
    }
    if (fd >= 0)
        close(fd);
}

static bool wait_gone(pid_t pid, uint64_t start, int64_t ns)
{
    int64_t until = ms_now_ns() + ns;
    while (ms_process_start(pid) == start) {
        if (ms_now_ns() >= until)
            return false;
        pause_a_little();
    }
    return true;
}

void ms_process_end(pid_t pid, uint64_t start, int64_t grace_ns)
{
    if (pid <= 1 || start == 0)
        return;
    send_signal(pid, start, SIGTERM);
    if (wait_gone(pid, start, grace_ns))
        return;
    send_signal(pid, start, SIGKILL);
    wait_gone(pid, start, GONE_NS);
}

static int add_process(table *t, const process *p, moonsand_error **err)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 256;
        process *at = ms_realloc(t->at, cap * sizeof *at);
        if (!at)
            return ms_fail_nomem(err);
        t->at = at;
        t->cap = cap;
    }
    t->at[t->n++] = *p;
    return 0;
}

static int list_processes(table *t, moonsand_error **err)
{
    DIR *d = opendir("/proc");
    if (!d)
        return ms_fail_errno(err, errno, "/proc");
    int rc = 0;
    const struct dirent *e;
    while (rc == 0 && (e = readdir(d)) != NULL) {
        char *end;
        process p;
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        long pid = strtol(e->d_name, &end, 10);
        if (*end == 0 && pid > 1 && read_stat((pid_t)pid, &p))
            rc = add_process(t, &p, err);
    }
    closedir(d);
    return rc;
}

/* Only programs that an engine is made of: a user's editor or test may well name the directory. */
static bool engine_program(const char *argv0)
{
    static const char *const names[] = {
        "dockerd",        "containerd",   "docker-proxy", "docker-init", "conmon",
        "podman",         "runc",         "crun",         "catatonit",   "slirp4netns",
        "fuse-overlayfs", "rootlessport", "aardvark-dns", "netavark",    NULL};
    const char *base = strrchr(argv0, '/');
    base = base ? base + 1 : argv0;
    if (strncmp(base, "containerd-shim", 15) == 0)
        return true;
    for (size_t i = 0; names[i]; i++)
        if (strcmp(base, names[i]) == 0)
            return true;
    return false;
}

/* A word counts when it is a whole path component or name: "/a/b" is not in "/a/bc". */
static bool has_word(const char *arg, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = strstr(arg, word); p; p = strstr(p + 1, word)) {
        bool starts = p == arg || p[-1] == '=' || p[-1] == ':' || (p > arg + 2 && p[-1] == '/');
        if (starts && (p[n] == 0 || p[n] == '/' || p[n] == ',' || p[n] == ':'))
            return true;
    }
    return false;
}

static bool is_leftover(pid_t pid, const char *const *words)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%ld", (long)pid);
    if (pid == getpid() || stat(path, &st) || (geteuid() != 0 && st.st_uid != geteuid()))
        return false;
    ms_buf b = {0};
    bool hit = false;
    if (read_proc(&b, pid, "cmdline") == 0 && b.len > 0 && engine_program(b.data)) {
        for (size_t i = 0; i < b.len && !hit; i += strlen(b.data + i) + 1)
            for (const char *const *w = words; *w && !hit; w++)
                hit = has_word(b.data + i, *w);
    }
    ms_buf_free(&b);
    return hit;
}

/* What a shim or conmon has started is named by nothing but its parent. */
static void doom_children(table *t)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < t->n; i++)
            for (size_t j = 0; j < t->n && !t->at[i].doomed; j++)
                if (t->at[j].doomed && t->at[j].pid == t->at[i].parent)
                    t->at[i].doomed = more = true;
    }
}

/* How many there were, or -1. */
static int kill_round(const char *const *words, moonsand_error **err)
{
    table t = {0};
    int count = -1;
    if (list_processes(&t, err) == 0) {
        count = 0;
        for (size_t i = 0; i < t.n; i++)
            t.at[i].doomed = is_leftover(t.at[i].pid, words);
        doom_children(&t);
        for (size_t i = 0; i < t.n; i++) {
            if (!t.at[i].doomed || t.at[i].pid == getpid())
                continue;
            send_signal(t.at[i].pid, t.at[i].start, SIGKILL);
            count++;
        }
        int64_t until = ms_now_ns() + GONE_NS;
        for (size_t i = 0; i < t.n; i++)
            if (t.at[i].doomed && t.at[i].pid != getpid() && ms_now_ns() < until)
                wait_gone(t.at[i].pid, t.at[i].start, until - ms_now_ns());
    }
    ms_free(t.at);
    return count;
}

int ms_process_kill_leftovers(const char *const *words, moonsand_error **err)
{
    for (int i = 0; i < ROUNDS; i++) {
        int n = kill_round(words, err);
        if (n <= 0)
            return n;
    }
    return ms_fail(err, MOONSAND_E_IO, "processes of the engine at %s do not end", words[0]);
}

/* mountinfo writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *s)
{
    char *to = s;
    while (*s) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
            s[3] >= '0' && s[3] <= '7') {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = 0;
}

static void unmount_line(char *line, const char *dir)
{
    char *save = NULL, *field = strtok_r(line, " ", &save);
    for (int i = 0; i < 4 && field; i++)
        field = strtok_r(NULL, " ", &save);
    if (!field)
        return;
    unescape(field);
    size_t n = strlen(dir);
    if (strncmp(field, dir, n) == 0 && field[n] == '/')
        umount2(field, MNT_DETACH | UMOUNT_NOFOLLOW);
}

void ms_unmount_below(const char *dir)
{
    ms_buf b = {0};
    /* Later mounts lie on earlier ones, so the list is worked off from its end. */
    if (dir[0] == '/' && dir[1] && ms_file_read(&b, "/proc/self/mountinfo", 16u << 20, NULL) == 0) {
        while (b.len > 0) {
            char *nl;
            if (b.data[b.len - 1] == '\n')
                b.data[--b.len] = 0;
            nl = memrchr(b.data, '\n', b.len);
            char *line = nl ? nl + 1 : b.data;
            size_t start = (size_t)(line - b.data);
            unmount_line(line, dir);
            b.len = start;
        }
    }
    ms_buf_free(&b);
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *where)
{
    (void)st;
    (void)what;
    (void)where;
    remove(path);
    return 0;
}

void ms_remove_tree(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
