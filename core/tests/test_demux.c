/* Frames at every split, bad heads, random bytes against a plain model. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "demux.h"
#include "tap.h"

static char got[4][1 << 16];
static size_t got_len[4];
static int calls, stop_after;

static int take(void *arg, int stream, const char *p, size_t n)
{
    (void)arg;
    if (stream < 1 || stream > 3 || n == 0 || got_len[stream] + n > sizeof(got[0]))
        abort();
    memcpy(got[stream] + got_len[stream], p, n);
    got_len[stream] += n;
    return ++calls == stop_after ? 7 : 0;
}

static void reset(void)
{
    memset(got_len, 0, sizeof(got_len));
    calls = 0;
}

/* Frames of all streams, empty ones too. */
static const char wire[] = "\1\0\0\0\0\0\0\3abc"
                           "\2\0\0\0\0\0\0\2\0\1"
                           "\1\0\0\0\0\0\0\0"
                           "\0\0\0\0\0\0\0\1d"
                           "\3\0\0\0\0\0\0\4oops"
                           "\1\0\0\0\0\0\0\1e";
#define WIRE_LEN (sizeof(wire) - 1)

static bool all_there(void)
{
    return got_len[1] == 5 && memcmp(got[1], "abcde", 5) == 0 && got_len[2] == 2 &&
           memcmp(got[2], "\0\1", 2) == 0 && got_len[3] == 4 && memcmp(got[3], "oops", 4) == 0;
}

static void splits(void)
{
    bool good = true, idle = true;
    for (size_t a = 0; a <= WIRE_LEN; a++)
        for (size_t b = a; b <= WIRE_LEN; b++) {
            ms_demux d = {0};
            reset();
            good = ms_demux_feed(&d, wire, a, take, NULL) == 0 &&
                   ms_demux_feed(&d, wire + a, b - a, take, NULL) == 0 &&
                   ms_demux_feed(&d, wire + b, WIRE_LEN - b, take, NULL) == 0 && all_there() &&
                   good;
            idle = idle && ms_demux_idle(&d);
        }
    ok(good, "each split in three gives the same bytes");
    ok(idle, "and ends between frames");
    ms_demux d = {0};
    reset();
    for (size_t i = 0; i < WIRE_LEN; i++)
        good = ms_demux_feed(&d, wire + i, 1, take, NULL) == 0 && good;
    ok(good && all_there(), "byte by byte");

    static const size_t whole[] = {0, 11, 21, 29, 38, 50, 59};
    size_t next = 0;
    good = true;
    for (size_t n = 0; n <= WIRE_LEN; n++) {
        ms_demux e = {0};
        reset();
        ms_demux_feed(&e, wire, n, take, NULL);
        bool want = next < sizeof(whole) / sizeof(whole[0]) && whole[next] == n;
        next += want;
        good = good && (ms_demux_idle(&e) != 0) == want;
    }
    ok(good, "idle exactly between frames");
}

static void stops(void)
{
    ms_demux d = {0};
    reset();
    stop_after = 2;
    is_int(ms_demux_feed(&d, wire, WIRE_LEN, take, NULL), 7, "the callback's value comes back");
    is_int(calls, 2, "and nothing is called after it");
    stop_after = 0;
}

static void bad_heads(void)
{
    bool good = true;
    for (int at = 0; at < 4; at++)
        for (int byte = 0; byte < 256; byte++) {
            char head[] = "\1\0\0\0\0\0\0\0";
            head[at] = (char)byte;
            int want = at == 0 ? (byte > 3 ? -1 : 0) : (byte != 0 ? -1 : 0);
            ms_demux d = {0}, e = {0};
            int r = 0;
            good = good && ms_demux_feed(&d, head, 8, take, NULL) == want;
            for (int i = 0; i <= at && r == 0; i++)
                r = ms_demux_feed(&e, head + i, 1, take, NULL);
            good = good && r == want; /* told as soon as the byte is there */
        }
    ok(good, "each bad byte in a head");
    ms_demux d = {0};
    reset();
    is_int(ms_demux_feed(&d, "\2\0\0\0\xff\xff\xff\xff", 8, take, NULL), 0, "the longest frame");
    static char much[sizeof(got[0])];
    for (int i = 0; i < 100; i++) {
        ms_demux_feed(&d, much, sizeof(much), take, NULL);
        reset();
    }
    ok(!ms_demux_idle(&d), "goes on and on, in no memory");
    is_int(d.left, 0xffffffffll - 100 * (long long)sizeof(much), "and is counted");
}

static void random_bytes(void)
{
    static char stream[20000];
    static char want[4][sizeof(stream)];
    bool good = true;
    srandom(1);
    for (int round = 0; round < 300; round++) {
        size_t len = 0, want_len[4] = {0};
        while (len < 15000) {
            size_t n = (size_t)random() % (random() % 4 ? 40 : 4000);
            int id = (int)(random() % 4), to = id ? id : 1;
            char head[8] = {(char)id, 0, 0, 0, 0, 0, (char)(n >> 8), (char)n};
            memcpy(stream + len, head, 8);
            len += 8;
            for (size_t i = 0; i < n; i++)
                stream[len + i] = want[to][want_len[to] + i] = (char)random();
            len += n;
            want_len[to] += n;
        }
        ms_demux d = {0};
        reset();
        for (size_t pos = 0; pos < len;) {
            size_t n = 1 + (size_t)random() % (random() % 2 ? 12 : 5000);
            n = n > len - pos ? len - pos : n;
            good = ms_demux_feed(&d, stream + pos, n, take, NULL) == 0 && good;
            pos += n;
        }
        for (int i = 1; i < 4; i++)
            good = good && got_len[i] == want_len[i] && memcmp(got[i], want[i], got_len[i]) == 0;
    }
    ok(good, "random frames in random pieces");
}

int main(void)
{
    splits();
    stops();
    bad_heads();
    random_bytes();
    return done_testing();
}
