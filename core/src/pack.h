/* What is sent to an engine (moonsand_pack_* in moonsand.h), and the reader that makes the stream.
 */
#ifndef MS_PACK_H
#define MS_PACK_H

#include <sys/types.h>

#include "ignore.h"
#include "mem.h"
#include "sha256.h"

typedef enum ms_pack_kind { MS_PACK_TREE, MS_PACK_DATA, MS_PACK_FILE } ms_pack_kind;

typedef struct ms_pack_entry {
    ms_pack_kind kind;
    char *path;    /* inside; for a tree its prefix, "" is the root */
    char *host;    /* on this machine; NULL for data */
    uint32_t mode; /* 0: as on disk */
    ms_buf data;
    ms_ignore *ignore; /* of a tree, or NULL */
} ms_pack_entry;

typedef struct ms_pack_reader ms_pack_reader;

struct moonsand_pack {
    /* Trees as they were added, then the others sorted by path, once it is sealed. */
    ms_pack_entry *entries;
    size_t count, cap, trees;
    bool sealed, measured, freed;
    size_t readers;
    ms_pack_reader *measuring;
    char sha256[MS_SHA256_HEX];
    char *escaping;
    moonsand_pack_facts facts;
};

/* Sorts the entries; INVALID when a path was given twice. */
int ms_pack_seal(moonsand_pack *p, moonsand_error **err);
/* Is the path given by name? Sealed packs only. */
bool ms_pack_names(const moonsand_pack *p, const char *path);

void ms_pack_unref(moonsand_pack *p); /* a reader goes */

/* send false: it only counts and hashes, and gives no bytes. The pack stays while it is read. */
int ms_pack_reader_new(ms_pack_reader **out, moonsand_pack *p, bool send, moonsand_error **err);
/* Does one bounded piece of work: at most a piece of a file. 1: there is more, 0: the end, -1. */
int ms_pack_reader_step(ms_pack_reader *r, moonsand_error **err);
/* Up to n bytes of the stream; 0 at the end; -1, also when what was read is not what was measured.
 */
ssize_t ms_pack_reader_read(ms_pack_reader *r, char *p, size_t n, moonsand_error **err);
/* Bytes of the stream so far. */
uint64_t ms_pack_reader_bytes(const ms_pack_reader *r);
/* What it has found; only at the end. Strings point into the reader. */
moonsand_pack_facts ms_pack_reader_facts(const ms_pack_reader *r);
void ms_pack_reader_free(ms_pack_reader *r); /* NULL is allowed */

#endif
