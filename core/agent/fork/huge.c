/* The interpreter's memory in huge pages. Most of what a fork costs is the copy of its page tables,
 * an entry for each 4 KiB that was ever written to; a huge page has one entry for 2 MiB, which is
 * split only where a run writes. The kernel does it from 6.1 on, and where it does not the fork is
 * as it was: nothing depends on it but time. */
#include <sys/mman.h>

#include "inner.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Parts that were never written to stay as they are: the kernel leaves what has no page at all. */
static bool collapse(const struct mapping *m, void *arg)
{
    (void)arg;
    if (!m->writable || m->shared || !m->anonymous)
        return true;
    for (uint64_t at = huge_up(m->start); at + HUGE_PAGE <= m->end; at += HUGE_PAGE)
        (void)raw(madvise, at, HUGE_PAGE, MADV_COLLAPSE);
    return true;
}

void huge_pages(void)
{
    (void)maps_each(collapse, 0);
}
