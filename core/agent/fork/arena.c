/* Where an interpreter's small objects lie: side by side. Python takes memory for them in arenas of
 * 256 KiB or 1 MiB, which the kernel puts wherever there is room between libraries, too small and
 * too scattered to become huge pages (huge.c). Here they are cut from one reserved range. */
#include <sys/mman.h>

#include "inner.h"

/* Of addresses only; who needs more gets it from elsewhere. */
#define RESERVED ((uint64_t)1 << 30)

static struct {
    uint64_t at, usable, end; /* [at, usable) may be written to, [usable, end) is reserved */
} range;

static bool failed(long r)
{
    return r < 0 && r > -4096;
}

static void none_is_left(void)
{
    range.at = range.usable = range.end = HUGE_PAGE;
}

static void reserve(void)
{
    long r = raw(mmap, 0, RESERVED + HUGE_PAGE, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (failed(r)) {
        none_is_left();
        return;
    }
    range.at = range.usable = huge_up((uint64_t)r);
    range.end = range.at + RESERVED;
}

/* The next so many bytes of the range, or NULL. */
static void *cut(size_t size)
{
    if (range.end == 0)
        reserve();
    if (size > range.end - range.at)
        return 0;
    /* By whole huge pages, or the last could not become one. */
    uint64_t end = range.at + size, up = huge_up(end);
    if (up > range.usable) {
        if (raw(mprotect, range.usable, up - range.usable, PROT_READ | PROT_WRITE) < 0)
            return 0;
        range.usable = up;
    }
    range.at = end;
    return (void *)(uintptr_t)(end - size);
}

EXPORT void *moonsand_arena(void *context, size_t size)
{
    static char busy;
    void *p = 0;
    (void)context;
    /* Interpreters of one process may each have a lock of their own. Who comes second does not
     * wait: a copy of the process might wait for ever. */
    if (!__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE)) {
        p = cut(size);
        __atomic_clear(&busy, __ATOMIC_RELEASE);
    }
    if (p != 0)
        return p;
    long r = raw(mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return failed(r) ? 0 : (void *)r;
}

void arenas_release(void)
{
    if (range.end == 0)
        none_is_left();
    if (range.usable < range.end)
        (void)raw(munmap, range.usable, range.end - range.usable);
    range.end = range.usable;
}

/* What is given back leaves a hole, as it does anywhere. Python's own arenas were mapped, too. */
EXPORT void moonsand_arena_free(void *context, void *p, size_t size)
{
    (void)context;
    (void)raw(munmap, p, size);
}
