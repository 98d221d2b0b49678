/* What the program leaves: the result file, and the files below the output directory. Nobody is
 * alive any more that could change them, but what they made is still hostile: everything is opened
 * without following links, judged by its descriptor, and counted. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inside.h"

#define REJECTED_MAX 256   /* frames; then one with reason "count" ends it */
#define VISITED_MORE 65536 /* entries looked at beyond those that may be taken */
#define OPEN_HOSTILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

struct level {
    int fd;
    long have, at;
    size_t path_len; /* of the path that leads here, without a slash at its end */
    _Alignas(8) char entries[4096];
};

struct walk {
    struct agent *a;
    int depth; /* levels in use */
    uint64_t count, bytes, rejected, visited;
    bool over;
    char path[MS_PATH_MAX + 512]; /* of the entry under way; longer ones are refused by name */
    struct level levels[MS_PATH_DEPTH];
};

static void reject(struct agent *a, const char *path, const char *reason)
{
    frame_begin(a, MS_F_REJECTED);
    frame_path(a, MS_T_PATH, path);
    frame_text(a, MS_T_REASON, reason);
    frame_end(a);
    out_flush(a);
}

static const char *open_reason(int err)
{
    if (err == ELOOP)
        return "symlink";
    return err == ENXIO || err == ENODEV || err == EOPNOTSUPP ? "special" : "unreadable";
}

/* Reads the whole file; -1: not as long as it was, or not readable (*reason). */
static int read_all(int fd, unsigned char *p, size_t size, const char **reason)
{
    size_t used = 0;
    for (;;) {
        unsigned char more;
        ssize_t n = used < size ? read(fd, p + used, size - used) : read(fd, &more, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            *reason = "unreadable";
            return -1;
        }
        if (n == 0 || used == size) {
            *reason = "changed";
            return n == 0 && used == size ? 0 : -1;
        }
        used += (size_t)n;
    }
}

void value_send(struct agent *a)
{
    static const char name[] = "result";
    if (a->request.value_file == NULL)
        return;
    int fd = open_plain(a, a->request.value_file, OPEN_HOSTILE);
    if (fd < 0) {
        if (errno != ENOENT)
            reject(a, name, open_reason(errno));
        return;
    }
    uint64_t most = a->request.value_max < MS_PROTO_MAX ? a->request.value_max : MS_PROTO_MAX;
    struct stat st;
    const char *reason = NULL;
    unsigned char *p = NULL;
    if (fstat(fd, &st) < 0) {
        reason = "unreadable";
    } else if (!S_ISREG(st.st_mode)) {
        reason = "special";
    } else if ((uint64_t)st.st_size > most) {
        reason = "size";
    } else {
        p = malloc((size_t)st.st_size + 1);
        if (p == NULL)
            reason = "unreadable";
        else if (read_all(fd, p, (size_t)st.st_size, &reason) == 0)
            reason = NULL;
    }
    close(fd);
    if (reason != NULL)
        reject(a, name, reason);
    else
        frame_raw(a, MS_F_VALUE, p, (size_t)st.st_size);
    free(p);
}

static void walk_reject(struct walk *w, const char *reason)
{
    if (w->rejected++ >= REJECTED_MAX) {
        reason = "count";
        w->over = true;
    }
    reject(w->a, w->path, reason);
}

static void artefact_end(struct agent *a, uint64_t size, const char *reason)
{
    frame_begin(a, MS_F_ARTEFACT_END);
    frame_number(a, MS_T_SIZE, size);
    if (reason != NULL)
        frame_text(a, MS_T_REASON, reason);
    frame_end(a);
    out_flush(a);
}

/* The size was judged before; a file that turns out longer is cut and said to have changed. */
static void send_file(struct walk *w, int fd, const struct stat *st)
{
    struct agent *a = w->a;
    frame_begin(a, MS_F_ARTEFACT);
    frame_text(a, MS_T_PATH, w->path);
    frame_number(a, MS_T_MODE, st->st_mode & 0777);
    frame_end(a);
    out_flush(a);
    uint64_t size = (uint64_t)st->st_size, sent = 0;
    const char *reason = NULL;
    for (;;) {
        frame_begin(a, MS_F_ARTEFACT_DATA);
        ssize_t n = read(fd, a->out.buf + MS_PROTO_HEAD, OUT_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            reason = "unreadable";
        else if (n == 0 ? sent != size : (uint64_t)n > size - sent)
            reason = "changed";
        if (n <= 0 || reason != NULL)
            break;
        a->out.len += (size_t)n;
        frame_end(a);
        out_flush(a);
        sent += (uint64_t)n;
    }
    w->bytes += sent;
    artefact_end(a, sent, reason);
}

static void descend(struct walk *w, int fd)
{
    if (w->depth == MS_PATH_DEPTH) {
        close(fd);
        walk_reject(w, "name"); /* whatever is in there would be too deep */
        return;
    }
    struct level *l = &w->levels[w->depth++];
    l->fd = fd;
    l->have = l->at = 0;
    l->path_len = strlen(w->path);
}

static void ascend(struct walk *w)
{
    w->depth--;
    close(w->levels[w->depth].fd);
}

/* Whether there may be one more file of this size; else says why not. */
static bool may_take(struct walk *w, const struct stat *st)
{
    const struct request *r = &w->a->request;
    if (w->count >= r->artefact_count_max) {
        w->over = true;
        reject(w->a, w->path, "count");
        return false;
    }
    if ((uint64_t)st->st_size > r->artefact_bytes_max - w->bytes) {
        walk_reject(w, "size");
        return false;
    }
    return true;
}

static void visit(struct walk *w, const struct level *l, const char *name)
{
    if (w->visited++ >= w->a->request.artefact_count_max + VISITED_MORE) {
        w->over = true;
        reject(w->a, w->path, "count");
        return;
    }
    if (!ms_proto_path_ok(w->path, strlen(w->path))) {
        walk_reject(w, "name");
        return;
    }
    int fd = openat(l->fd, name, OPEN_HOSTILE);
    if (fd < 0) {
        walk_reject(w, open_reason(errno));
        return;
    }
    struct stat st;
    if (fstat(fd, &st) < 0) {
        walk_reject(w, "unreadable");
    } else if (S_ISDIR(st.st_mode)) {
        descend(w, fd);
        return;
    } else if (!S_ISREG(st.st_mode)) {
        walk_reject(w, "special");
    } else if (may_take(w, &st)) {
        w->count++;
        send_file(w, fd, &st);
    }
    close(fd);
}

/* The next entry of the innermost directory, or one level up. */
static void walk_step(struct walk *w)
{
    struct level *l = &w->levels[w->depth - 1];
    if (l->at >= l->have) {
        l->have = syscall(SYS_getdents64, l->fd, l->entries, sizeof l->entries);
        l->at = 0;
        if (l->have < 0) {
            w->path[l->path_len] = 0;
            walk_reject(w, "unreadable");
        }
        if (l->have <= 0) {
            ascend(w);
            return;
        }
    }
    const struct entry *e = (const struct entry *)(const void *)(l->entries + l->at);
    l->at += e->len;
    if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
        return;
    size_t used = l->path_len, n = strlen(e->name);
    if (used > 0)
        w->path[used++] = '/';
    memcpy(w->path + used, e->name, n + 1); /* a good path, a slash and a name fit */
    visit(w, l, e->name);
}

void artefacts_send(struct agent *a)
{
    if (a->output_fd < 0)
        return;
    struct stat st;
    if (fstat(a->output_fd, &st) == 0 && st.st_nlink == 0) {
        /* The program removed the directory; perhaps it made it anew. */
        close(a->output_fd);
        a->output_fd = open_plain(a, a->request.output_dir, OPEN_HOSTILE | O_DIRECTORY);
        if (a->output_fd < 0)
            return;
    }
    struct walk *w = calloc(1, sizeof *w);
    if (w == NULL) {
        reject(a, "output", "unreadable");
        return;
    }
    w->a = a;
    descend(w, a->output_fd);
    a->output_fd = -1;
    while (w->depth > 0 && !w->over)
        walk_step(w);
    while (w->depth > 0)
        ascend(w);
    free(w);
}
