/* The decoder of the agent's frames: whole conversations, every cut, every way to break it. */
#include <stdlib.h>
#include <string.h>

#include "agent_frames.h"
#include "tap.h"

/* ---- taking it in: events become lines ---- */

static int note(void *arg, const ms_agent_event *ev)
{
    ms_buf *log = arg;
    ms_buf_addf(log, "%02x", (unsigned int)ev->type);
    if (ev->type == MS_F_STDOUT || ev->type == MS_F_STDERR || ev->type == MS_F_VALUE ||
        ev->type == MS_F_ARTEFACT_DATA)
        return ms_buf_addf(log, "(%.*s)", (int)ev->len, ev->data);
    if (ev->type == MS_F_PROBE || ev->type == MS_F_REPORT)
        ms_buf_addf(log, "(%.*s)", (int)ev->len, ev->data);
    if (ev->path != NULL)
        ms_buf_addf(log, " %s", ev->path);
    if (ev->reason != NULL)
        ms_buf_addf(log, " %s", ev->reason);
    if (ev->stage != NULL)
        ms_buf_addf(log, " %s", ev->stage);
    if (ev->final != NULL)
        ms_buf_addf(log, " %d/%d/%d", ev->final->exit_code, ev->final->signal, ev->final->killed);
    else
        ms_buf_addf(log, " %llu", (unsigned long long)ev->number);
    return ms_buf_adds(log, ";");
}

/* Feeds b in pieces of `step` bytes (0: all at once), frees nothing. */
static int decode(const ms_buf *b, size_t step, ms_buf *log)
{
    ms_agent_decoder *d = NULL;
    int r = 0;
    log->len = 0;
    if (ms_agent_decoder_new(&d, NULL) < 0)
        return -2;
    for (size_t at = 0; at < b->len && r == 0; at += step) {
        size_t n = step == 0 || b->len - at < step ? b->len - at : step;
        /* A copy of just these bytes, so that a sanitizer sees one read too far. */
        char *piece = malloc(n);
        memcpy(piece, b->data + at, n);
        r = ms_agent_decoder_feed(d, piece, n, note, log);
        free(piece);
        if (step == 0)
            break;
    }
    ms_agent_decoder_free(d);
    return r;
}

static void good(ms_buf *b, const char *want, const char *name)
{
    ms_buf log = {0};
    is_int(decode(b, 0, &log), 0, "%s", name);
    is_str(log.data, want, "%s: events", name);
    ms_buf_free(&log);
    ms_buf_free(b);
}

static void bad(ms_buf *b, const char *name)
{
    ms_buf log = {0};
    int whole = decode(b, 0, &log);
    int single = decode(b, 1, &log);
    ok(whole == -1 && single == -1, "tampered: %s (%d, %d)", name, whole, single);
    ms_buf_free(&log);
    ms_buf_free(b);
}

/* ---- tests ---- */

static void conversation(ms_buf *b)
{
    ms_buf f = {0};
    hello(b);
    bytes(&f, MS_T_PROBE, "id\0001000 1000", 12);
    bytes(&f, MS_T_PROBE, "route\0", 6);
    fields(b, MS_F_PROBE, &f);
    started(b);
    frame(b, MS_F_STDOUT, "hello ", 6);
    frame(b, MS_F_STDERR, "oh", 2);
    number(&f, MS_T_SIZE, 65536);
    fields(b, MS_F_CREDIT, &f);
    frame(b, MS_F_REPORT, "{\"a\":1}", 7);
    frame(b, MS_F_STDOUT, "world", 5);
    frame(b, MS_F_REPORT, "\0\n\xff", 3);
    frame(b, MS_F_VALUE, "{}", 2);
    artefact(b, "a/b.txt");
    frame(b, MS_F_ARTEFACT_DATA, "12345", 5);
    frame(b, MS_F_ARTEFACT_DATA, "678", 3);
    artefact_end(b, 8, NULL);
    rejected(b, "link", "symlink");
    artefact(b, "empty");
    artefact_end(b, 0, "changed");
    final(b);
}

static void test_conversation(void)
{
    ms_buf b = {0}, log = {0};
    conversation(&b);
    is_int(decode(&b, 0, &log), 0, "a whole conversation");
    is_str(log.data,
           "81 3;82(1000 1000) id 0;82() route 0;83 0;84(hello )85(oh)86 65536;91({\"a\":1}) "
           "0;84(world)"
           "91() 0;87({})"
           "88 a/b.txt 420;89(12345)89(678)8a 8;8b link symlink 0;88 empty 420;8a changed 0;"
           "8c 5/0/0;",
           "its events");
    char *joined = ms_strdup(log.data);
    int wrong = 0, cut = 0;
    for (size_t step = 1; step < b.len; step++)
        wrong += decode(&b, step, &log) != 0;
    is_int(wrong, 0, "in pieces of every size");
    /* Two pieces: the text pieces may be split, all else is the same. */
    for (size_t at = 1; at < b.len; at++) {
        ms_agent_decoder *d = NULL;
        log.len = 0;
        ms_agent_decoder_new(&d, NULL);
        cut += ms_agent_decoder_feed(d, b.data, at, note, &log) != 0 ||
               ms_agent_decoder_feed(d, b.data + at, b.len - at, note, &log) != 0 ||
               log.len < strlen(joined);
        ms_agent_decoder_free(d);
    }
    is_int(cut, 0, "cut at every byte");
    /* Each prefix is fine as far as it goes, and says no FINAL. */
    int early = 0;
    for (size_t n = 0; n < b.len; n++) {
        ms_buf prefix = {b.data, n, n};
        early += decode(&prefix, 0, &log) != 0 || (log.len > 0 && strstr(log.data, "8c ") != NULL);
    }
    is_int(early, 0, "no prefix ends it");
    /* Any one byte of a head changed is noticed, or changes what is said, but never crashes. */
    for (size_t i = 0; i < b.len; i++)
        for (unsigned int bit = 0; bit < 8; bit++) {
            b.data[i] = (char)(b.data[i] ^ (char)(1u << bit));
            (void)decode(&b, 7, &log);
            b.data[i] = (char)(b.data[i] ^ (char)(1u << bit));
        }
    ok(true, "every bit flipped");
    ms_free(joined);
    ms_buf_free(&log);
    ms_buf_free(&b);
}

static void test_endings(void)
{
    ms_buf b = {0};
    hello(&b);
    failed(&b, "exec", 2, "cannot execute: x");
    good(&b, "81 3;8d cannot execute: x exec 2;", "FAILED");
    hello(&b);
    final_with(&b, false, MS_T_KILLED, MS_KILLED_HOST, 0);
    good(&b, "81 3;8c -1/0/4;", "FINAL before the start");
    hello(&b);
    started(&b);
    final_with(&b, false, MS_T_SIGNAL, 9, 0);
    good(&b, "81 3;83 0;8c -1/9/0;", "a signal");
    hello(&b);
    started(&b);
    frame(&b, MS_F_VALUE, NULL, 0);
    final(&b);
    good(&b, "81 3;83 0;87()8c 5/0/0;", "an empty value");
}

static void test_order(void)
{
    static const struct {
        const char *name, *steps;
    } cases[] = {
        {"nothing before HELLO", "s"},     {"no second HELLO", "hh"},
        {"no FINAL before STARTED", "hF"}, {"no output before STARTED", "ho"},
        {"no second STARTED", "hss"},      {"no second PROBE", "hpp"},
        {"no PROBE after STARTED", "hsp"}, {"no FAILED after STARTED", "hsX"},
        {"no output after VALUE", "hsvo"}, {"no output after an artefact", "hsado"},
        {"no credit after VALUE", "hsvc"}, {"no report before STARTED", "hR"},
        {"no report after VALUE", "hsvR"}, {"no report inside an artefact", "hsaR"},
        {"no report after FINAL", "hsFR"}, {"no empty report", "hsE"},
        {"no second VALUE", "hsvv"},       {"no data outside", "hsd"},
        {"no end outside", "hse"},         {"no FINAL inside", "hsaF"},
        {"no VALUE inside", "hsav"},       {"no REJECTED inside", "hsar"},
        {"no artefact inside", "hsaa"},    {"no results before the start", "hv"},
        {"nothing after FINAL", "hsFo"},   {"not one byte after FINAL", "hsF!"},
        {"nothing after FAILED", "hX!"},   {"no output after REJECTED", "hsro"},
        {"no frames of the host", "hG"},   {"no unknown frames", "hs?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ms_buf b = {0}, f = {0};
        for (const char *s = cases[i].steps; *s != '\0'; s++) {
            switch (*s) {
            case 'h':
                hello(&b);
                break;
            case 's':
                started(&b);
                break;
            case 'p':
                bytes(&f, MS_T_PROBE, "id\0x", 4);
                fields(&b, MS_F_PROBE, &f);
                break;
            case 'o':
                frame(&b, MS_F_STDOUT, "x", 1);
                break;
            case 'c':
                number(&f, MS_T_SIZE, 1);
                fields(&b, MS_F_CREDIT, &f);
                break;
            case 'R':
                frame(&b, MS_F_REPORT, "{}", 2);
                break;
            case 'E':
                frame(&b, MS_F_REPORT, NULL, 0);
                break;
            case 'v':
                frame(&b, MS_F_VALUE, "1", 1);
                break;
            case 'a':
                artefact(&b, "a");
                break;
            case 'd':
                frame(&b, MS_F_ARTEFACT_DATA, "x", 1);
                break;
            case 'e':
                artefact_end(&b, 0, NULL);
                break;
            case 'r':
                rejected(&b, "a", "size");
                break;
            case 'F':
                final(&b);
                break;
            case 'X':
                failed(&b, "exec", 2, "m");
                break;
            case 'G':
                frame(&b, MS_F_GO, NULL, 0);
                break;
            case '?':
                frame(&b, 0xff, NULL, 0);
                break;
            default:
                ms_buf_add(&b, "\0", 1);
                break;
            }
        }
        bad(&b, cases[i].name);
    }
}

static void test_final(void)
{
    static const struct {
        const char *name;
        int tag;
        uint64_t v;
        bool exit_code;
    } cases[] = {
        {"no exit code and no signal", 0, 0, false},
        {"both", MS_T_SIGNAL, 9, true},
        {"exit code 256", MS_T_EXIT_CODE, 256, true},
        {"signal 0", MS_T_SIGNAL, 0, false},
        {"signal 65", MS_T_SIGNAL, 65, false},
        {"killed 5", MS_T_KILLED, 5, true},
        {"landlocked 2", MS_T_LANDLOCKED, 2, true},
        {"2^63 dropped reports", MS_T_REPORTS_DROPPED, (uint64_t)1 << 63, true},
        {"less read than handed over", MS_T_STDOUT_BYTES, 2, true},
        {"2^32 stragglers", MS_T_STRAGGLERS, (uint64_t)1 << 32, true},
        {"2^63 ns", MS_T_WALL_NS, (uint64_t)1 << 63, true},
        {"a field of another frame", MS_T_PATH, 1, true},
        {"an unknown field", 63, 1, true},
        {"a field above the table", 200, 1, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ms_buf b = {0};
        hello(&b);
        started(&b);
        frame(&b, MS_F_STDOUT, "abc", 3);
        final_with(&b, cases[i].exit_code, cases[i].tag, cases[i].v, 0);
        bad(&b, cases[i].name);
    }
    for (int tag = MS_T_WALL_NS; tag <= MS_T_LANDLOCKED; tag++) {
        if (tag == MS_T_EXIT_CODE || tag == MS_T_SIGNAL)
            continue;
        ms_buf b = {0};
        hello(&b);
        started(&b);
        final_with(&b, true, 0, 0, tag);
        char name[32];
        snprintf(name, sizeof name, "without field %d", tag);
        bad(&b, name);
    }
    ms_buf b = {0};
    hello(&b);
    final_with(&b, true, MS_T_KILLED, MS_KILLED_HOST, 0);
    bad(&b, "an exit code without a start");
    hello(&b);
    final_with(&b, false, MS_T_KILLED, MS_KILLED_TIMEOUT, 0);
    bad(&b, "a timeout without a start");
}

static void raw_fields(ms_buf *b, int type, const void *p, size_t n)
{
    hello(b);
    if (type != MS_F_PROBE && type != MS_F_FAILED)
        started(b);
    frame(b, type, p, n);
}

static void test_malformed(void)
{
    static const char *const paths[] = {"/abs",  "a//b", "../a",      "a/..",         ".",
                                        "./a",   "a/",   "",          "a\\b",         "a\nb",
                                        "a\x7f", "\xff", "a\xc0\x80", "\xed\xa0\x80", "\xc2\x9b[m"};
    ms_buf b = {0}, f = {0};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        hello(&b);
        started(&b);
        artefact(&b, paths[i]);
        bad(&b, "an artefact's path");
    }
    hello(&b);
    started(&b);
    bytes(&f, MS_T_PATH, "a\0b", 3);
    number(&f, MS_T_MODE, 0644);
    fields(&b, MS_F_ARTEFACT, &f);
    bad(&b, "a NUL in a path");
    hello(&b);
    started(&b);
    text(&f, MS_T_PATH, "a");
    number(&f, MS_T_MODE, 04755);
    fields(&b, MS_F_ARTEFACT, &f);
    bad(&b, "setuid");
    hello(&b);
    started(&b);
    rejected(&b, "a", "because");
    bad(&b, "an unknown reason");
    hello(&b);
    started(&b);
    rejected(&b, "a\x1b[1m", "name");
    bad(&b, "an escape sequence in a rejected path");
    hello(&b);
    failed(&b, "kernel", 2, "m");
    bad(&b, "an unknown stage");
    hello(&b);
    failed(&b, "exec", 1 << 20, "m");
    bad(&b, "an impossible errno");
    hello(&b);
    started(&b);
    artefact(&b, "a");
    frame(&b, MS_F_ARTEFACT_DATA, "123", 3);
    artefact_end(&b, 4, NULL);
    bad(&b, "a size that is not the sum");
    hello(&b);
    started(&b);
    number(&f, MS_T_SIZE, 0);
    fields(&b, MS_F_CREDIT, &f);
    bad(&b, "no credit");
    hello(&b);
    started(&b);
    number(&f, MS_T_SIZE, MS_PROTO_STDIN_CREDIT + 1);
    fields(&b, MS_F_CREDIT, &f);
    bad(&b, "too much credit");
    hello(&b);
    started(&b);
    number(&f, MS_T_SIZE, 1);
    number(&f, MS_T_SIZE, 1);
    fields(&b, MS_F_CREDIT, &f);
    bad(&b, "a field twice");
    raw_fields(&b, MS_F_CREDIT, "\x18\0\0\0\7abcdefg", 12);
    bad(&b, "a number of 7 bytes");
    raw_fields(&b, MS_F_CREDIT,
               "\x18\0\0\0\x09"
               "abcdefgh",
               13);
    bad(&b, "a field longer than the frame");
    raw_fields(&b, MS_F_CREDIT,
               "\x18\xff\xff\xff\xff"
               "abcdefgh",
               13);
    bad(&b, "a field of 4 GiB");
    raw_fields(&b, MS_F_CREDIT, "\x18\0\0", 3);
    bad(&b, "a field that is cut off");
    raw_fields(&b, MS_F_PROBE, "\x1a\0\0\0\2id", 7);
    bad(&b, "a probe item without text");
    raw_fields(&b, MS_F_PROBE, "\x1a\0\0\0\4ix\0a", 9);
    bad(&b, "a probe item of unknown name");
    raw_fields(&b, MS_F_PROBE, "\x1a\0\0\0\xffid\0a", 9);
    bad(&b, "a probe item that is too long");
    hello(&b);
    frame(&b, MS_F_STARTED, "x", 1);
    bad(&b, "STARTED with a payload");
    raw_fields(&b, MS_F_STDOUT, NULL, 0);
    ms_put_u32((unsigned char *)b.data + b.len - 4, MS_PROTO_MAX + 1);
    bad(&b, "a frame that is too long");
    raw_fields(&b, MS_F_REJECTED, NULL, 0);
    ms_put_u32((unsigned char *)b.data + b.len - 4, MS_PROTO_MAX);
    bad(&b, "fields that are too long");
    for (size_t i = 1; i < 4; i++) {
        hello(&b);
        b.data[i] = 1;
        bad(&b, "a head with a byte that is not 0");
    }
    ms_buf_adds(&b, "HTTP/1.1 200 OK\r\n\r\n");
    bad(&b, "another protocol");
}

static int count_reports(void *arg, const ms_agent_event *ev)
{
    size_t *count = arg;
    *count += ev->type == MS_F_REPORT;
    return 0;
}

/* So many reports of so many bytes, in pieces; how many came out in *count. */
static int reports(size_t n, size_t size, size_t *count)
{
    ms_buf b = {0}, one = {0};
    ms_agent_decoder *d = NULL;
    hello(&b);
    started(&b);
    char *text = calloc(1, size);
    frame(&one, MS_F_REPORT, text, size);
    free(text);
    *count = 0;
    ms_agent_decoder_new(&d, NULL);
    int r = ms_agent_decoder_feed(d, b.data, b.len, count_reports, count);
    for (size_t i = 0; i < n && r == 0; i++) {
        size_t half = one.len / 2;
        r = ms_agent_decoder_feed(d, one.data, half, count_reports, count);
        if (r == 0)
            r = ms_agent_decoder_feed(d, one.data + half, one.len - half, count_reports, count);
    }
    ms_agent_decoder_free(d);
    ms_buf_free(&b);
    ms_buf_free(&one);
    return r;
}

static void test_report_bounds(void)
{
    size_t count, most = MS_REPORTS_BYTES_MAX / MS_REPORT_MAX;
    ok(reports(1, MS_REPORT_MAX, &count) == 0 && count == 1, "the longest report");
    ok(reports(1, MS_REPORT_MAX + 1, &count) == -1 && count == 0, "tampered: a longer one");
    ok(reports(MS_REPORTS_MAX, 1, &count) == 0 && count == MS_REPORTS_MAX, "the most reports");
    ok(reports(MS_REPORTS_MAX + 1, 1, &count) == -1 && count == MS_REPORTS_MAX,
       "tampered: one more");
    ok(reports(most, MS_REPORT_MAX, &count) == 0 && count == most, "the most bytes of them");
    ok(reports(most + 1, MS_REPORT_MAX, &count) == -1 && count == most, "tampered: more bytes");
    ok(reports(MS_REPORTS_MAX, MS_REPORTS_BYTES_MAX / MS_REPORTS_MAX + 1, &count) == -1,
       "tampered: more bytes by small ones");

    /* With a fork server each run has all of it. */
    ms_buf b = {0}, f = {0};
    ms_agent_decoder *d = NULL;
    count = 0;
    hello(&b);
    for (int run = 0; run < 3; run++) {
        number(&f, MS_T_TIER, MS_TIER_LANDLOCK);
        text(&f, MS_T_NAMESPACES, "");
        number(&f, MS_T_MEMORY, 1);
        fields(&b, MS_F_READY, &f);
        started(&b);
        for (int i = 0; i < MS_REPORTS_MAX; i++)
            frame(&b, MS_F_REPORT, "{}", 2);
        final_with(&b, true, MS_T_REPORTS_DROPPED, 7, 0);
    }
    ms_agent_decoder_new(&d, NULL);
    ms_agent_decoder_serve(d);
    is_int(ms_agent_decoder_feed(d, b.data, b.len, count_reports, &count), 0, "three runs of it");
    is_int((long)count, 3 * MS_REPORTS_MAX, "and all come out");
    ms_agent_decoder_free(d);
    ms_buf_free(&b);
}

static int stop(void *arg, const ms_agent_event *ev)
{
    int *count = arg;
    ++*count;
    return ev->type == MS_F_STARTED ? 17 : 0;
}

static void test_stop(void)
{
    ms_buf b = {0};
    ms_agent_decoder *d = NULL;
    int count = 0;
    conversation(&b);
    ms_agent_decoder_new(&d, NULL);
    is_int(ms_agent_decoder_feed(d, b.data, b.len, stop, &count), 17, "the callback may stop it");
    is_int(count, 4, "at once");
    is_int(ms_agent_decoder_feed(d, "", 0, stop, &count), -1, "for good");
    ms_agent_decoder_free(d);
    ms_agent_decoder_free(NULL);
    ms_buf_free(&b);
}

int main(void)
{
    test_conversation();
    test_endings();
    test_order();
    test_final();
    test_malformed();
    test_report_bounds();
    test_stop();
    return done_testing();
}
