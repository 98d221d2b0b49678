/* Opening and making paths without following a link that somebody put there. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inside.h"

/* Where a path that the host names begins, and what is left of it. With a fork server all that the
 * agent touches lies in the run's own /tmp, which is no place in the agent's own tree. -1, EXDEV:
 * it does not. */
static int tree_of(const struct agent *a, const char **path)
{
    if (a->server.pid == 0)
        return AT_FDCWD;
    const char *p = *path;
    if (strncmp(p, "/tmp", 4) != 0 || (p[4] != 0 && p[4] != '/')) {
        errno = EXDEV;
        return -1;
    }
    p += 4;
    p += strspn(p, "/");
    *path = *p != 0 ? p : ".";
    return a->server.tmp_fd;
}

/* For directories that the host names, before the program exists: links of the image are fine. */
int make_dirs(const struct agent *a, const char *path)
{
    int tree = tree_of(a, &path);
    char part[MS_PATH_MAX];
    size_t n = strlen(path);
    if (tree == -1)
        return -1;
    if (n >= sizeof part) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (size_t i = 1; i <= n; i++) {
        if (i < n && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        (void)mkdirat(tree, part, 0755); /* openat() below says what is wrong, if anything */
    }
    return openat(tree, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Walks to the directory that holds the last part of path (relative to dir; cut into pieces) and
 * gives a descriptor of it, which may be dir itself. */
int open_parents(int dir, char *path, bool make, const char **last)
{
    int at = dir;
    for (;;) {
        char *slash = strchr(path, '/');
        if (slash == NULL) {
            *last = path;
            return at;
        }
        *slash = 0;
        if (make && mkdirat(at, path, 0755) < 0 && errno != EEXIST) {
            int err = errno;
            if (at != dir)
                close(at);
            errno = err;
            return -1;
        }
        int next = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int err = errno;
        if (at != dir)
            close(at);
        errno = err;
        if (next < 0)
            return -1;
        at = next;
        path = slash + 1;
    }
}

/* Opens an absolute path in which no part is a link. */
int open_plain(const struct agent *a, const char *path, int flags)
{
    int tree = tree_of(a, &path);
    char copy[MS_PATH_MAX];
    size_t used = 0;
    if (tree == -1)
        return -1;
    for (const char *p = path; *p != 0;) {
        size_t n = strcspn(p, "/");
        if (n > 0) {
            if (used + n + 2 > sizeof copy) {
                errno = ENAMETOOLONG;
                return -1;
            }
            if (used > 0)
                copy[used++] = '/';
            memcpy(copy + used, p, n);
            used += n;
        }
        p += n + (p[n] == '/' ? 1 : 0);
    }
    copy[used] = 0;
    int root = tree == AT_FDCWD ? open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                                : fcntl(tree, F_DUPFD_CLOEXEC, 3);
    if (root < 0)
        return -1;
    const char *last = NULL;
    int parent = open_parents(root, copy, false, &last);
    int fd = -1;
    if (parent >= 0)
        fd = openat(parent, used > 0 ? last : ".", flags | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    int err = errno;
    if (parent >= 0 && parent != root)
        close(parent);
    close(root);
    errno = err;
    return fd;
}
