#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "mem.h"

/* Each level holds a descriptor. */
#define MAX_DEPTH 200
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

/* One directory: its names, sorted, and how far we are. */
typedef struct level {
    int fd;
    ms_buf names;      /* each with its NUL */
    uint32_t *offsets; /* into names */
    size_t count, next;
    size_t path_len;      /* of the walk's path where this directory ends */
    unsigned char *state; /* of the directory; NULL at the top */
} level;

struct ms_walk {
    char *dir;
    const ms_ignore *ignore;
    size_t state_size;
    unsigned char *state; /* of the item that came last */
    level levels[MAX_DEPTH];
    size_t depth;
    char path[MS_PATH_MAX + 1];
    char target[MS_PATH_MAX + 1];
    bool enter; /* the directory that came last is to be entered */
    uint64_t excluded;
};

void ms_walk_name(char out[MS_WALK_NAME], const char *dir, const char *path)
{
    ms_printable(out, MS_WALK_NAME, dir, strlen(dir));
    size_t n = strlen(out);
    if (path[0] == '\0' || n + 2 > MS_WALK_NAME)
        return;
    out[n++] = '/';
    ms_printable(out + n, MS_WALK_NAME - n, path, strlen(path));
}

int ms_walk_fail(moonsand_error **err, int errnum, const char *dir, const char *path)
{
    char name[MS_WALK_NAME];
    ms_walk_name(name, dir, path);
    return ms_fail_errno(err, errnum, "%s", name);
}

static int fail(const ms_walk *w, int errnum, moonsand_error **err)
{
    return ms_walk_fail(err, errnum, w->dir, w->path);
}

static int refuse(const ms_walk *w, const char *why, moonsand_error **err)
{
    char name[MS_WALK_NAME];
    ms_walk_name(name, w->dir, w->path);
    return ms_fail(err, MOONSAND_E_INVALID, "%s: %s", name, why);
}

/* ---- one directory ---- */

static void level_close(level *l)
{
    if (l->fd >= 0)
        close(l->fd);
    ms_buf_free(&l->names);
    ms_free(l->offsets);
    ms_free(l->state);
    memset(l, 0, sizeof(*l));
    l->fd = -1;
}

static int by_bytes(const void *a, const void *b, void *names)
{
    const uint32_t *x = a, *y = b;
    return strcmp((const char *)names + *x, (const char *)names + *y);
}

static int add_name(level *l, size_t *cap, const char *name, moonsand_error **err)
{
    if (l->count == *cap) {
        size_t more = *cap != 0 ? 2 * *cap : 32;
        uint32_t *bigger = ms_realloc(l->offsets, more * sizeof(*bigger));
        if (bigger == NULL)
            return ms_fail_nomem(err);
        l->offsets = bigger;
        *cap = more;
    }
    if (l->names.len > UINT32_MAX - 4096 || ms_buf_add(&l->names, name, strlen(name) + 1) != 0)
        return ms_fail_nomem(err);
    l->offsets[l->count++] = (uint32_t)(l->names.len - strlen(name) - 1);
    return 0;
}

static int read_names(const ms_walk *w, level *l, moonsand_error **err)
{
    int copy = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    if (d == NULL) {
        int e = errno;
        if (copy >= 0)
            close(copy);
        return fail(w, e, err);
    }
    size_t cap = 0;
    int rc = 0, e = 0;
    while (rc == 0) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        e = errno;
        if (entry == NULL)
            break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = add_name(l, &cap, entry->d_name, err);
    }
    closedir(d);
    if (rc == 0 && e != 0)
        rc = fail(w, e, err);
    if (rc == 0 && l->count != 0)
        qsort_r(l->offsets, l->count, sizeof(*l->offsets), by_bytes, l->names.data);
    return rc;
}

/* Takes fd. */
static int push(ms_walk *w, int fd, moonsand_error **err)
{
    if (w->depth == MAX_DEPTH) {
        close(fd);
        return refuse(w, "is more than 200 directories deep", err);
    }
    level *l = &w->levels[w->depth++];
    memset(l, 0, sizeof(*l));
    l->fd = fd;
    l->path_len = strlen(w->path);
    if (w->depth > 1 && w->state_size != 0) {
        l->state = ms_malloc(w->state_size);
        if (l->state == NULL)
            return ms_fail_nomem(err);
        memcpy(l->state, w->state, w->state_size);
    }
    return read_names(w, l, err);
}

/* ---- the tree ---- */

int ms_walk_open(ms_walk **out, const char *dir, const ms_ignore *ignore, moonsand_error **err)
{
    *out = NULL;
    ms_walk *w = ms_calloc(1, sizeof(*w));
    if (w == NULL)
        return ms_fail_nomem(err);
    w->ignore = ignore;
    w->state_size = ignore != NULL ? ms_ignore_state_size(ignore) : 0;
    w->state = ms_malloc(w->state_size + 1);
    w->dir = ms_strdup(dir);
    if (w->dir == NULL || w->state == NULL) {
        ms_walk_close(w);
        return ms_fail_nomem(err);
    }
    /* The top itself is the caller's to name, also by a link. */
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 ? fail(w, errno, err) : push(w, fd, err)) {
        ms_walk_close(w);
        return -1;
    }
    *out = w;
    return 0;
}

void ms_walk_close(ms_walk *w)
{
    if (w == NULL)
        return;
    while (w->depth != 0)
        level_close(&w->levels[--w->depth]);
    ms_free(w->dir);
    ms_free(w->state);
    ms_free(w);
}

void ms_walk_pass_over(ms_walk *w)
{
    w->enter = false;
}

uint64_t ms_walk_excluded(const ms_walk *w)
{
    return w->excluded;
}

static int enter(ms_walk *w, const level *l, const char *name, moonsand_error **err)
{
    w->enter = false;
    int fd = openat(l->fd, name, OPEN_FLAGS | O_DIRECTORY);
    if (fd < 0)
        return errno == ENOENT ? 0 : fail(w, errno, err);
    return push(w, fd, err);
}

static int set_path(ms_walk *w, const level *l, const char *name, moonsand_error **err)
{
    size_t at = l->path_len, n = strlen(name);
    if (at + 1 + n >= MS_PATH_MAX)
        return refuse(w, "holds a path that is too long", err);
    if (at != 0)
        w->path[at++] = '/';
    memcpy(w->path + at, name, n + 1);
    return 0;
}

static int open_file(ms_walk *w, const level *l, const char *name, ms_walk_item *item,
                     moonsand_error **err)
{
    struct stat st;
    item->fd = openat(l->fd, name, OPEN_FLAGS);
    if (item->fd < 0)
        return errno == ENOENT ? 0 : fail(w, errno, err);
    int e = fstat(item->fd, &st) != 0 ? errno : 0;
    if (e == 0 && S_ISREG(st.st_mode)) {
        item->type = MS_WALK_FILE;
        item->size = (uint64_t)st.st_size;
        item->executable = st.st_mode & S_IXUSR;
        return 1;
    }
    close(item->fd);
    item->fd = -1;
    return e != 0 ? fail(w, e, err) : refuse(w, "changed while it was being read", err);
}

static int read_link(ms_walk *w, const level *l, const char *name, ms_walk_item *item,
                     moonsand_error **err)
{
    ssize_t n = readlinkat(l->fd, name, w->target, MS_PATH_MAX);
    if (n < 0)
        return errno == ENOENT ? 0 : fail(w, errno, err);
    w->target[n] = '\0';
    item->type = MS_WALK_SYMLINK;
    item->target = w->target;
    return 1;
}

/* 1: an item; 0: nothing to send; -1. */
static int look_at(ms_walk *w, const level *l, const char *name, ms_walk_item *item,
                   moonsand_error **err)
{
    struct stat st;
    if (set_path(w, l, name, err) != 0)
        return -1;
    /* Gone since the directory was read: as if it had never been there. */
    if (fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : fail(w, errno, err);
    if (w->ignore != NULL && ms_ignore_excludes(w->ignore, w->path, l->state, w->state)) {
        w->excluded++;
        w->enter = S_ISDIR(st.st_mode) && ms_ignore_may_keep_below(w->ignore, w->path);
        return 0;
    }
    if (S_ISREG(st.st_mode))
        return open_file(w, l, name, item, err);
    if (S_ISLNK(st.st_mode))
        return read_link(w, l, name, item, err);
    if (S_ISSOCK(st.st_mode))
        return 0;
    if (!S_ISDIR(st.st_mode))
        return refuse(w,
                      S_ISFIFO(st.st_mode) ? "is a fifo, which cannot be sent; exclude it in "
                                             ".dockerignore"
                                           : "is a device, which cannot be sent; exclude it in "
                                             ".dockerignore",
                      err);
    item->type = MS_WALK_DIRECTORY;
    w->enter = true;
    return 1;
}

int ms_walk_next(ms_walk *w, ms_walk_item *item, moonsand_error **err)
{
    while (w->depth != 0) {
        level *l = &w->levels[w->depth - 1];
        if (w->enter) {
            if (enter(w, l, l->names.data + l->offsets[l->next - 1], err) != 0)
                return -1;
            continue;
        }
        if (l->next == l->count) {
            level_close(l);
            w->depth--;
            continue;
        }
        *item = (ms_walk_item){.path = w->path, .fd = -1};
        int rc = look_at(w, l, l->names.data + l->offsets[l->next++], item, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}
