#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "error.h"
#include "proto.h"
#include "python_blob.h"
#include "spec.h"

/* Programs do name localhost, and we tell Podman not to make its own /etc/hosts. (Docker replaces
 * the image's by an empty one when there is no network; nothing helps there.) */
static const char hosts[] = "127.0.0.1 localhost\n::1 localhost\n";

/* Equal input, equal bytes, so that an image's layer is the same wherever it is made. */
#define FIXED_TIME 1

static la_ssize_t on_write(struct archive *a, void *arg, const void *p, size_t n)
{
    if (ms_buf_add(arg, p, n)) {
        archive_set_error(a, ENOMEM, "out of memory");
        return -1;
    }
    return n > SSIZE_MAX ? -1 : (la_ssize_t)n;
}

static int put_entry(struct archive *a, const char *path, unsigned type, unsigned mode,
                     const void *data, size_t len)
{
    struct archive_entry *e = archive_entry_new();
    if (!e)
        return -1;
    archive_entry_set_pathname(e, path);
    archive_entry_set_filetype(e, type);
    archive_entry_set_perm(e, (mode_t)mode);
    archive_entry_set_uid(e, 0);
    archive_entry_set_gid(e, 0);
    archive_entry_set_mtime(e, FIXED_TIME, 0);
    archive_entry_set_size(e, (la_int64_t)len);
    int rc = archive_write_header(a, e) == ARCHIVE_OK ? 0 : -1;
    if (!rc && len && archive_write_data(a, data, len) != (la_ssize_t)len)
        rc = -1;
    archive_entry_free(e);
    return rc;
}

int ms_archive_agent(ms_buf *out, const void *agent, size_t len, moonsand_error **err)
{
    /* Relative: an engine unpacks it at "/" of the image. */
    static const char file[] = MS_AGENT_PATH_INSIDE, *const path = file + 1;
    static const char python[] = MS_PYTHON_DIR_INSIDE "/",
                      module[] = MS_PYTHON_DIR_INSIDE "/moonsand.py";
    char dir[sizeof file];
    size_t before = out->len, n = (size_t)(strrchr(path, '/') - path) + 1;
    memcpy(dir, path, n);
    dir[n] = 0;
    struct archive *a = archive_write_new();
    if (!a)
        return ms_fail_nomem(err);
    bool bad = archive_write_set_format_ustar(a) != ARCHIVE_OK ||
               archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
               archive_write_open(a, out, NULL, on_write, NULL) != ARCHIVE_OK ||
               put_entry(a, dir, AE_IFDIR, 0755, NULL, 0) ||
               put_entry(a, path, AE_IFREG, 0555, agent, len) ||
               put_entry(a, python + 1, AE_IFDIR, 0755, NULL, 0) ||
               put_entry(a, module + 1, AE_IFREG, 0444, ms_python_blob, ms_python_blob_len) ||
               put_entry(a, "etc/hosts", AE_IFREG, 0644, hosts, sizeof hosts - 1) ||
               archive_write_close(a) != ARCHIVE_OK;
    int rc = 0;
    if (bad) {
        const char *text = archive_error_string(a);
        rc = archive_errno(a) == ENOMEM || !text
                 ? ms_fail_nomem(err)
                 : ms_fail(err, MOONSAND_E_IO, "agent archive: %s", text);
    }
    /* Flushes even after a failure; so what it wrote is cut off only now. */
    archive_write_free(a);
    if (bad && out->data) {
        out->len = before;
        out->data[before] = 0;
    }
    return rc;
}
