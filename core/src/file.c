#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

#define LINE_MAX_BYTES 65536

static int read_all(ms_buf *out, int fd, const char *path, size_t max, moonsand_error **err)
{
    size_t before = out->len;
    for (;;) {
        char piece[4096];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ms_fail_errno(err, errno, "%s", path);
        if (n == 0)
            return 0;
        if (out->len - before + (size_t)n > max)
            return ms_fail(err, MOONSAND_E_INVALID, "%s is longer than %zu bytes", path, max);
        if (ms_buf_add(out, piece, (size_t)n))
            return ms_fail_nomem(err);
    }
}

int ms_file_read(ms_buf *out, const char *path, size_t max, moonsand_error **err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return ms_fail_errno(err, errno, "%s", path);
    struct stat st;
    int rc;
    if (fstat(fd, &st))
        rc = ms_fail_errno(err, errno, "%s", path);
    else if (!S_ISREG(st.st_mode))
        rc = ms_fail(err, MOONSAND_E_INVALID, "%s is not a regular file", path);
    else
        rc = read_all(out, fd, path, max, err);
    close(fd);
    return rc;
}

ssize_t ms_file_peek(char *out, size_t size, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    size_t len = 0;
    ssize_t n;
    do {
        n = read(fd, out + len, size - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    } while ((n > 0 && len < size - 1) || (n < 0 && errno == EINTR));
    int why = errno;
    close(fd);
    errno = why;
    out[len] = 0;
    return n < 0 ? -1 : (ssize_t)len;
}

char *ms_file_line(const char *path)
{
    ms_buf b = {0};
    char *line = NULL;
    if (ms_file_read(&b, path, LINE_MAX_BYTES, NULL) == 0)
        line = ms_strndup(b.data ? b.data : "", b.data ? strcspn(b.data, "\n") : 0);
    ms_buf_free(&b);
    return line;
}

int ms_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int ms_file_write(const char *path, const char *data, size_t len, moonsand_error **err)
{
    char *temp = ms_asprintf("%s.new", path);
    if (!temp)
        return ms_fail_nomem(err);
    int rc = 0;
    /* Left by a writer that died; O_EXCL then makes sure that it is ours that we write to. */
    unlink(temp);
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = ms_fail_errno(err, errno, "%s", temp);
    } else {
        int failed = ms_write_all(fd, data, len) ? errno : 0;
        if (close(fd) && !failed)
            failed = errno;
        if (!failed && rename(temp, path))
            failed = errno;
        if (failed) {
            unlink(temp);
            rc = ms_fail_errno(err, failed, "%s", path);
        }
    }
    ms_free(temp);
    return rc;
}
