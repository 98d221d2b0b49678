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

/* What cannot be read is empty: most often the process has just gone. */
static int read_proc(ms_buf *out, pid_t pid, const char *name, moonsand_error **err)
{
    char path[64];
    moonsand_error *why = NULL;
    snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
    int rc = ms_file_read(out, path, 1 << 20, &why);
    bool nomem = moonsand_error_code(why) == MOONSAND_E_NOMEM;
    moonsand_error_free(why);
    if (rc)
        ms_buf_free(out);
    return nomem ? ms_fail_nomem(err) : 0;
}

/* Fields of stat after the name, which may hold anything, also ")" and spaces. */
static bool read_stat(pid_t pid, process *out)
{
    char path[64], text[2048], state = 'X';
    long parent = 0;
    unsigned long long start = 0;
    const char *p = NULL;
    memset(out, 0, sizeof *out);
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (ms_file_peek(text, sizeof text, path) > 0)
        p = strrchr(text, ')');
    if (!p || sscanf(p + 1,
                     " %c %ld %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                     "%llu",
                     &state, &parent, &start) != 3)
        return false;
    if (state == 'Z' || state == 'X')
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

static int check_leftover(process *p, const char *const *words, moonsand_error **err)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%ld", (long)p->pid);
    if (p->pid == getpid() || stat(path, &st) || (geteuid() != 0 && st.st_uid != geteuid()))
        return 0;
    ms_buf b = {0};
    if (read_proc(&b, p->pid, "cmdline", err))
        return -1;
    if (b.len > 0 && engine_program(b.data))
        for (size_t i = 0; i < b.len && !p->doomed; i += strlen(b.data + i) + 1)
            for (const char *const *w = words; *w && !p->doomed; w++)
                p->doomed = has_word(b.data + i, *w);
    ms_buf_free(&b);
    return 0;
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

/* "libpod-<64 hex>", "<64 hex>", "docker-<64 hex>.scope". */
static bool container_cgroup(const char *path)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    for (; *base; base++)
        if (strspn(base, "0123456789abcdef") >= 64)
            return true;
    return false;
}

/* Notes where a container's process is, since its runtime will not be there to remove the groups.
 */
static int note_cgroups(ms_buf *out, pid_t pid)
{
    ms_buf b = {0};
    char *save = NULL;
    int rc = 0;
    if (read_proc(&b, pid, "cgroup", NULL) == 0 && b.data)
        for (char *line = strtok_r(b.data, "\n", &save); line && rc == 0;
             line = strtok_r(NULL, "\n", &save)) {
            char *at = strchr(line, ':'), *path = at ? strchr(at + 1, ':') : NULL;
            if (!path || !container_cgroup(path) || strstr(path, "/../"))
                continue;
            *path++ = 0;
            at++;
            at += strncmp(at, "name=", 5) == 0 ? 5 : 0;
            rc = ms_buf_addf(out, "/sys/fs/cgroup/%s%s\n", at, path);
            if (rc == 0 && *at == 0)
                rc = ms_buf_addf(out, "/sys/fs/cgroup/unified%s\n", path);
        }
    ms_buf_free(&b);
    return rc;
}

/* rmdir refuses a group that anybody is still in. */
static void remove_cgroups(ms_buf *list)
{
    char *save = NULL;
    for (char *dir = list->data ? strtok_r(list->data, "\n", &save) : NULL; dir;
         dir = strtok_r(NULL, "\n", &save))
        rmdir(dir);
    ms_buf_free(list);
}

/* How many there were. */
static int kill_doomed(const table *t)
{
    int count = 0;
    ms_buf cgroups = {0};
    for (size_t i = 0; i < t->n; i++) {
        const process *p = &t->at[i];
        if (!p->doomed || p->pid == getpid())
            continue;
        note_cgroups(&cgroups, p->pid);
        send_signal(p->pid, p->start, SIGKILL);
        count++;
    }
    int64_t until = ms_now_ns() + GONE_NS;
    for (size_t i = 0; i < t->n; i++)
        if (t->at[i].doomed && t->at[i].pid != getpid())
            wait_gone(t->at[i].pid, t->at[i].start, until - ms_now_ns());
    remove_cgroups(&cgroups);
    return count;
}

/* How many there were, or -1. */
static int kill_round(const char *const *words, moonsand_error **err)
{
    table t = {0};
    int rc = list_processes(&t, err);
    for (size_t i = 0; i < t.n && rc == 0; i++)
        rc = check_leftover(&t.at[i], words, err);
    if (rc == 0) {
        doom_children(&t);
        rc = kill_doomed(&t);
    }
    ms_free(t.at);
    return rc;
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
