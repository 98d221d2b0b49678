/* Reading a journal: lines of a file that others may have damaged, and may be writing to. */
#include "journal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "mem.h"

#define CHUNK ((size_t)256 << 10)

/* How many bytes the character at p has, 0 when it is none. */
static size_t character(const unsigned char *p, size_t len)
{
    if (p[0] < 0x80)
        return p[0] != 0;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    size_t n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n > len)
        return 0;
    /* Of the second byte: no longer form than needed, no surrogate, nothing beyond U+10FFFF. */
    unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

bool ms_journal_text(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    const uint64_t ones = UINT64_MAX / 255, tops = ones << 7;
    while (len != 0) {
        uint64_t word;
        if (len >= sizeof word) {
            memcpy(&word, p, sizeof word);
            if (((word | (word - ones)) & tops) == 0) { /* eight bytes from 1 to 127 */
                p += sizeof word;
                len -= sizeof word;
                continue;
            }
        }
        size_t n = character(p, len);
        if (n == 0)
            return false;
        p += n;
        len -= n;
    }
    return true;
}

static int damaged(const moonsand_journal *j, uint64_t line, uint64_t at, const char *what,
                   moonsand_error **err)
{
    if (line <= 1)
        return ms_fail(err, MOONSAND_E_PROTOCOL,
                       "%s: line 1 (byte 0) %s: this is no journal, or its beginning is damaged; "
                       "give another path, or move it away",
                       j->path, what);
    return ms_fail(err, MOONSAND_E_PROTOCOL,
                   "%s: line %llu (byte %llu) %s: it is not what was written there. To leave out "
                   "this record only: sed %llud OLD > NEW. To keep what is before it: head -c %llu "
                   "OLD > NEW. What is left out is run again when the sweep is resumed",
                   j->path, (unsigned long long)line, (unsigned long long)at, what,
                   (unsigned long long)line, (unsigned long long)at);
}

int moonsand_journal_damaged(const moonsand_journal *journal, const char *what,
                             moonsand_error **err)
{
    return damaged(journal, journal->f.lines, journal->f.line_at, what, err);
}

/* Room for more behind what is there; a line has at most MOONSAND_JOURNAL_LINE_MAX bytes and its
 * end. */
static int make_room(moonsand_journal *j, moonsand_error **err)
{
    if (j->start != 0) {
        memmove(j->buf, j->buf + j->start, j->end - j->start);
        j->scanned -= j->start;
        j->end -= j->start;
        j->start = 0;
    }
    if (j->end < j->cap)
        return 0;
    if (j->end > MOONSAND_JOURNAL_LINE_MAX)
        return damaged(j, j->f.lines + 1, j->f.bytes, "is longer than 16 MiB", err);
    size_t cap = j->cap == 0 ? CHUNK : j->cap * 2;
    if (cap > MOONSAND_JOURNAL_LINE_MAX)
        cap = MOONSAND_JOURNAL_LINE_MAX + 1;
    char *bigger = ms_realloc(j->buf, cap);
    if (bigger == NULL)
        return ms_fail_nomem(err);
    j->buf = bigger;
    j->cap = cap;
    return 0;
}

/* 1: there is more in the buffer; 0: the end of the file. */
static int read_more(moonsand_journal *j, moonsand_error **err)
{
    if (make_room(j, err) != 0)
        return -1;
    ssize_t n;
    do
        n = pread(j->fd, j->buf + j->end, j->cap - j->end, (off_t)(j->f.bytes + j->end));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return ms_fail_errno(err, errno, "%s: reading at byte %llu", j->path,
                             (unsigned long long)(j->f.bytes + j->end));
    j->end += (size_t)n;
    return n != 0;
}

int moonsand_journal_next(moonsand_journal *j, const char **line, size_t *len, moonsand_error **err)
{
    *line = NULL;
    *len = 0;
    if (j->at_end && j->mode != MOONSAND_JOURNAL_READ)
        return 0;
    char *found;
    /* Of a line that was not whole at the last call: its writer may have taken it away since. */
    bool stale = j->mode == MOONSAND_JOURNAL_READ;
    while ((found = j->end == j->scanned
                        ? NULL
                        : memchr(j->buf + j->scanned, '\n', j->end - j->scanned)) == NULL) {
        if (stale)
            j->end = j->start;
        stale = false;
        j->scanned = j->end;
        int more = read_more(j, err);
        if (more < 0)
            return -1;
        if (more == 0) {
            /* Forgotten, and read again when it is asked for: the writer may take a torn line away
             * and write another one in its place. */
            j->f.torn = j->end - j->start;
            j->start = j->scanned = j->end = 0;
            j->at_end = true;
            return 0;
        }
    }
    char *begin = j->buf + j->start;
    size_t n = (size_t)(found - begin);
    if (!ms_journal_text(begin, n)) {
        const char *what = memchr(begin, 0, n) != NULL ? "holds a NUL byte" : "is not UTF-8";
        return damaged(j, j->f.lines + 1, j->f.bytes, what, err);
    }
    *found = '\0';
    j->start += n + 1;
    j->scanned = j->start;
    j->f.lines++;
    j->f.line_at = j->f.bytes;
    j->f.bytes += n + 1;
    *line = begin;
    *len = n;
    return 0;
}
