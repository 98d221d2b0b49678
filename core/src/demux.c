#include "demux.h"

#include <string.h>

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Docker's Attach manual: "STREAM_TYPE can be: 0: stdin (is written on stdout), 1: stdout, 2:
 * stderr"; 3 (Systemerr) stands only in moby's pkg/stdcopy. */
static int head_ok(const unsigned char *head, unsigned have)
{
    if (have > 0 && head[0] > 3)
        return 0;
    for (unsigned i = 1; i < 4 && i < have; i++)
        if (head[i] != 0)
            return 0;
    return 1;
}

int ms_demux_feed(ms_demux *d, const char *p, size_t n,
                  int (*cb)(void *arg, int stream, const char *p, size_t n), void *arg)
{
    while (n != 0) {
        if (d->left != 0) {
            size_t piece = n < d->left ? n : d->left;
            int stream = d->head[0] != 0 ? d->head[0] : 1;
            const char *data = p;
            p += piece;
            n -= piece;
            d->left -= (uint32_t)piece;
            /* d is up to date before the call and not touched when the callback says stop: it may
             * have freed its owner. */
            int r = cb(arg, stream, data, piece);
            if (r != 0)
                return r;
            continue;
        }
        size_t want = sizeof(d->head) - d->have;
        size_t take = n < want ? n : want;
        memcpy(d->head + d->have, p, take);
        d->have += (unsigned)take;
        p += take;
        n -= take;
        if (!head_ok(d->head, d->have))
            return -1;
        if (d->have == sizeof(d->head)) {
            d->left = be32(d->head + 4);
            d->have = 0;
        }
    }
    return 0;
}

int ms_demux_idle(const ms_demux *d)
{
    return d->have == 0 && d->left == 0;
}
