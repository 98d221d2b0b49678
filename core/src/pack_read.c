/* From a pack to a tar stream, piece by piece. Measuring and sending are the same work, so that
 * what was measured is what would be sent. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "pack.h"
#include "walk.h"

#define PIECE (256u << 10)
/* 2000-01-01: the same everywhere, and late enough for zip files, which begin in 1980. */
#define FIXED_TIME 946684800
#define END_BYTES 1024 /* of the two blocks that end an archive */
#define CHANGED_TEXT "what was to be sent has changed since it was measured"

struct ms_pack_reader {
    moonsand_pack *pack;
    bool send;
    struct archive *archive;
    struct archive_entry *entry;
    EVP_MD_CTX *hash;
    char sha256[MS_SHA256_HEX];
    size_t next;           /* entry */
    ms_walk *walk;         /* of the tree that is being read: entries[next] */
    const char *last_path; /* of the named entry before, for the directories above it */
    int fd;                /* of the file that is being read */
    uint64_t left;         /* of that file, or of data */
    const char *data;
    const char *host;           /* of that file: its tree's directory or itself */
    char path[MS_PATH_MAX + 1]; /* inside the archive, with a slash at the end for directories */
    char in_tree[MS_PATH_MAX + 1];
    char *piece;
    ms_buf out; /* what archive has written */
    size_t out_at;
    uint64_t bytes, given, files, excluded;
    char *escaping; /* path of the first link that climbs out */
    bool ended, starved, abandoned;
};

/* ---- the archive ---- */

static la_ssize_t on_write(struct archive *a, void *arg, const void *p, size_t n)
{
    ms_pack_reader *r = arg;
    (void)a;
    if (r->abandoned)
        return -1;
    /* Not -1: after that libarchive does not free all that it has. */
    if (r->send && ms_buf_add(&r->out, p, n) != 0)
        r->starved = true;
    r->bytes += n;
    return (la_ssize_t)n;
}

static int archive_failed(ms_pack_reader *r, moonsand_error **err)
{
    const char *text = archive_error_string(r->archive);
    return archive_errno(r->archive) == ENOMEM || text == NULL
               ? ms_fail_nomem(err)
               : ms_fail(err, MOONSAND_E_IO, "cannot pack %s: %s", r->path, text);
}

static int hash_number(ms_pack_reader *r, uint64_t n)
{
    unsigned char b[8];
    for (size_t i = 0; i < 8; i++)
        b[i] = (unsigned char)(n >> (8 * i));
    return ms_sha256_add(r->hash, b, sizeof(b));
}

static int hash_text(ms_pack_reader *r, const char *s)
{
    return hash_number(r, strlen(s)) != 0 ? -1 : ms_sha256_add(r->hash, s, strlen(s));
}

/* One entry's header, of r->path, into archive and hash. */
static int put_header(ms_pack_reader *r, unsigned type, uint32_t mode, uint64_t size,
                      const char *target, moonsand_error **err)
{
    struct archive_entry *e = archive_entry_clear(r->entry);
    if (size > INT64_MAX)
        return ms_fail(err, MOONSAND_E_INVALID, "%s is too large", r->path);
    archive_entry_set_pathname(e, r->path);
    archive_entry_set_filetype(e, type);
    archive_entry_set_perm(e, (mode_t)mode);
    archive_entry_set_uid(e, 0);
    archive_entry_set_gid(e, 0);
    archive_entry_set_mtime(e, FIXED_TIME, 0);
    archive_entry_set_size(e, (la_int64_t)size);
    if (target != NULL)
        archive_entry_set_symlink(e, target);
    if (archive_write_header(r->archive, e) != ARCHIVE_OK)
        return archive_failed(r, err);
    if (hash_number(r, type) != 0 || hash_number(r, mode) != 0 || hash_text(r, r->path) != 0 ||
        hash_number(r, size) != 0 || hash_text(r, target != NULL ? target : "") != 0)
        return ms_fail_nomem(err);
    return 0;
}

static int put_bytes(ms_pack_reader *r, const char *p, size_t n, moonsand_error **err)
{
    if (archive_write_data(r->archive, p, n) != (la_ssize_t)n)
        return archive_failed(r, err);
    return ms_sha256_add(r->hash, p, n) != 0 ? ms_fail_nomem(err) : 0;
}

/* ---- files ---- */

static void end_file(ms_pack_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

static int changed(ms_pack_reader *r, moonsand_error **err)
{
    char name[MS_WALK_NAME];
    ms_walk_name(name, r->host, r->walk != NULL ? r->in_tree : "");
    return ms_fail(err, MOONSAND_E_CONFLICT, "%s changed while it was being %s", name,
                   r->send ? "sent" : "read");
}

/* Takes fd. */
static int begin_file(ms_pack_reader *r, int fd, uint64_t size, uint32_t mode, moonsand_error **err)
{
    r->fd = fd;
    r->left = size;
    r->files++;
    return put_header(r, AE_IFREG, mode, size, NULL, err);
}

/* One piece. One byte more is asked for than there should be, to see that the file has grown. */
static int read_file(ms_pack_reader *r, moonsand_error **err)
{
    size_t want = r->left < PIECE - 1 ? (size_t)r->left + 1 : PIECE;
    ssize_t n;
    do
        n = read(r->fd, r->piece, want);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return ms_walk_fail(err, errno, r->host, r->walk != NULL ? r->in_tree : "");
    if ((uint64_t)n > r->left || (n == 0 && r->left != 0))
        return changed(r, err);
    if (n == 0) {
        end_file(r);
        return 0;
    }
    r->left -= (uint64_t)n;
    if ((size_t)n < want && r->left == 0)
        end_file(r);
    return put_bytes(r, r->piece, (size_t)n, err);
}

static int read_data(ms_pack_reader *r, moonsand_error **err)
{
    size_t n = r->left < PIECE ? (size_t)r->left : PIECE;
    const char *p = r->data;
    r->left -= n;
    r->data = r->left != 0 ? p + n : NULL;
    return put_bytes(r, p, n, err);
}

/* ---- entries ---- */

/* The directory above the named entry that was not yet written: 1 when it was written now. */
static int next_parent(ms_pack_reader *r, const char *path, moonsand_error **err)
{
    size_t done = 0; /* the directories that the entry before had, too */
    const char *last = r->last_path != NULL ? r->last_path : "";
    for (size_t i = 0; path[i] == last[i] && path[i] != '\0'; i++)
        if (path[i] == '/')
            done = i + 1;
    const char *slash = strchr(path + done, '/');
    if (slash == NULL)
        return 0;
    size_t n = (size_t)(slash - path) + 1;
    memcpy(r->path, path, n);
    r->path[n] = '\0';
    /* It counts as the entry before: the rest of its path is as long as it goes. */
    memcpy(r->in_tree, r->path, n + 1);
    r->last_path = r->in_tree;
    return put_header(r, AE_IFDIR, 0755, 0, NULL, err) != 0 ? -1 : 1;
}

static int open_named(ms_pack_reader *r, const ms_pack_entry *e, moonsand_error **err)
{
    struct stat st;
    char name[MS_WALK_NAME];
    ms_walk_name(name, e->host, "");
    int fd = open(e->host, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ELOOP)
        return ms_fail(err, MOONSAND_E_INVALID, "%s is a symbolic link; give the file itself",
                       name);
    if (fd < 0 || fstat(fd, &st) != 0) {
        ms_fail_errno(err, errno, "%s", name);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return ms_fail(err, MOONSAND_E_INVALID, "%s is not a regular file", name);
    }
    uint32_t mode = e->mode != 0 ? e->mode : st.st_mode & S_IXUSR ? 0755 : 0644;
    r->host = e->host;
    return begin_file(r, fd, (uint64_t)st.st_size, mode, err);
}

static int read_named(ms_pack_reader *r, const ms_pack_entry *e, moonsand_error **err)
{
    int rc = next_parent(r, e->path, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    r->next++;
    r->last_path = e->path;
    memcpy(r->path, e->path, strlen(e->path) + 1);
    if (e->kind == MS_PACK_FILE)
        return open_named(r, e, err);
    r->data = e->data.len != 0 ? e->data.data : NULL;
    r->left = e->data.len;
    r->files++;
    return put_header(r, AE_IFREG, e->mode, e->data.len, NULL, err);
}

/* r->path of what is at in_tree below the prefix. */
static int set_path(ms_pack_reader *r, const ms_pack_entry *e, const char *below,
                    moonsand_error **err)
{
    size_t n = strlen(e->path), len = strlen(below);
    if (n + len + 2 >= MS_PATH_MAX)
        return ms_walk_fail(err, ENAMETOOLONG, e->host, below);
    memcpy(r->in_tree, below, len + 1);
    memcpy(r->path, e->path, n);
    if (n != 0)
        r->path[n++] = '/';
    memcpy(r->path + n, below, len + 1);
    return 0;
}

/* An absolute target leads to the root of wherever it is unpacked, and so not out of it. */
static bool climbs_out(const char *path, const char *target)
{
    long depth = 0;
    for (; *path != '\0'; path++)
        depth += *path == '/';
    for (const char *p = target; *target != '/' && *p != '\0' && depth >= 0;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            depth--;
        else if (n != 0 && !(n == 1 && p[0] == '.'))
            depth++;
        p += n + (p[n] != '\0');
    }
    return depth < 0;
}

static int read_tree(ms_pack_reader *r, const ms_pack_entry *e, moonsand_error **err)
{
    ms_walk_item item;
    if (r->walk == NULL) {
        int rc = 0;
        r->host = e->host;
        /* The directories of the prefix, one a step. */
        if (e->path[0] != '\0' && r->last_path != e->path) {
            rc = next_parent(r, e->path, err);
            if (rc == 0) {
                size_t n = strlen(e->path);
                memcpy(r->path, e->path, n);
                memcpy(r->path + n, "/", 2);
                r->last_path = e->path;
                rc = put_header(r, AE_IFDIR, 0755, 0, NULL, err);
            }
            return rc < 0 ? -1 : 0;
        }
        return ms_walk_open(&r->walk, e->host, e->ignore, err);
    }
    int rc = ms_walk_next(r->walk, &item, err);
    if (rc < 0)
        return -1;
    if (rc == 0) {
        r->excluded += ms_walk_excluded(r->walk);
        ms_walk_close(r->walk);
        r->walk = NULL;
        r->last_path = NULL;
        r->next++;
        return 0;
    }
    rc = set_path(r, e, item.path, err);
    if (rc != 0 || ms_pack_names(r->pack, r->path)) {
        if (item.fd >= 0)
            close(item.fd);
        ms_walk_pass_over(r->walk);
        return rc;
    }
    if (item.type == MS_WALK_FILE)
        return begin_file(r, item.fd, item.size, item.executable ? 0755 : 0644, err);
    if (item.type == MS_WALK_SYMLINK) {
        r->files++;
        if (r->escaping == NULL && climbs_out(r->path, item.target) &&
            (r->escaping = ms_strdup(r->path)) == NULL)
            return ms_fail_nomem(err);
        return put_header(r, AE_IFLNK, 0777, 0, item.target, err);
    }
    memcpy(r->path + strlen(r->path), "/", 2);
    return put_header(r, AE_IFDIR, 0755, 0, NULL, err);
}

/* ---- the reader ---- */

static int open_archive(ms_pack_reader *r)
{
    r->archive = archive_write_new();
    r->entry = archive_entry_new();
    r->hash = ms_sha256_new();
    r->piece = ms_malloc(PIECE);
    /* GNU's format: long names and large files without an extra block for all others, and names as
     * the bytes that they are, whatever the locale. Unblocked: what is written comes at once. */
    return r->archive != NULL && r->entry != NULL && r->hash != NULL && r->piece != NULL &&
                   archive_write_set_format_gnutar(r->archive) == ARCHIVE_OK &&
                   archive_write_set_bytes_per_block(r->archive, 0) == ARCHIVE_OK &&
                   archive_write_open(r->archive, r, NULL, on_write, NULL) == ARCHIVE_OK &&
                   ms_sha256_add(r->hash, "moonsand pack 1\n", 16) == 0
               ? 0
               : -1;
}

int ms_pack_reader_new(ms_pack_reader **out, moonsand_pack *p, bool send, moonsand_error **err)
{
    *out = NULL;
    if (ms_pack_seal(p, err) != 0)
        return -1;
    ms_pack_reader *r = ms_calloc(1, sizeof(*r));
    if (r == NULL)
        return ms_fail_nomem(err);
    r->pack = p;
    r->send = send;
    r->fd = -1;
    p->readers++;
    if (open_archive(r) != 0) {
        ms_pack_reader_free(r);
        return ms_fail_nomem(err);
    }
    *out = r;
    return 0;
}

void ms_pack_reader_free(ms_pack_reader *r)
{
    if (r == NULL)
        return;
    end_file(r);
    ms_walk_close(r->walk);
    r->abandoned = true; /* or it would be finished now, however much is missing */
    archive_write_free(r->archive);
    archive_entry_free(r->entry);
    EVP_MD_CTX_free(r->hash);
    ms_free(r->piece);
    ms_buf_free(&r->out);
    ms_free(r->escaping);
    ms_pack_unref(r->pack);
    ms_free(r);
}

/* The end of the archive is written only when it is what was measured: without it no engine takes
 * the stream for whole. */
static int end(ms_pack_reader *r, moonsand_error **err)
{
    if (ms_sha256_hex(r->hash, r->sha256) != 0)
        return ms_fail_nomem(err);
    if (r->send && r->pack->measured && strcmp(r->sha256, r->pack->sha256) != 0)
        return ms_fail(err, MOONSAND_E_CONFLICT, CHANGED_TEXT);
    if (archive_write_close(r->archive) != ARCHIVE_OK)
        return archive_failed(r, err);
    r->ended = true;
    return 0;
}

int ms_pack_reader_step(ms_pack_reader *r, moonsand_error **err)
{
    int rc;
    if (r->ended)
        return 0;
    if (r->fd >= 0)
        rc = read_file(r, err);
    else if (r->data != NULL)
        rc = read_data(r, err);
    else if (r->next == r->pack->count)
        rc = end(r, err);
    else if (r->next < r->pack->trees)
        rc = read_tree(r, &r->pack->entries[r->next], err);
    else
        rc = read_named(r, &r->pack->entries[r->next], err);
    if (rc == 0 && r->starved)
        rc = ms_fail_nomem(err);
    return rc != 0 ? -1 : !r->ended;
}

ssize_t ms_pack_reader_read(ms_pack_reader *r, char *p, size_t n, moonsand_error **err)
{
    while (r->out_at == r->out.len) {
        r->out.len = r->out_at = 0;
        int rc = ms_pack_reader_step(r, err);
        if (rc < 0)
            return -1;
        if (rc == 0 && r->out.len == 0)
            return 0;
    }
    if (n > r->out.len - r->out_at)
        n = r->out.len - r->out_at;
    /* Who was told the size stops asking there, and an archive that ends between two entries is
     * taken for whole: no byte stands in for the end, so that the check there is always reached. */
    r->given += n;
    if (!r->ended && r->pack->measured && r->given > r->pack->facts.bytes - END_BYTES)
        return ms_fail(err, MOONSAND_E_CONFLICT, CHANGED_TEXT);
    memcpy(p, r->out.data + r->out_at, n);
    r->out_at += n;
    return (ssize_t)n;
}

uint64_t ms_pack_reader_bytes(const ms_pack_reader *r)
{
    return r->bytes;
}

moonsand_pack_facts ms_pack_reader_facts(const ms_pack_reader *r)
{
    return (moonsand_pack_facts){r->sha256, r->bytes, r->files, r->excluded, r->escaping};
}
