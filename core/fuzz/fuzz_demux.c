/* The bytes of an engine's stream, in pieces. The first byte chooses the piece's size; what comes
 * out must not depend on it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "demux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct sum {
    uint64_t hash[4], len[4];
} sum;

static int take(void *arg, int stream, const char *p, size_t n)
{
    sum *s = arg;
    if (stream < 1 || stream > 3 || n == 0)
        abort();
    for (size_t i = 0; i < n; i++)
        s->hash[stream] = s->hash[stream] * 31 + (uint8_t)p[i];
    s->len[stream] += n;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t step = data[0] + 1u;
    const char *p = (const char *)data + 1;
    size--;
    ms_demux a = {0}, b = {0};
    sum whole = {0}, pieces = {0};
    int ra = ms_demux_feed(&a, p, size, take, &whole), rb = 0;
    for (size_t pos = 0; pos < size && rb == 0; pos += step)
        rb = ms_demux_feed(&b, p + pos, size - pos < step ? size - pos : step, take, &pieces);
    if (ra != rb || memcmp(&whole, &pieces, sizeof(whole)) != 0 ||
        (ra == 0 &&
         (a.left != b.left || a.have != b.have || ms_demux_idle(&a) != ms_demux_idle(&b))))
        abort();
    return 0;
}
