#include "download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "mem.h"

struct ms_download {
    int fd;
    char *path, *temp;
};

static void release(ms_download *d)
{
    if (d->fd >= 0)
        close(d->fd);
    ms_free(d->path);
    ms_free(d->temp);
    ms_free(d);
}

int ms_download_open(ms_download **out, const char *path, moonsand_error **err)
{
    *out = NULL;
    struct stat st;
    /* A rename would put a file where the device was. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return ms_fail(err, MOONSAND_E_INVALID, "%s is there and is no regular file", path);
    ms_download *d = ms_calloc(1, sizeof(*d));
    if (d == NULL)
        return ms_fail_nomem(err);
    d->path = ms_strdup(path);
    d->temp = ms_asprintf("%s.XXXXXX", path);
    d->fd = -1;
    if (d->path == NULL || d->temp == NULL) {
        release(d);
        return ms_fail_nomem(err);
    }
    d->fd = mkostemp(d->temp, O_CLOEXEC);
    if (d->fd < 0) {
        ms_fail_errno(err, errno, "cannot make %s", path);
        release(d);
        return -1;
    }
    *out = d;
    return 0;
}

int ms_download_write(ms_download *d, const void *p, size_t n, moonsand_error **err)
{
    if (ms_write_all(d->fd, p, n) != 0)
        return ms_fail_errno(err, errno, "cannot write %s", d->path);
    return 0;
}

int ms_download_finish(ms_download *d, moonsand_error **err)
{
    int e = close(d->fd) != 0 ? errno : 0;
    d->fd = -1;
    if (e == 0 && rename(d->temp, d->path) != 0)
        e = errno;
    if (e != 0) {
        unlink(d->temp);
        ms_fail_errno(err, e, "cannot write %s", d->path);
    }
    release(d);
    return e != 0 ? -1 : 0;
}

void ms_download_discard(ms_download *d)
{
    if (d == NULL)
        return;
    unlink(d->temp);
    release(d);
}
