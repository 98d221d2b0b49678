/* Fields of the host's frames. */
#include <string.h>

#include "inside.h"

void fields_start(struct fields *f, unsigned char *p, size_t n)
{
    f->p = p;
    f->end = p + n;
    f->tag = n > 0 ? p[0] : 0;
}

bool fields_next(struct agent *a, struct fields *f, struct field *out)
{
    if (f->p == f->end)
        return false;
    if (f->end - f->p < 5)
        bad_host(a, "a field that is cut off");
    size_t len = ms_get_u32(f->p + 1);
    if (len > (size_t)(f->end - f->p) - 5)
        bad_host(a, "a field that is longer than its frame");
    out->tag = f->tag;
    out->text = (char *)f->p + 5;
    out->len = len;
    f->p += 5 + len;
    f->tag = f->p < f->end ? *f->p : 0;
    *f->p = 0;
    return true;
}

uint64_t field_number(struct agent *a, const struct field *f)
{
    if (f->len != 8)
        bad_host(a, "a number that is not 8 bytes long");
    return ms_get_u64((const unsigned char *)f->text);
}

char *field_text(struct agent *a, const struct field *f)
{
    if (memchr(f->text, 0, f->len) != NULL)
        bad_host(a, "a string with a NUL inside");
    return f->text;
}

char *field_path(struct agent *a, const struct field *f)
{
    char *path = field_text(a, f);
    if (path[0] != '/')
        bad_host(a, "a path that is not absolute");
    return path;
}

/* Sees that nothing stands there twice, before anything is cut up. */
void fields_count(struct agent *a, const unsigned char *p, size_t n, size_t *counts, int tags,
                  uint64_t repeated)
{
    memset(counts, 0, (size_t)tags * sizeof *counts);
    while (n > 0) {
        if (n < 5 || ms_get_u32(p + 1) > n - 5)
            bad_host(a, "a field that is longer than its frame");
        size_t len = 5 + (size_t)ms_get_u32(p + 1);
        if (p[0] >= tags || (counts[p[0]]++ > 0 && (repeated & (uint64_t)1 << p[0]) == 0))
            bad_host(a, "a field that is unknown or stands there twice");
        p += len;
        n -= len;
    }
}
