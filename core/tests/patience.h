/* How long something on our side may take when a tool makes it slower (valgrind). */
#ifndef PATIENCE_H
#define PATIENCE_H

#include <stdint.h>
#include <stdlib.h>

/* So many times slower: MOONSAND_TEST_SLOWDOWN, else 1. */
static inline long slowdown(void)
{
    const char *text = getenv("MOONSAND_TEST_SLOWDOWN");
    long n = text ? strtol(text, NULL, 10) : 1;
    return n > 0 ? n : 1;
}

/* A limit that is long enough otherwise. */
static inline int64_t patience(int64_t ns)
{
    return ns * slowdown();
}

#endif
