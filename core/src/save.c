#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "mem.h"
#include "moonsand.h"

#define PART_MAX 255
#define PATH_BYTES_MAX 4096

/* Names come from the program. run.c has checked them; what is written to disk is checked again
 * here, where the damage would be. One component at a time with O_NOFOLLOW needs no openat2: no
 * part is "..", so no link and no rename of a directory leads out. */

static bool part_next(const char **p, char part[PART_MAX + 1])
{
    size_t n = strcspn(*p, "/");
    if (n == 0 || n > PART_MAX || (n == 1 && (*p)[0] == '.') ||
        (n == 2 && (*p)[0] == '.' && (*p)[1] == '.'))
        return false;
    memcpy(part, *p, n);
    part[n] = 0;
    *p += n;
    return true;
}

static bool path_ok(const char *path)
{
    char part[PART_MAX + 1];
    if (!path || strlen(path) > PATH_BYTES_MAX)
        return false;
    for (;;) {
        if (!part_next(&path, part))
            return false;
        if (!*path)
            return true;
        path++;
    }
}

/* The directory of path's last part, made as needed; *last is that part. -1 and errno. */
static int open_parent(int top, const char *path, char last[PART_MAX + 1])
{
    int at = fcntl(top, F_DUPFD_CLOEXEC, 3);
    while (at >= 0 && part_next(&path, last) && *path) {
        path++;
        int next = -1;
        if (mkdirat(at, last, 0777) == 0 || errno == EEXIST)
            next = openat(at, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int why = errno;
        close(at);
        at = next;
        errno = why;
    }
    return at;
}

static int save_one(int top, const moonsand_artefact *a, const char *dir, moonsand_error **err)
{
    char last[PART_MAX + 1] = "", shown[256];
    ms_printable(shown, sizeof shown, a->path ? a->path : "", a->path ? strlen(a->path) : 0);
    if (!path_ok(a->path))
        return ms_fail(err, MOONSAND_E_INVALID, "artefact \"%s\": no such name is written below %s",
                       shown, dir);
    int parent = open_parent(top, a->path, last);
    if (parent < 0)
        return ms_fail_errno(err, errno, "artefact \"%s\": its directory in %s", shown, dir);
    int fd =
        openat(parent, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, a->mode & 0777);
    int why = errno, rc = fd < 0 ? -1 : 0;
    if (fd >= 0) {
        rc = ms_write_all(fd, a->data, a->len);
        why = errno;
        if (close(fd) && !rc) {
            rc = -1;
            why = errno;
        }
        /* Half a file would look like the whole. */
        if (rc)
            unlinkat(parent, last, 0);
    }
    close(parent);
    return rc ? ms_fail_errno(err, why, "artefact \"%s\" in %s", shown, dir) : 0;
}

int moonsand_result_save(const moonsand_result *result, const char *dir, moonsand_error **err)
{
    if (!result || !dir || !*dir)
        return ms_fail(err, MOONSAND_E_INVALID, "moonsand_result_save: no result or no directory");
    if (mkdir(dir, 0777) && errno != EEXIST)
        return ms_fail_errno(err, errno, "mkdir %s", dir);
    /* The caller's own directory may be a link; nothing below it is followed. */
    int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0)
        return ms_fail_errno(err, errno, "%s", dir);
    int rc = 0;
    for (size_t i = 0; !rc && i < result->artefact_count; i++)
        rc = save_one(top, &result->artefacts[i], dir, err);
    close(top);
    return rc;
}
