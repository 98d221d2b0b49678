/* What a pool tells of itself: events and numbers. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "pool.h"

enum { SAMPLES = sizeof((ms_samples *)0)->ns / sizeof(uint64_t) };

const char *moonsand_pool_event_name(moonsand_pool_event_type type)
{
    static const char *const names[] = {
#define MOONSAND_X(id, name, meaning) name,
        MOONSAND_POOL_EVENTS(MOONSAND_X)
#undef MOONSAND_X
    };
    size_t i = (size_t)type;
    return i < sizeof names / sizeof names[0] ? names[i] : "unknown";
}

const char *moonsand_retire_reason_name(moonsand_retire_reason reason)
{
    static const char *const names[] = {
#define MOONSAND_X(id, name, meaning) name,
        MOONSAND_RETIRE_REASONS(MOONSAND_X)
#undef MOONSAND_X
    };
    size_t i = (size_t)reason;
    return i < sizeof names / sizeof names[0] ? names[i] : "unknown";
}

void ms_pool_emit(ms_pool *p, moonsand_pool_event *event, const ms_worker *w)
{
    const ms_warm *warm = &p->sandbox->warm;
    if (p->closed || !warm->on_pool)
        return;
    event->version = 1;
    event->container = w ? w->name : "";
    event->runs = w ? w->runs : 0;
    if (!event->detail)
        event->detail = "";
    warm->on_pool(warm->pool_arg, event);
}

void ms_samples_add(ms_samples *s, int64_t ns)
{
    s->ns[s->count++ % SAMPLES] = ns > 0 ? (uint64_t)ns : 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The smallest of which at least `percent` of all are no larger. */
static uint64_t percentile(const uint64_t *sorted, size_t n, size_t percent)
{
    size_t rank = (n * percent + 99) / 100;
    return sorted[rank ? rank - 1 : 0];
}

static moonsand_pool_times times(const ms_samples *s)
{
    moonsand_pool_times t = {.count = s->count};
    size_t n = s->count < SAMPLES ? (size_t)s->count : SAMPLES;
    if (n == 0)
        return t;
    uint64_t sorted[SAMPLES];
    memcpy(sorted, s->ns, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare);
    t.p50_ns = percentile(sorted, n, 50);
    t.p99_ns = percentile(sorted, n, 99);
    t.max_ns = sorted[n - 1];
    return t;
}

int moonsand_sandbox_pool_stats(const moonsand_sandbox *sandbox, moonsand_pool_stats *stats,
                                moonsand_error **err)
{
    if (stats->version != 1)
        return ms_fail(err, MOONSAND_E_INVALID, "moonsand_pool_stats: version %u is not known",
                       stats->version);
    *stats = (moonsand_pool_stats){.version = 1, .mode = sandbox->warm.mode};
    const ms_pool *p = sandbox->pool;
    if (!p || !sandbox->engine)
        return 0;
    stats->fell_back = p->fell_back != NULL;
    if (stats->fell_back)
        stats->mode = MOONSAND_MODE_CONTAINER;
    stats->tier = stats->fell_back ? MOONSAND_TIER_NONE : p->tier;
    stats->workers = p->wanted;
    stats->waiting = p->waiting;
    stats->runs = p->runs;
    stats->failed = p->failed;
    memcpy(stats->retired, p->retired, sizeof stats->retired);
    for (const ms_worker *w = p->first; w; w = w->next) {
        stats->starting += w->state == MS_WORKER_STARTING;
        stats->ready += w->state == MS_WORKER_IDLE;
        stats->busy += w->state == MS_WORKER_BUSY || w->state == MS_WORKER_RETURNING;
    }
    uint32_t all = stats->ready + stats->busy;
    if (!ms_pool_one_shot(p) && all > p->wanted)
        stats->retiring = all - p->wanted < stats->busy ? all - p->wanted : stats->busy;
    stats->hand_out = times(&p->hand_out);
    stats->refill = times(&p->refill);
    return 0;
}
