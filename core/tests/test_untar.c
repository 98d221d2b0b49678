/* Tar streams of others: bounds, types, and bytes that are none. */
#include <stdlib.h>

#include "error.h"
#include "mem.h"
#include "tap.h"

/* One header of the old format, with what is wanted in it; content follows in whole blocks. */
static void header(ms_buf *b, const char *path, char type, const char *target, const char *size,
                   const char *data)
{
    unsigned char h[512] = {0};
    unsigned sum = 0;
    memcpy(h, path, strlen(path));
    memcpy(h + 100, "0000640", 7);
    memcpy(h + 124, size, strlen(size));
    h[156] = (unsigned char)type;
    memcpy(h + 157, target, strlen(target));
    memcpy(h + 257, "ustar\00000", 8);
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < sizeof h; i++)
        sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
    ms_buf_add(b, h, sizeof h);
    size_t len = strlen(data);
    if (len != 0) {
        static const char zero[512];
        ms_buf_add(b, data, len);
        ms_buf_add(b, zero, 511 - (len + 511) % 512);
    }
}

static void end(ms_buf *b)
{
    static const char zero[1024];
    ms_buf_add(b, zero, sizeof zero);
}

static moonsand_code first_error(const ms_buf *b, size_t len, size_t entries, size_t bytes,
                                 int *count)
{
    moonsand_untar *u;
    moonsand_error *err = NULL;
    const moonsand_tar_entry *e;
    *count = 0;
    if (moonsand_untar_open(&u, b->data, len, entries, bytes, &err) == 0) {
        while (moonsand_untar_next(u, &e, &err) == 0 && e != NULL)
            ++*count;
        moonsand_untar_close(u);
    }
    moonsand_code code = moonsand_error_code(err);
    moonsand_error_free(err);
    return code;
}

static void entries(void)
{
    ms_buf b = {0};
    header(&b, "a/file", '0', "", "00000000003", "abc");
    header(&b, "../../climb", '0', "", "00000000000", "");
    header(&b, "dir///", '5', "", "00000000000", "");
    header(&b, "link", '2', "/etc/passwd", "00000000000", "");
    header(&b, "hard", '1', "a/file", "00000000000", "");
    header(&b, "fifo", '6', "", "00000000000", "");
    header(&b, "line\nfeed\033[31m", '0', "", "00000000000", "");
    end(&b);
    static const struct {
        const char *path, *target, *data;
        moonsand_tar_type type;
    } want[] = {
        {"a/file", NULL, "abc", MOONSAND_TAR_FILE},
        {"../../climb", NULL, "", MOONSAND_TAR_FILE},
        {"dir", NULL, NULL, MOONSAND_TAR_DIRECTORY},
        {"link", "/etc/passwd", NULL, MOONSAND_TAR_SYMLINK},
        {"hard", "a/file", NULL, MOONSAND_TAR_HARDLINK},
        {"fifo", NULL, NULL, MOONSAND_TAR_OTHER},
        {"line\nfeed\033[31m", NULL, "", MOONSAND_TAR_FILE},
    };
    moonsand_untar *u;
    const moonsand_tar_entry *e;
    is_int(moonsand_untar_open(&u, b.data, b.len, 0, 0, NULL), 0, "a tar stream opens");
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        ok(moonsand_untar_next(u, &e, NULL) == 0 && e != NULL, "entry %zu", i);
        if (e == NULL)
            return;
        is_str(e->path, want[i].path, "its path, as it stands there");
        is_int(e->type, want[i].type, "its type");
        is_int(e->mode, 0640, "its mode");
        is_str(e->target, want[i].target, "its target");
        ok(want[i].data ? e->data && e->len == strlen(want[i].data) &&
                              memcmp(e->data, want[i].data, e->len) == 0
                        : e->data == NULL,
           "its data");
    }
    ok(moonsand_untar_next(u, &e, NULL) == 0 && e == NULL, "the end");
    moonsand_untar_close(u);
    int count;
    is_int(first_error(&b, b.len, 7, 3, &count), MOONSAND_OK, "just enough");
    is_int(first_error(&b, b.len, 6, 3, &count), MOONSAND_E_PROTOCOL, "one entry too many");
    is_int(count, 6, "the others came");
    is_int(first_error(&b, b.len, 7, 2, &count), MOONSAND_E_PROTOCOL, "one byte too many");
    is_int(first_error(&b, 600, 7, 3, &count), MOONSAND_E_PROTOCOL, "cut in a file");
    is_int(first_error(&b, 100, 7, 3, &count), MOONSAND_E_PROTOCOL, "cut in a header");
    b.data[0]++;
    is_int(first_error(&b, b.len, 7, 3, &count), MOONSAND_E_PROTOCOL, "a wrong checksum");
    is_int(first_error(&b, 0, 7, 3, &count), MOONSAND_E_PROTOCOL, "nothing at all");
    ms_buf_free(&b);
}

static void claims(void)
{
    int count;
    ms_buf b = {0};
    header(&b, "huge", '0', "", "77777777777", "abc");
    end(&b);
    is_int(first_error(&b, b.len, 0, 0, &count), MOONSAND_E_PROTOCOL,
           "a size of 8 GiB in 2 KiB is no reason to ask for memory");
    ms_buf_free(&b);
    header(&b, "", '0', "", "00000000000", "");
    end(&b);
    is_int(first_error(&b, b.len, 0, 0, &count), MOONSAND_E_PROTOCOL, "an empty name");
    ms_buf_free(&b);
    end(&b);
    is_int(first_error(&b, b.len, 0, 0, &count), MOONSAND_OK, "an empty archive");
    is_int(count, 0, "is empty");
    ms_buf_free(&b);
    moonsand_untar_close(NULL);
}

int main(void)
{
    entries();
    claims();
    return done_testing();
}
