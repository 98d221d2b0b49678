/* A journal's file, its lock, and writing. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "loop.h"
#include "mem.h"

#define LOCKS_MAX ((size_t)4 << 20)
#define OPEN_FLAGS (O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* ---- opening ---- */

/* The process that holds a lock on the file, 0 when the kernel does not tell: it lives in another
 * process namespace, or the file system has numbers of its own. */
static long holder(const struct stat *st)
{
    ms_buf b = {0};
    long pid = 0;
    if (ms_file_read(&b, "/proc/locks", LOCKS_MAX, NULL) == 0 && b.data != NULL) {
        for (const char *p = b.data; p != NULL && pid == 0; p = strchr(p, '\n')) {
            long of;
            unsigned major, minor;
            unsigned long long inode;
            p += *p == '\n';
            if (sscanf(p, "%*d: FLOCK %*s %*s %ld %x:%x:%llu", &of, &major, &minor, &inode) == 4 &&
                inode == st->st_ino && makedev(major, minor) == st->st_dev && of > 0)
                pid = of;
        }
    }
    ms_buf_free(&b);
    return pid;
}

static int lock(const moonsand_journal *j, const struct stat *st, moonsand_error **err)
{
    while (flock(j->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return ms_fail_errno(err, errno,
                                 "%s cannot be locked against a second writer; give a path on "
                                 "another file system",
                                 j->path);
        long pid = holder(st);
        char who[64] = "another process";
        if (pid == (long)getpid())
            snprintf(who, sizeof who, "this process (%ld)", pid);
        else if (pid != 0)
            snprintf(who, sizeof who, "process %ld", pid);
        return ms_fail(err, MOONSAND_E_CONFLICT,
                       "%s is being written by %s; wait for its end, or give another path", j->path,
                       who);
    }
    return 0;
}

/* The name of a new file must outlive a power failure as well as what is in it. */
static int sync_directory(const moonsand_journal *j, moonsand_error **err)
{
    const char *slash = strrchr(j->path, '/');
    char *dir = slash == NULL      ? ms_strdup(".")
                : slash == j->path ? ms_strdup("/")
                                   : ms_strndup(j->path, (size_t)(slash - j->path));
    if (dir == NULL)
        return ms_fail_nomem(err);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A directory may be searchable and not readable, and some file systems cannot do it. */
    int rc = fd >= 0 && fsync(fd) != 0 && errno == EIO ? ms_fail_errno(err, errno, "%s", dir) : 0;
    if (fd >= 0)
        close(fd);
    ms_free(dir);
    return rc;
}

static int open_file(moonsand_journal *j, moonsand_error **err)
{
    bool read_only = j->mode == MOONSAND_JOURNAL_READ;
    int how = read_only ? O_RDONLY : O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW;
    j->fd = open(j->path, OPEN_FLAGS | how, 0666);
    if (j->fd < 0) {
        int why = errno;
        if (why == ELOOP)
            return ms_fail(err, MOONSAND_E_INVALID,
                           "%s is a symbolic link, and no journal is written through one; give the "
                           "path that it leads to",
                           j->path);
        if (why == EISDIR || why == ENXIO)
            return ms_fail(err, MOONSAND_E_INVALID, "%s is not a regular file", j->path);
        return ms_fail_errno(err, why, "%s", j->path);
    }
    struct stat st;
    if (fstat(j->fd, &st) != 0)
        return ms_fail_errno(err, errno, "%s", j->path);
    if (!S_ISREG(st.st_mode))
        return ms_fail(err, MOONSAND_E_INVALID, "%s is not a regular file", j->path);
    if (read_only)
        return 0;
    /* Its size counts only when nobody else writes any more. */
    if (lock(j, &st, err) != 0)
        return -1;
    if (fstat(j->fd, &st) != 0)
        return ms_fail_errno(err, errno, "%s", j->path);
    j->at_end = st.st_size == 0;
    if (j->mode == MOONSAND_JOURNAL_CREATE && !j->at_end)
        return ms_fail(err, MOONSAND_E_CONFLICT,
                       "%s exists and holds %lld bytes; resume that sweep, or give another path",
                       j->path, (long long)st.st_size);
    return j->at_end && j->sync_ns != UINT64_MAX ? sync_directory(j, err) : 0;
}

int moonsand_journal_open(moonsand_journal **out, const char *path,
                          const moonsand_journal_options *options, moonsand_error **err)
{
    static const moonsand_journal_options defaults = MOONSAND_JOURNAL_OPTIONS_INIT;
    const moonsand_journal_options *o = options != NULL ? options : &defaults;
    *out = NULL;
    if (o->version != 1)
        return ms_fail(err, MOONSAND_E_INVALID, "moonsand_journal_options: version %u is unknown",
                       o->version);
    if (path == NULL || *path == '\0')
        return ms_fail(err, MOONSAND_E_INVALID, "a journal needs a path");
    moonsand_journal *j = ms_calloc(1, sizeof *j);
    if (j == NULL)
        return ms_fail_nomem(err);
    j->fd = -1;
    j->mode = o->mode;
    j->sync_ns = o->sync_ns != 0 ? o->sync_ns : (uint64_t)MS_S;
    j->synced_ns = ms_now_ns();
    j->path = ms_strdup(path);
    if (j->path == NULL)
        ms_fail_nomem(err);
    if (j->path == NULL || open_file(j, err) != 0) {
        moonsand_journal_close(j, NULL);
        return -1;
    }
    *out = j;
    return 0;
}

/* ---- writing ---- */

/* What is behind the last whole line goes. */
static int cut(moonsand_journal *j, moonsand_error **err)
{
    if (j->f.torn == 0)
        return 0;
    int rc;
    do
        rc = ftruncate(j->fd, (off_t)j->f.bytes);
    while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return ms_fail_errno(err, errno, "%s: cutting off a torn line at byte %llu", j->path,
                             (unsigned long long)j->f.bytes);
    j->f.torn = 0;
    return 0;
}

/* The lock keeps away those who ask for it. An editor does not. */
static int still_ours(const moonsand_journal *j, moonsand_error **err)
{
    struct stat st;
    if (fstat(j->fd, &st) != 0)
        return ms_fail_errno(err, errno, "%s", j->path);
    if (st.st_nlink == 0)
        return ms_fail(err, MOONSAND_E_CONFLICT,
                       "%s was removed or replaced while it was written to; nothing more is",
                       j->path);
    if ((uint64_t)st.st_size != j->f.bytes + j->f.torn)
        return ms_fail(
            err, MOONSAND_E_CONFLICT,
            "%s was changed by somebody else while it was written to (%lld bytes instead "
            "of %llu); nothing more is",
            j->path, (long long)st.st_size, (unsigned long long)(j->f.bytes + j->f.torn));
    return 0;
}

/* The line and its end. On failure, the errno and in j->f.torn what the file has of it. */
static int put(moonsand_journal *j, const char *line, size_t len)
{
    char end = '\n';
    size_t done = 0;
    while (done <= len) {
        struct iovec v[2] = {{.iov_base = (void *)(uintptr_t)(line + done), .iov_len = len - done},
                             {.iov_base = &end, .iov_len = 1}};
        ssize_t n = writev(j->fd, v, 2);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            j->f.torn = done;
            return n < 0 ? errno : EIO;
        }
        done += (size_t)n;
    }
    return 0;
}

static int sync_data(moonsand_journal *j, moonsand_error **err)
{
    int rc = 0;
    while (j->sync_errno == 0 && (rc = fdatasync(j->fd)) != 0 && errno == EINTR)
        ;
    if (rc != 0)
        j->sync_errno = errno;
    if (j->sync_errno != 0)
        return ms_fail_errno(err, j->sync_errno,
                             "%s: what was written last may not outlive a power failure", j->path);
    j->unsynced = false;
    j->synced_ns = ms_now_ns();
    return 0;
}

int moonsand_journal_append(moonsand_journal *j, const char *line, size_t len, moonsand_error **err)
{
    if (j->mode == MOONSAND_JOURNAL_READ)
        return ms_fail(err, MOONSAND_E_INVALID, "%s is open for reading only", j->path);
    if (!j->at_end)
        return ms_fail(err, MOONSAND_E_INVALID, "%s was not read to its end", j->path);
    if (len == 0 || len > MOONSAND_JOURNAL_LINE_MAX)
        return ms_fail(err, MOONSAND_E_INVALID,
                       "a record of %zu bytes: it must have 1 to %zu bytes", len,
                       MOONSAND_JOURNAL_LINE_MAX);
    if (memchr(line, '\n', len) != NULL || !ms_journal_text(line, len))
        return ms_fail(err, MOONSAND_E_INVALID,
                       "a record must be one line of UTF-8 without a NUL byte");
    if (still_ours(j, err) != 0 || cut(j, err) != 0)
        return -1;
    int why = put(j, line, len);
    if (why != 0) {
        /* When even that fails it is tried again before the next record. */
        cut(j, NULL);
        return ms_fail_errno(err, why,
                             why == ENOSPC || why == EDQUOT
                                 ? "%s: the record was not kept, all before it is whole; make room"
                                 : "%s: the record was not kept, all before it is whole",
                             j->path);
    }
    j->f.bytes += len + 1;
    j->f.lines++;
    j->unsynced = true;
    if (j->sync_ns == UINT64_MAX ||
        (j->sync_ns > 1 && (uint64_t)(ms_now_ns() - j->synced_ns) < j->sync_ns))
        return 0;
    return sync_data(j, err);
}

int moonsand_journal_sync(moonsand_journal *j, moonsand_error **err)
{
    return j->unsynced ? sync_data(j, err) : 0;
}

const moonsand_journal_facts *moonsand_journal_get_facts(const moonsand_journal *j)
{
    return &j->f;
}

int moonsand_journal_close(moonsand_journal *j, moonsand_error **err)
{
    if (j == NULL)
        return 0;
    int rc = 0;
    if (j->unsynced) {
        cut(j, NULL);
        if (j->sync_ns != UINT64_MAX)
            rc = sync_data(j, err);
    }
    /* Some file systems tell only now that there was no room. */
    if (j->fd >= 0 && close(j->fd) != 0 && errno != EINTR && rc == 0 &&
        j->mode != MOONSAND_JOURNAL_READ)
        rc = ms_fail_errno(err, errno, "%s: what was written last may be lost", j->path);
    ms_free(j->buf);
    ms_free(j->path);
    ms_free(j);
    return rc;
}
