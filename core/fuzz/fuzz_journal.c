/* A journal that others wrote: the input is the file. Whatever it holds, lines come whole and in
 * order, or an error that names the place; what a writer then adds stands behind the last whole
 * line, and nothing before it was touched. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[] = "/tmp/moonsand-fuzz-journal-XXXXXX";
static int fd = -1;

static void demand(bool good)
{
    if (!good)
        abort();
}

static void forget(void)
{
    unlink(path);
}

static moonsand_journal *open_as(moonsand_journal_mode mode)
{
    moonsand_journal *j;
    moonsand_journal_options o = MOONSAND_JOURNAL_OPTIONS_INIT;
    o.mode = mode;
    o.sync_ns = UINT64_MAX;
    demand(moonsand_journal_open(&j, path, &o, NULL) == 0);
    return j;
}

/* Reads to the end or the first error; the code of that. */
static moonsand_code read_all(moonsand_journal *j, const uint8_t *data, size_t size)
{
    size_t at = 0;
    uint64_t lines = 0;
    const moonsand_journal_facts *f = moonsand_journal_get_facts(j);
    for (;;) {
        const char *line;
        size_t len;
        moonsand_error *err = NULL;
        if (moonsand_journal_next(j, &line, &len, &err) != 0) {
            moonsand_code code = moonsand_error_code(err);
            demand(code == MOONSAND_E_PROTOCOL && line == NULL && f->bytes == at);
            demand(strstr(moonsand_error_message(err), "line ") != NULL);
            moonsand_error_free(err);
            return code;
        }
        if (line == NULL) {
            demand(f->lines == lines && f->bytes == at && f->torn == size - at);
            demand(at == size || memchr(data + at, '\n', size - at) == NULL);
            return MOONSAND_OK;
        }
        demand(at + len < size && memcmp(line, data + at, len) == 0 && data[at + len] == '\n');
        demand(line[len] == '\0' && strlen(line) == len && ms_journal_text(line, len));
        demand(f->line_at == at);
        at += len + 1;
        lines++;
        demand(moonsand_journal_damaged(j, "is odd", &err) == -1 &&
               moonsand_error_code(err) == MOONSAND_E_PROTOCOL);
        moonsand_error_free(err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (fd < 0) {
        fd = mkostemp(path, O_CLOEXEC);
        demand(fd >= 0);
        atexit(forget);
    }
    demand(ftruncate(fd, 0) == 0 && (size == 0 || pwrite(fd, data, size, 0) == (ssize_t)size));

    moonsand_journal *j = open_as(MOONSAND_JOURNAL_READ);
    moonsand_code code = read_all(j, data, size);
    moonsand_journal_close(j, NULL);

    j = open_as(MOONSAND_JOURNAL_CONTINUE);
    demand(read_all(j, data, size) == code);
    uint64_t whole = moonsand_journal_get_facts(j)->bytes;
    bool added = moonsand_journal_append(j, "{}", 2, NULL) == 0;
    demand(added == (code == MOONSAND_OK));
    moonsand_journal_close(j, NULL);

    struct stat st;
    demand(fstat(fd, &st) == 0);
    demand((uint64_t)st.st_size == (added ? whole + 3 : size));
    char end[3], *before = malloc(whole + 1);
    demand(before != NULL && pread(fd, before, whole, 0) == (ssize_t)whole);
    demand(whole == 0 || memcmp(before, data, whole) == 0);
    demand(!added || (pread(fd, end, 3, (off_t)whole) == 3 && memcmp(end, "{}\n", 3) == 0));
    free(before);
    return 0;
}
