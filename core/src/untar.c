/* Reads tar streams of engines and images, in memory and within bounds; see moonsand_untar_*. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>

#include "error.h"
#include "ignore.h"
#include "mem.h"

#define DEFAULT_ENTRIES 10000
#define DEFAULT_BYTES (64u << 20)
#define PIECE 16384

struct moonsand_untar {
    struct archive *archive;
    size_t entries_left, bytes_left;
    ms_buf path, data;
    moonsand_tar_entry entry;
};

static int failed(moonsand_untar *u, moonsand_error **err)
{
    const char *said = archive_error_string(u->archive);
    if (archive_errno(u->archive) == ENOMEM)
        return ms_fail_nomem(err);
    char text[256];
    ms_printable(text, sizeof(text), said != NULL ? said : "", said != NULL ? strlen(said) : 0);
    return ms_fail(err, MOONSAND_E_PROTOCOL, "not a tar stream that can be read: %s", text);
}

int moonsand_untar_open(moonsand_untar **out, const void *bytes, size_t len, size_t max_entries,
                        size_t max_bytes, moonsand_error **err)
{
    *out = NULL;
    moonsand_untar *u = ms_calloc(1, sizeof(*u));
    if (u == NULL)
        return ms_fail_nomem(err);
    u->entries_left = max_entries != 0 ? max_entries : DEFAULT_ENTRIES;
    u->bytes_left = max_bytes != 0 ? max_bytes : DEFAULT_BYTES;
    u->archive = archive_read_new();
    int rc = 0;
    if (u->archive == NULL)
        rc = ms_fail_nomem(err);
    else if (archive_read_support_format_tar(u->archive) != ARCHIVE_OK ||
             archive_read_open_memory(u->archive, bytes, len) != ARCHIVE_OK)
        rc = failed(u, err);
    if (rc != 0) {
        moonsand_untar_close(u);
        return -1;
    }
    *out = u;
    return 0;
}

void moonsand_untar_close(moonsand_untar *u)
{
    if (u == NULL)
        return;
    archive_read_free(u->archive);
    ms_buf_free(&u->path);
    ms_buf_free(&u->data);
    ms_free(u);
}

static int too_much(const char *what, moonsand_error **err)
{
    return ms_fail(err, MOONSAND_E_PROTOCOL, "the tar stream holds more %s than expected", what);
}

/* Not by the size that the header claims: what there is, is read, and no hole is filled for free.
 */
static int read_data(moonsand_untar *u, moonsand_error **err)
{
    for (;;) {
        char piece[PIECE];
        la_ssize_t n = archive_read_data(u->archive, piece, sizeof(piece));
        if (n == 0)
            return 0;
        if (n < 0)
            return failed(u, err);
        if ((size_t)n > u->bytes_left)
            return too_much("bytes", err);
        u->bytes_left -= (size_t)n;
        if (ms_buf_add(&u->data, piece, (size_t)n) != 0)
            return ms_fail_nomem(err);
    }
}

static moonsand_tar_type type_of(struct archive_entry *e)
{
    if (archive_entry_hardlink(e) != NULL)
        return MOONSAND_TAR_HARDLINK;
    switch (archive_entry_filetype(e)) {
    case AE_IFREG:
        return MOONSAND_TAR_FILE;
    case AE_IFDIR:
        return MOONSAND_TAR_DIRECTORY;
    case AE_IFLNK:
        return MOONSAND_TAR_SYMLINK;
    default:
        return MOONSAND_TAR_OTHER;
    }
}

/* Without the slashes that end a directory's. */
static int take_path(moonsand_untar *u, const char *path, moonsand_error **err)
{
    size_t n = path != NULL ? strlen(path) : 0;
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 0 || n >= MS_PATH_MAX)
        return ms_fail(err, MOONSAND_E_PROTOCOL,
                       "the tar stream has an entry without a usable name");
    u->path.len = 0;
    if (ms_buf_add(&u->path, path, n) != 0)
        return ms_fail_nomem(err);
    u->entry.path = u->path.data;
    return 0;
}

static int describe(moonsand_untar *u, struct archive_entry *e, moonsand_error **err)
{
    moonsand_tar_entry *t = &u->entry;
    *t = (moonsand_tar_entry){.type = type_of(e), .mode = (uint32_t)archive_entry_perm(e) & 07777};
    u->data.len = 0;
    if (take_path(u, archive_entry_pathname(e), err) != 0)
        return -1;
    if (t->type == MOONSAND_TAR_HARDLINK)
        t->target = archive_entry_hardlink(e);
    else if (t->type == MOONSAND_TAR_SYMLINK)
        t->target = archive_entry_symlink(e) != NULL ? archive_entry_symlink(e) : "";
    if (t->type != MOONSAND_TAR_FILE)
        return 0;
    if (read_data(u, err) != 0)
        return -1;
    t->data = u->data.data != NULL ? u->data.data : "";
    t->len = u->data.len;
    return 0;
}

int moonsand_untar_next(moonsand_untar *u, const moonsand_tar_entry **entry, moonsand_error **err)
{
    struct archive_entry *e;
    *entry = NULL;
    int rc = archive_read_next_header(u->archive, &e);
    if (rc == ARCHIVE_EOF)
        return 0;
    /* A warning is about what we do not ask for, or a name that is no text in this locale. */
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
        return failed(u, err);
    if (u->entries_left == 0)
        return too_much("entries", err);
    u->entries_left--;
    if (describe(u, e, err) != 0)
        return -1;
    *entry = &u->entry;
    return 0;
}
