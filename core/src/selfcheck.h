/* Inside the self-check: selfcheck.c reads the small items, selfcheck_mounts.c the mount table. */
#ifndef MS_SELFCHECK_H
#define MS_SELFCHECK_H

#include "spec.h"

/* A piece of a hostile text; never NUL-terminated. */
typedef struct ms_slice {
    const char *p;
    size_t n;
} ms_slice;

typedef struct ms_walls {
    ms_buf text; /* "a; b; c" */
    unsigned count;
    bool nomem;
    const ms_container *c;
    const moonsand_engine_facts *facts;
} ms_walls;

/* Takes note of a wall that is missing. */
void ms_wall_missing(ms_walls *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The next line without its end, or the next word between blanks; false when there is none. */
bool ms_slice_line(ms_slice *rest, ms_slice *line);
bool ms_slice_word(ms_slice *rest, ms_slice *word);
bool ms_slice_is(ms_slice s, const char *text);
/* Decimal digits with an optional k, m or g behind them (suffix); nothing else. */
bool ms_slice_number(ms_slice s, bool suffix, uint64_t *out);

void ms_check_mounts(ms_walls *w, ms_slice mountinfo);

#endif
