/* Emptying a directory that a hostile program filled. All that could change it is dead; what is
 * left is its shape: deep, wide, forbidden. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inside.h"

#define BUDGET_NS 2000000000u

struct wiping {
    int top;
    uint64_t until, moved;
};

/* A directory goes up to the top under a name of ours, so that however deep it lay there is no
 * depth to climb. */
static bool lift(struct wiping *w, int from, const char *name)
{
    char to[40];
    for (int tries = 0; tries < 100000; tries++) {
        (void)snprintf(to, sizeof to, ".wiped-%llu", (unsigned long long)w->moved++);
        if (syscall(SYS_renameat2, from, name, w->top, to, 1u /* RENAME_NOREPLACE */) == 0)
            return true;
        if (errno == EACCES) /* a directory's own ".." is written to, too */
            (void)!fchmodat(from, name, 0700, 0);
        else if (errno != EEXIST)
            return false;
    }
    return false;
}

static int open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && fchmodat(at, name, 0700, 0) == 0)
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        (void)fchmod(fd, 0700);
    return fd;
}

/* Unlinks what is in there; directories are lifted, or, in the top itself, emptied in turn. */
static bool empty(struct wiping *w, int dir)
{
    _Alignas(8) char buf[8192];
    bool again = true;
    while (again) {
        long n;
        again = false;
        if (lseek(dir, 0, SEEK_SET) < 0)
            return false;
        while ((n = syscall(SYS_getdents64, dir, buf, sizeof buf)) > 0)
            for (long at = 0; at < n;) {
                const struct entry *e = (const struct entry *)(const void *)(buf + at);
                at += e->len;
                if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
                    continue;
                if (now_ns() > w->until)
                    return false;
                again = true;
                if (unlinkat(dir, e->name, 0) == 0)
                    continue;
                if (errno != EISDIR && errno != EPERM)
                    return false;
                if (dir != w->top) {
                    if (!lift(w, dir, e->name))
                        return false;
                    continue;
                }
                int inner = open_dir(dir, e->name);
                bool good = inner >= 0 && empty(w, inner); /* one level: it lifts */
                if (inner >= 0)
                    close(inner);
                if (!good || unlinkat(dir, e->name, AT_REMOVEDIR) < 0)
                    return false;
            }
        if (n < 0)
            return false;
    }
    return true;
}

bool wipe(int dir)
{
    struct wiping w = {dir, now_ns() + BUDGET_NS, 0};
    (void)fchmod(dir, 01777); /* when it is ours, the program may have changed it */
    return empty(&w, dir);
}
