#include "pack.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

#define MAX_ENTRIES 1000000

static void entry_free(ms_pack_entry *e)
{
    ms_free(e->path);
    ms_free(e->host);
    ms_buf_free(&e->data);
    ms_ignore_free(e->ignore);
}

int moonsand_pack_new(moonsand_pack **out, moonsand_error **err)
{
    *out = ms_calloc(1, sizeof(**out));
    return *out != NULL ? 0 : ms_fail_nomem(err);
}

static void release(moonsand_pack *p)
{
    if (!p->freed || p->readers != 0)
        return;
    for (size_t i = 0; i < p->count; i++)
        entry_free(&p->entries[i]);
    ms_free(p->entries);
    ms_free(p->escaping);
    ms_free(p);
}

void moonsand_pack_free(moonsand_pack *pack)
{
    if (pack == NULL)
        return;
    ms_pack_reader_free(pack->measuring);
    pack->measuring = NULL;
    pack->freed = true;
    release(pack);
}

void ms_pack_unref(moonsand_pack *p)
{
    p->readers--;
    release(p);
}

/* ---- adding ---- */

static int check_path(const char *path, moonsand_error **err)
{
    size_t n = strlen(path);
    bool good = n != 0 && n < MS_PATH_MAX && path[n - 1] != '/';
    for (const char *p = path; good && p != NULL;) {
        size_t len = strcspn(p, "/");
        good = len != 0 && !(len == 1 && p[0] == '.') && !(len == 2 && p[0] == '.' && p[1] == '.');
        p = p[len] != '\0' ? p + len + 1 : NULL;
    }
    if (good)
        return 0;
    char text[128];
    ms_printable(text, sizeof(text), path, n);
    return ms_fail(
        err, MOONSAND_E_INVALID,
        "\"%s\" is no path in an archive: relative, without \".\", \"..\" and empty parts", text);
}

/* The new entry, which is counted when the caller has filled it in. */
static ms_pack_entry *add(moonsand_pack *p, ms_pack_kind kind, const char *path, const char *host,
                          uint32_t mode, moonsand_error **err)
{
    if (p->readers != (p->measuring != NULL ? 1u : 0u)) {
        ms_fail(err, MOONSAND_E_INVALID, "the pack is being sent; nothing can be added");
        return NULL;
    }
    if ((mode & ~07777u) != 0 || p->count == MAX_ENTRIES) {
        ms_fail(err, MOONSAND_E_INVALID,
                mode & ~07777u ? "mode %o has more than permission bits"
                               : "a pack has at most %u entries",
                mode & ~07777u ? mode : (unsigned)MAX_ENTRIES);
        return NULL;
    }
    ms_pack_reader_free(p->measuring);
    p->measuring = NULL;
    p->sealed = p->measured = false;
    if (p->count == p->cap) {
        size_t cap = p->cap != 0 ? 2 * p->cap : 16;
        ms_pack_entry *bigger = ms_realloc(p->entries, cap * sizeof(*bigger));
        if (bigger == NULL) {
            ms_fail_nomem(err);
            return NULL;
        }
        p->entries = bigger;
        p->cap = cap;
    }
    ms_pack_entry *e = &p->entries[p->count];
    memset(e, 0, sizeof(*e));
    e->kind = kind;
    e->mode = mode;
    e->path = ms_strdup(path);
    e->host = ms_strdup(host);
    if (e->path == NULL || (host != NULL && e->host == NULL)) {
        entry_free(e);
        ms_fail_nomem(err);
        return NULL;
    }
    return e;
}

int moonsand_pack_data(moonsand_pack *pack, const char *path, const void *data, size_t len,
                       uint32_t mode, moonsand_error **err)
{
    if (check_path(path, err) != 0)
        return -1;
    ms_pack_entry *e = add(pack, MS_PACK_DATA, path, NULL, mode != 0 ? mode : 0644, err);
    if (e == NULL)
        return -1;
    if (ms_buf_add(&e->data, data, len) != 0) {
        entry_free(e);
        return ms_fail_nomem(err);
    }
    pack->count++;
    return 0;
}

int moonsand_pack_file(moonsand_pack *pack, const char *path, const char *host_path, uint32_t mode,
                       moonsand_error **err)
{
    if (check_path(path, err) != 0 || add(pack, MS_PACK_FILE, path, host_path, mode, err) == NULL)
        return -1;
    pack->count++;
    return 0;
}

int moonsand_pack_tree(moonsand_pack *pack, const char *prefix, const char *host_dir,
                       const moonsand_tree_options *options, moonsand_error **err)
{
    static const moonsand_tree_options none = MOONSAND_TREE_OPTIONS_INIT;
    const moonsand_tree_options *o = options != NULL ? options : &none;
    if (o->version != 1 || (prefix[0] != '\0' && check_path(prefix, err) != 0))
        return o->version == 1 ? -1 : ms_fail(err, MOONSAND_E_INVALID, "tree options: version");
    ms_pack_entry *e = add(pack, MS_PACK_TREE, prefix, host_dir, 0, err);
    if (e == NULL)
        return -1;
    int rc = o->ignore != NULL ? ms_ignore_parse(&e->ignore, o->ignore, o->ignore_len, err) : 0;
    for (size_t i = 0; rc == 0 && o->ignore != NULL && i < o->keep_count; i++)
        rc = check_path(o->keep[i], err) != 0 ? -1 : ms_ignore_keep(e->ignore, o->keep[i], err);
    if (rc != 0) {
        entry_free(e);
        return -1;
    }
    pack->count++;
    return 0;
}

/* ---- order ---- */

/* By bytes, "/" before all others: what is in a directory stays together. */
static int compare_paths(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    int x = *a == '/' ? 1 : *a == '\0' ? 0 : (unsigned char)*a + 1;
    int y = *b == '/' ? 1 : *b == '\0' ? 0 : (unsigned char)*b + 1;
    return x - y;
}

static int by_path(const void *a, const void *b)
{
    const ms_pack_entry *x = a, *y = b;
    return compare_paths(x->path, y->path);
}

/* Trees keep their order: a later one replaces what an earlier one has. */
static size_t trees_first(ms_pack_entry *entries, size_t n)
{
    size_t trees = 0;
    for (size_t i = 0; i < n; i++)
        if (entries[i].kind == MS_PACK_TREE) {
            ms_pack_entry e = entries[i];
            memmove(entries + trees + 1, entries + trees, (i - trees) * sizeof(e));
            entries[trees++] = e;
        }
    return trees;
}

int ms_pack_seal(moonsand_pack *p, moonsand_error **err)
{
    if (p->sealed)
        return 0;
    p->trees = trees_first(p->entries, p->count);
    ms_pack_entry *named = p->entries + p->trees;
    size_t n = p->count - p->trees;
    if (n != 0)
        qsort(named, n, sizeof(*named), by_path);
    for (size_t i = 1; i < n; i++) {
        size_t len = strlen(named[i - 1].path);
        const char *path = named[i].path;
        if (strncmp(named[i - 1].path, path, len) == 0 && (path[len] == '\0' || path[len] == '/')) {
            char text[256];
            ms_printable(text, sizeof(text), path, len);
            return ms_fail(err, MOONSAND_E_INVALID, "%s was given %s", text,
                           path[len] == '\0' ? "twice" : "as a file and as a directory");
        }
    }
    p->sealed = true;
    return 0;
}

bool ms_pack_names(const moonsand_pack *p, const char *path)
{
    size_t low = p->trees, high = p->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = compare_paths(p->entries[middle].path, path);
        if (c == 0)
            return true;
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* ---- measuring ---- */

/* A file costs some system calls, however small it is. */
#define ENTRY_COST 4096

static int keep_facts(moonsand_pack *p, moonsand_error **err)
{
    moonsand_pack_facts f = ms_pack_reader_facts(p->measuring);
    char *escaping = ms_strdup(f.escaping);
    if (f.escaping != NULL && escaping == NULL)
        return ms_fail_nomem(err);
    ms_free(p->escaping);
    p->escaping = escaping;
    memcpy(p->sha256, f.sha256, sizeof(p->sha256));
    p->facts = f;
    p->facts.sha256 = p->sha256;
    p->facts.escaping = p->escaping;
    p->measured = true;
    return 0;
}

int moonsand_pack_measure(moonsand_pack *pack, uint64_t max_bytes, bool *done, moonsand_error **err)
{
    *done = pack->measured;
    if (pack->measured)
        return 0;
    if (pack->measuring == NULL && ms_pack_reader_new(&pack->measuring, pack, false, err) != 0)
        return -1;
    uint64_t cost = 0, before = ms_pack_reader_bytes(pack->measuring);
    int rc = 1;
    for (; rc > 0 && (max_bytes == 0 || cost < max_bytes); cost += ENTRY_COST) {
        rc = ms_pack_reader_step(pack->measuring, err);
        cost += ms_pack_reader_bytes(pack->measuring) - before;
        before = ms_pack_reader_bytes(pack->measuring);
    }
    if (rc > 0)
        return 0;
    if (rc == 0)
        rc = keep_facts(pack, err);
    ms_pack_reader_free(pack->measuring);
    pack->measuring = NULL;
    *done = pack->measured;
    return rc;
}

const moonsand_pack_facts *moonsand_pack_get_facts(const moonsand_pack *pack)
{
    return pack->measured ? &pack->facts : NULL;
}

uint64_t moonsand_pack_seen(const moonsand_pack *pack)
{
    return pack->measured            ? pack->facts.bytes
           : pack->measuring != NULL ? ms_pack_reader_bytes(pack->measuring)
                                     : 0;
}
