/* A journal's parts: what reads it (journal_read.c), and what writes it (journal.c). */
#ifndef MS_JOURNAL_H
#define MS_JOURNAL_H

#include "moonsand.h"

struct moonsand_journal {
    int fd;
    char *path;
    moonsand_journal_mode mode;
    /* bytes: where whole lines end, as far as it was read, and written; torn: what is behind them
     * in the file. */
    moonsand_journal_facts f;
    bool at_end; /* everything was read */

    /* reading: bytes of the file from f.bytes on are at buf[start..end) */
    char *buf;
    size_t start, scanned, end, cap; /* no line end before scanned */

    /* writing */
    uint64_t sync_ns;
    int64_t synced_ns;
    bool unsynced;
    int sync_errno; /* of the first fdatasync that failed: a later one may say 0 all the same */
};

/* Every byte belongs to UTF-8, and none is NUL. */
bool ms_journal_text(const char *p, size_t len);

#endif
