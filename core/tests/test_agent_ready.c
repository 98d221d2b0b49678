/* The decoder with a fork server behind the agent: several runs in one conversation, each ended by
 * READY or RETIRE, and every frame that comes where it may not. */
#include <stdlib.h>

#include "agent_frames.h"
#include "tap.h"

static void ready(ms_buf *b, uint64_t tier, const char *namespaces)
{
    ms_buf f = {0};
    number(&f, MS_T_TIER, tier);
    text(&f, MS_T_NAMESPACES, namespaces);
    number(&f, MS_T_MEMORY, 12345);
    fields(b, MS_F_READY, &f);
}

static void retire(ms_buf *b, const char *reason, const char *message)
{
    ms_buf f = {0};
    text(&f, MS_T_REASON, reason);
    text(&f, MS_T_MESSAGE, message);
    fields(b, MS_F_RETIRE, &f);
}

/* h HELLO, p PROBE, R READY, T RETIRE, s STARTED, o STDOUT, v VALUE, a artefact, F FINAL, C FINAL
 * of one that never began, X FAILED, P PONG, ! one byte. */
static void steps(ms_buf *b, const char *s)
{
    ms_buf f = {0};
    for (; *s != '\0'; s++) {
        switch (*s) {
        case 'h':
            hello(b);
            break;
        case 'p':
            bytes(&f, MS_T_PROBE, "id\0x", 4);
            fields(b, MS_F_PROBE, &f);
            break;
        case 'R':
            ready(b, MS_TIER_NAMESPACES, "user,mnt,pid,ipc,uts,net,cgroup");
            break;
        case 'T':
            retire(b, "tmp", "a file in /tmp");
            break;
        case 's':
            started(b);
            break;
        case 'o':
            frame(b, MS_F_STDOUT, "x", 1);
            break;
        case 'v':
            frame(b, MS_F_VALUE, "1", 1);
            break;
        case 'a':
            artefact(b, "a");
            frame(b, MS_F_ARTEFACT_DATA, "12", 2);
            artefact_end(b, 2, NULL);
            break;
        case 'F':
            final(b);
            break;
        case 'C':
            final_with(b, false, MS_T_KILLED, MS_KILLED_HOST, 0);
            break;
        case 'X':
            failed(b, "preload", 0, "No module named 'x'");
            break;
        case 'P':
            frame(b, MS_F_PONG, NULL, 0);
            break;
        default:
            ms_buf_add(b, "\0", 1);
            break;
        }
    }
}

static int note(void *arg, const ms_agent_event *ev)
{
    ms_buf *log = arg;
    ms_buf_addf(log, "%02x", (unsigned)ev->type);
    if (ev->type == MS_F_READY)
        ms_buf_addf(log, "(%llu %s %llu)", (unsigned long long)ev->number, ev->namespaces,
                    (unsigned long long)ev->memory);
    if (ev->type == MS_F_RETIRE)
        ms_buf_addf(log, "(%s: %s)", ev->reason, ev->message);
    return 0;
}

static int decode(const ms_buf *b, bool server, size_t step, ms_buf *log)
{
    ms_agent_decoder *d = NULL;
    int r = 0;
    log->len = 0;
    if (ms_agent_decoder_new(&d, NULL) < 0)
        return -2;
    if (server)
        ms_agent_decoder_serve(d);
    for (size_t at = 0; at < b->len && r == 0; at += step) {
        size_t n = b->len - at < step ? b->len - at : step;
        char *piece = malloc(n);
        memcpy(piece, b->data + at, n);
        r = ms_agent_decoder_feed(d, piece, n, note, log);
        free(piece);
    }
    ms_agent_decoder_free(d);
    return r;
}

static void is(int want, ms_buf *b, bool server, const char *name)
{
    ms_buf log = {0};
    int whole = decode(b, server, b->len, &log), single = decode(b, server, 1, &log);
    ok(whole == want && single == want, "%s: %s (%d, %d)", want ? "tampered" : "fine", name, whole,
       single);
    ms_buf_free(&log);
    ms_buf_free(b);
}

static void test_order(void)
{
    static const struct {
        int want;
        const char *steps, *name;
    } cases[] = {
        {0, "hpRsovaFRsovaFR", "two runs"},   {0, "hRPsFRPP", "PONG between runs"},
        {0, "hPpPR", "and before the first"}, {0, "hRsFT", "RETIRE after a run"},
        {0, "hRT", "and between runs"},       {0, "hRCR", "a run that never began"},
        {0, "hX", "no fork server"},          {0, "hRX", "a program that cannot be started"},
        {-1, "R", "READY before HELLO"},      {-1, "hRR", "READY twice"},
        {-1, "hs", "a run before READY"},     {-1, "hC", "not even one that never began"},
        {-1, "hRsR", "READY in a run"},       {-1, "hRsT", "RETIRE in a run"},
        {-1, "hRsP", "PONG in a run"},        {-1, "hRsFs", "a run without READY"},
        {-1, "hRsFo", "output after FINAL"},  {-1, "hRsFP", "PONG while it makes ready"},
        {-1, "hRsFF", "FINAL twice"},         {-1, "hRsFX", "FAILED after FINAL"},
        {-1, "hT", "RETIRE before READY"},    {-1, "hRT!", "a byte after RETIRE"},
        {-1, "hX!", "a byte after FAILED"},   {-1, "hRsvvF", "two values in one run"},
        {-1, "hRp", "PROBE after READY"},     {-1, "hRo", "output without a run"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ms_buf b = {0};
        steps(&b, cases[i].steps);
        is(cases[i].want, &b, true, cases[i].name);
    }
    ms_buf b = {0};
    steps(&b, "hR");
    is(-1, &b, false, "READY without a fork server");
    steps(&b, "hT");
    is(-1, &b, false, "RETIRE without one");
    steps(&b, "hPsF");
    is(0, &b, false, "PONG without one");
    steps(&b, "hsFP");
    is(-1, &b, false, "but not after FINAL");
}

static void test_fields(void)
{
    static const char *const wrong[] = {"user,user", "user,",     ",user", "time",
                                        "user mnt",  "user,,mnt", "USER",  "\x1b[1m"};
    ms_buf b = {0}, f = {0}, log = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        hello(&b);
        ready(&b, 2, wrong[i]);
        is(-1, &b, true, "namespaces that are none");
    }
    hello(&b);
    ready(&b, 1, "");
    is(0, &b, true, "no namespaces");
    hello(&b);
    ready(&b, 3, "");
    is(-1, &b, true, "a tier that is none");
    hello(&b);
    text(&f, MS_T_NAMESPACES, "");
    number(&f, MS_T_MEMORY, 1);
    fields(&b, MS_F_READY, &f);
    is(-1, &b, true, "READY without a tier");
    static const char *const reasons[] = {MS_RETIRE_REASONS};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        steps(&b, "hR");
        retire(&b, reasons[i], "");
        is(0, &b, true, reasons[i]);
    }
    steps(&b, "hR");
    retire(&b, "mood", "");
    is(-1, &b, true, "another reason");
    steps(&b, "hR");
    retire(&b, "tmp", "a\nb");
    is(-1, &b, true, "a control character in its message");
    steps(&b, "hR");
    frame(&b, MS_F_PONG, "x", 1);
    is(-1, &b, true, "PONG with a payload");
    steps(&b, "hRsFT");
    decode(&b, true, b.len, &log);
    is_str(log.data, "818e(2 user,mnt,pid,ipc,uts,net,cgroup 12345)838c8f(tmp: a file in /tmp)",
           "what is told");
    ms_buf_free(&log);
    ms_buf_free(&b);
}

int main(void)
{
    test_order();
    test_fields();
    return done_testing();
}
