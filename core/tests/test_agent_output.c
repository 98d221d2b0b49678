/* The way of the program's output through the agent itself: byte by byte, whatever the sizes are,
 * however the program writes and the host reads. Called with --act it is the program inside. */
#include <sys/resource.h>

#include "agent_harness.h"

#define ACT(...) .argv = {"./act", "--act", __VA_ARGS__}

static char pattern(int stream, size_t at)
{
    return (char)(at * 7 + at / 251 + (size_t)stream * 101);
}

/* ---- the programs ---------------------------------------------------------------------------- */

/* Writes the pattern's bytes [at, at + n). */
static bool put(int fd, size_t at, size_t n)
{
    static char block[1 << 17];
    while (n > 0) {
        size_t part = n < sizeof block ? n : sizeof block;
        for (size_t i = 0; i < part; i++)
            block[i] = pattern(fd, at + i);
        ssize_t w = write(fd, block, part);
        if (w <= 0)
            return false;
        at += (size_t)w;
        n -= (size_t)w;
    }
    return true;
}

static int act_write(int fd, size_t size, size_t step)
{
    for (size_t at = 0; at < size; at += step)
        if (!put(fd, at, size - at < step ? size - at : step))
            return 1;
    return 0;
}

static int act_both(size_t size)
{
    static const size_t steps[] = {1, 4096, 65537, 7, 65535, 100003, 65536, 4095, 3};
    size_t done[3] = {0, 0, 0};
    for (size_t turn = 0; done[1] < size || done[2] < size; turn++) {
        int fd = turn % 2 == 0 ? 1 : 2;
        size_t n = steps[turn % (sizeof steps / sizeof *steps)];
        if (n > size - done[fd])
            n = size - done[fd];
        if (!put(fd, done[fd], n))
            return 1;
        done[fd] += n;
    }
    return 0;
}

static void packets(bool on)
{
    int flags = fcntl(1, F_GETFL);
    if (fcntl(1, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) < 0)
        _exit(9);
}

/* Bytes as they come and packets in turn, much of it in the pipe before the agent looks. */
static int act_mix(size_t size)
{
    for (size_t at = 0; at < size; at += 5000) {
        packets(at % 2 == 0);
        if (!put(1, at, 5000))
            return 1;
    }
    return 0;
}

static int act_leave_writer(void)
{
    if (fork() == 0) {
        setsid();
        act_write(1, (size_t)1 << 40, 65536);
        _exit(0);
    }
    usleep(20000);
    return 3;
}

static int act(char **argv)
{
    size_t n[2] = {strtoul(argv[1], NULL, 10), strtoul(argv[2], NULL, 10)};
    if (strcmp(argv[0], "out") == 0)
        return act_write(1, n[0], n[1]);
    if (strcmp(argv[0], "err") == 0)
        return act_write(2, n[0], n[1]);
    if (strcmp(argv[0], "both") == 0)
        return act_both(n[0]);
    if (strcmp(argv[0], "mix") == 0)
        return act_mix(n[0]);
    if (strcmp(argv[0], "leave-writer") == 0)
        return act_leave_writer();
    packets(true);
    return act_write(1, n[0], n[1]);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static bool is_pattern(const ms_buf *b, int stream, size_t size)
{
    bool same = b->len == size;
    for (size_t i = 0; same && i < size; i++)
        same = b->data[i] == pattern(stream, i);
    return same;
}

static bool ended(const seen *s, int exit_code, int killed)
{
    return !s->hung && s->result == 0 && s->finished && s->status == 0 &&
           s->final.exit_code == exit_code && s->final.killed == killed;
}

static const size_t sizes[] = {1,       4095,    4096,    4097,    65535,   65536,   65537,
                               262135,  262136,  262137,  262143,  262144,  262145,  1048567,
                               1048568, 1048569, 1048575, 1048576, 1048577, 3000001, 0};

static void test_sizes(void)
{
    for (size_t i = 0; sizes[i] != 0; i++) {
        char size[32];
        snprintf(size, sizeof size, "%zu", sizes[i]);
        /* at once and, where that is not for ever, in small pieces */
        plan whole = {ACT("out", size, size)}, pieces = {ACT("out", size, "97")};
        seen *s = run_plan(&whole);
        ok(ended(s, 0, 0) && is_pattern(&s->out, 1, sizes[i]) && s->err.len == 0 &&
               s->final.stdout_bytes == sizes[i],
           "%zu bytes of stdout at once", sizes[i]);
        if (sizes[i] > 300000)
            continue;
        s = run_plan(&pieces);
        ok(ended(s, 0, 0) && is_pattern(&s->out, 1, sizes[i]), "%zu in pieces of 97", sizes[i]);
    }
    plan err = {ACT("err", "1048577", "65537")};
    seen *s = run_plan(&err);
    ok(ended(s, 0, 0) && is_pattern(&s->err, 2, 1048577) && s->out.len == 0, "stderr as well");
}

static void test_limits(void)
{
    for (size_t i = 0; sizes[i] != 0; i++) {
        char fits[32], more[32];
        snprintf(fits, sizeof fits, "%zu", sizes[i]);
        snprintf(more, sizeof more, "%zu", sizes[i] + 1);
        plan p = {ACT("out", fits, fits), .out_max = sizes[i]};
        seen *s = run_plan(&p);
        ok(ended(s, 0, 0) && is_pattern(&s->out, 1, sizes[i]), "the limit of %zu", sizes[i]);
        plan q = {ACT("out", more, more), .out_max = sizes[i]};
        s = run_plan(&q);
        /* It may have ended before it is killed. */
        ok(!s->hung && s->result == 0 && s->finished && s->final.killed == MS_KILLED_STDOUT &&
               is_pattern(&s->out, 1, sizes[i]) && s->final.stdout_bytes > sizes[i],
           "and one byte more");
    }
    plan both = {ACT("both", "400000", ""), .out_max = 400000, .err_max = 399999};
    seen *s = run_plan(&both);
    ok(s->finished && s->final.killed == MS_KILLED_STDERR && is_pattern(&s->err, 2, 399999),
       "the limit of stderr is its own");
}

static void test_readers(void)
{
    static const int at_once[] = {1, 3, 4096, 4099, 65536, 0};
    for (size_t i = 0; i < sizeof at_once / sizeof *at_once; i++) {
        const char *size = at_once[i] == 1 || at_once[i] == 3 ? "70001" : "2000003";
        plan p = {ACT("both", size, ""), .read_size = (size_t)at_once[i]};
        seen *s = run_plan(&p);
        size_t n = strtoul(size, NULL, 10);
        ok(ended(s, 0, 0) && is_pattern(&s->out, 1, n) && is_pattern(&s->err, 2, n),
           "both streams in turn, read by %d", at_once[i]);
    }
    plan late = {ACT("both", "1500000", ""), .read_after_ms = 300};
    seen *s = run_plan(&late);
    ok(ended(s, 0, 0) && is_pattern(&s->out, 1, 1500000) && is_pattern(&s->err, 2, 1500000),
       "both streams, read late");
}

/* What a program writes with O_DIRECT lies in the pipe as packets, of which a reader gets only as
 * much as its buffer takes. The engine reads by 4096. */
static void test_packets(void)
{
    static const char *const steps[] = {"1", "1000", "4096", "65536"};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const char *size = i == 0 ? "60000" : "2000000";
        plan p = {ACT("packets", size, steps[i]), .read_size = 4096};
        seen *s = run_plan(&p);
        ok(ended(s, 0, 0) && is_pattern(&s->out, 1, strtoul(size, NULL, 10)), "packets of %s",
           steps[i]);
    }
    plan mix = {ACT("mix", "3000000", ""), .read_size = 4096};
    seen *s = run_plan(&mix);
    ok(ended(s, 0, 0) && s->out.len == s->final.stdout_bytes, "packets among other bytes");
    plan edge = {ACT("packets", "8192", "4096"), .out_max = 5000, .read_size = 4096};
    s = run_plan(&edge);
    ok(s->result == 0 && s->final.killed == MS_KILLED_STDOUT && is_pattern(&s->out, 1, 5000),
       "a packet across the limit");
}

static void test_writer_left(void)
{
    plan p = {ACT("leave-writer", "", ""), .out_max = (uint64_t)1 << 32};
    seen *s = run_plan(&p);
    ok(ended(s, 3, 0) && s->final.stragglers == 1, "a child that goes on writing is killed");
    ok(s->took < 2 && is_pattern(&s->out, 1, s->out.len), "soon: %.3f s, %zu bytes", s->took,
       s->out.len);
    plan late = {ACT("leave-writer", "", ""), .out_max = (uint64_t)1 << 32, .read_after_ms = 300};
    s = run_plan(&late);
    ok(ended(s, 3, 0) && s->took < 2 && is_pattern(&s->out, 1, s->out.len),
       "while the host does not read, too");
}

static long switches(void)
{
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return u.ru_nvcsw;
}

/* To wake each other up costs all who take part more than the bytes do: the agent must not come for
 * each small piece that the engine took out of a full pipe. It looks once in a millisecond. */
static void test_wakings(void)
{
    enum { SIZE = 8 << 20, PIECE = 4096 };
    char size[32];
    snprintf(size, sizeof size, "%d", SIZE);
    plan p = {ACT("out", size, "65536"), .read_size = PIECE, .read_slowly = true};
    long before = switches();
    seen *s = run_plan(&p);
    long n = switches() - before;
    ok(ended(s, 0, 0) && is_pattern(&s->out, 1, SIZE), "much output for a slow reader");
    ok((double)n < 100 + 2000 * s->took, "%ld switches for %d pieces in %.3f s", n, SIZE / PIECE,
       s->took);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--act") == 0)
        return act(argv + 2);
    if (!harness_open())
        return done_testing();
    test_sizes();
    test_limits();
    test_readers();
    test_packets();
    test_writer_left();
    test_wakings();
    harness_close();
    return done_testing();
}
