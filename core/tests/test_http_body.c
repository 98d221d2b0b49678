/* Bodies that are given piece by piece, answers that are held, headers of the caller's. */
#include "fake_http.h"

typedef struct feeder {
    answer a; /* first: on_done and on_data get it */
    ms_http_call *call;
    ms_timer timer;
    int step;
    bool fails;
    uint64_t sent;
} feeder;

static void on_timer(void *arg)
{
    feeder *f = arg;
    ms_http_resume(f->call);
    ms_http_resume(f->call); /* once too often */
}

/* "hel", nothing for a while, "lo", the end. */
static ssize_t feed(void *arg, char *p, size_t n, moonsand_error **err)
{
    feeder *f = arg;
    switch (f->step++) {
    case 0:
        memcpy(p, "hel", 3);
        return n >= 3 ? 3 : -1;
    case 1:
        ms_timer_start(&f->timer, loop, 50 * MS_MS, on_timer, f);
        return MS_HTTP_WAIT;
    case 2:
        if (f->fails)
            return ms_fail(err, MOONSAND_E_CONFLICT, "no more of it");
        memcpy(p, "lo", 2);
        return 2;
    default:
        return 0;
    }
}

static void on_sent(void *arg, uint64_t bytes)
{
    feeder *f = arg;
    f->sent = bytes;
}

static bool post(feeder *f, ms_http_request req)
{
    req.method = "POST";
    req.path = "/build";
    req.body_fd = -1;
    req.on_done = on_done;
    req.arg = f;
    req.timeout_ns = 10 * MS_S;
    return ms_http_start(&f->call, http, &req, &f->a.err) == 0 &&
           fake_drive(loop, &f->a.done, 20 * MS_S);
}

static void fed(void)
{
    feeder f = {0};
    ok(post(&f, (ms_http_request){.on_read = feed, .on_sent = on_sent}), "a body that is fed");
    is_int(f.a.status, 200, "arrives: %s", moonsand_error_message(f.a.err));
    ok(strstr(f.a.body, "chunked") && strstr(f.a.body, "\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
       "in chunks, with what came after the wait");
    is_int(f.sent, 5, "its bytes are counted");

    feeder known = {0};
    post(&known, (ms_http_request){.on_read = feed, .read_size = 5});
    ok(strstr(known.a.body, "Content-Length: 5\r\n") && strstr(known.a.body, "\r\n\r\nhello"),
       "with a size it has a length");

    feeder bad = {.fails = true};
    post(&bad, (ms_http_request){.on_read = feed});
    ok(bad.a.status == 0 && bad.a.err, "a body that fails");
    is_str(code(&bad.a), "conflict", "ends the call with its error: %s",
           moonsand_error_message(bad.a.err));
    forget(&bad.a);

    feeder dropped = {0};
    ms_http_request req = {.method = "POST", .path = "/", .on_read = feed, .body_fd = -1};
    req.on_done = on_done;
    req.arg = &dropped;
    ms_http_start(&dropped.call, http, &req, NULL);
    fake_drive(loop, &dropped.a.done, 20 * MS_MS);
    ms_http_cancel(dropped.call);
    ms_timer_stop(&dropped.timer);
    pass("cancelled while it waits");
}

static void headers(void)
{
    answer a;
    moonsand_header good[] = {{"X-Registry-Auth", "e30="}, {"X-Empty", ""}};
    CALL(&a, .headers = good, .header_count = 2);
    ok(strstr(a.body, "X-Registry-Auth: e30=\r\n") && strstr(a.body, "X-Empty:"), "headers arrive");
    static const moonsand_header bad[] = {
        {"X-A", "s3cret\r\nX-B: 1"},
        {"X-A", "s3cret\n"},
        {"X-A", "s3cret\x7f"},
        {"X A", "s3cret"},
        {"X:A", "s3cret"},
        {"", "s3cret"},
        {NULL, "s3cret"},
        {"X-A", NULL},
        {"host", "s3cret"},
        {"Content-length", "s3cret"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ok(!CALL(&a, .headers = &bad[i], .header_count = 1) && a.err, "header %zu is refused", i);
        ok(strcmp(code(&a), "invalid") == 0 && !strstr(moonsand_error_message(a.err), "s3cret"),
           "without its value: %s", moonsand_error_message(a.err));
        forget(&a);
    }
}

static void serve_much(fake_conn *c, void *arg)
{
    static const char piece[65536];
    (void)arg;
    if (!fake_request(c) || !fake_puts(c, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n"))
        return;
    for (int i = 0; i < 1024 && fake_send(c, piece, sizeof piece); i++)
        ;
}

static feeder *holding;

static int hold(void *arg, const char *p, size_t n, moonsand_error **err)
{
    ms_http_hold(holding->call, true);
    return on_data(arg, p, n, err);
}

static int full(void *arg, const char *p, size_t n, moonsand_error **err)
{
    on_data(arg, p, n, err);
    return ms_fail(err, MOONSAND_E_IO, "the disk is full");
}

static void held(void)
{
    feeder f = {0};
    holding = &f;
    ms_http_request req = {.method = "GET", .path = "/", .body_fd = -1, .on_data = hold};
    req.on_done = on_done;
    req.arg = &f;
    ms_http_start(&f.call, http, &req, NULL);
    fake_drive(loop, &f.a.done, 200 * MS_MS);
    size_t first = f.a.data;
    /* What had come by the step of the first piece is that piece. */
    ok(!f.a.done && first > 0 && first <= 2u << 20, "an answer that is held waits: %zu bytes",
       first);
    int rounds = 0;
    for (; !f.a.done && rounds < 100000; rounds++) {
        ms_http_hold(f.call, false);
        fake_drive(loop, &f.a.done, MS_MS);
    }
    is_int(f.a.data, 64 << 20, "and comes whole, in %d rounds", rounds);

    feeder g = {0};
    req.on_data = full;
    req.arg = &g;
    ms_http_start(&g.call, http, &req, NULL);
    ok(fake_drive(loop, &g.a.done, 10 * MS_S) && g.a.err, "a taker that fails");
    is_str(moonsand_error_message(g.a.err), "the disk is full", "ends the call with its error");
    forget(&g.a);
}

int main(void)
{
    moonsand_loop_new(&loop, NULL);
    int fds = open_fds();
    for (int tls = 0; tls < 2; tls++) {
        up(tls != 0, echo, NULL);
        fed();
        headers();
        down();
        up(tls != 0, serve_much, NULL);
        held();
        down();
    }
    is_int(open_fds(), fds, "no descriptor leaked");
    moonsand_loop_free(loop);
    return done_testing();
}
