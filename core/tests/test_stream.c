/* Hijacked connections against a server of our own: both directions, every way to end. */
#include <sys/pidfd.h>
#include <sys/resource.h>

#include "fake_stream.h"

static const char *program;

static void cat(bool tls)
{
    const char *how = tls ? "TLS" : "unix";
    up(tls, serve_cat, NULL);
    seen v = {0};
    start(&v, 5 * MS_S);
    ok(ms_stream_write(v.s, "early ", 6, NULL) == 0, "%s: written before it is open", how);
    is_int((long long)ms_stream_queued(v.s), 6, "%s: is kept back", how);
    wait_for(&v.open);
    wait_for(&v.drained);
    ms_stream_write(v.s, "", 0, NULL);
    ms_stream_write(v.s, "late", 4, NULL);
    while (v.out[1].len < 10 && !v.ended)
        pause_ms(1);
    is_str(out(&v, 1), "early late", "%s: cat gives it back", how);
    is_int(v.drains, 2, "%s: drained twice", how);
    ms_stream_half_close(v.s);
    ms_stream_half_close(v.s);
    is_int(ms_stream_write(v.s, "x", 1, &v.err), -1, "%s: no more bytes after it", how);
    is_str(code(&v), "closed", "%s: says so", how);
    moonsand_error_free(v.err);
    v.err = NULL;
    wait_for(&v.ended);
    is_str(out(&v, 2), "readybye", "%s: output goes on after the half close", how);
    ok(v.err == NULL && v.ends == 1 && v.opens == 1, "%s: a clean end: %s", how,
       moonsand_error_message(v.err));
    is_int(ms_stream_write(v.s, "x", 1, &v.err), -1, "%s: ended is ended", how);
    forget(&v);

    /* much in both directions, more than any buffer holds */
    size_t size = 8 << 20;
    char *big = malloc(size);
    for (size_t i = 0; i < size; i++)
        big[i] = (char)(i * 7 + (i >> 8) * 13);
    start(&v, 5 * MS_S);
    for (size_t i = 0; i < size; i += 1 << 20)
        ms_stream_write(v.s, big + i, 1 << 20, NULL);
    ms_stream_half_close(v.s);
    wait_for(&v.ended);
    ok(v.err == NULL && v.out[1].len == size && memcmp(v.out[1].data, big, size) == 0,
       "%s: 8 MiB there and back: %s", how, moonsand_error_message(v.err));
    is_int(v.drains, 1, "%s: drained once", how);
    free(big);
    forget(&v);
    down();
}

/* ---- time, death ---- */

static void serve_mute(fake_conn *c, void *arg)
{
    if (fake_request(c) && arg != NULL)
        fake_puts(c, arg);
    char byte;
    while (fake_read(c, &byte, 1) > 0)
        ;
}

static void late(const char *text, const char *want)
{
    char copy[256];
    snprintf(copy, sizeof(copy), "%s", text);
    up(false, serve_mute, copy);
    seen v = {0};
    start(&v, 50 * MS_MS);
    wait_for(&v.ended);
    is_str(code(&v), want, "late: %s", moonsand_error_message(v.err));
    forget(&v);
    down();
}

static void serve_reset(fake_conn *c, void *arg)
{
    (void)arg;
    if (!fake_request(c))
        return;
    fake_puts(c, OPENED);
    frame(c, 1, "hi", 2);
    usleep(20000);
    /* unread bytes make the close a reset */
}

static void dying(void)
{
    late("", "timeout");
    late("HTTP/1.1 101", "timeout");
    late("HTTP/1.1 500 x\r\n\r\nhalf an expl", "engine");

    up(false, serve_mute, (char[]){OPENED});
    seen v = {0};
    start(&v, 50 * MS_MS);
    pause_ms(120);
    ok(v.open && !v.ended, "the limit is for the answer only");
    forget(&v);
    for (int i = 0; i < 5; i++) {
        start(&v, 0);
        pause_ms(i);
        forget(&v);
    }
    start(&v, MS_S);
    ms_stream_write(v.s, "x", 1, NULL);
    forget(&v);
    ok(true, "freed at any time");
    down();

    up(false, serve_reset, NULL);
    start(&v, 5 * MS_S);
    wait_for(&v.open);
    ms_stream_write(v.s, "nobody reads this", 17, NULL);
    wait_for(&v.ended);
    is_str(out(&v, 1), "hi", "output before a reset");
    is_str(code(&v), "io", "a reset: %s", moonsand_error_message(v.err));
    forget(&v);
    down();

    fake_start(&server, false, serve_mute, NULL);
    ms_endpoint ep = {.kind = MS_UNIX, .unix_path = server.dir};
    ms_http_new(&http, loop, &ep, NULL);
    ok(start(&v, MS_S), "no engine: not told at once");
    wait_for(&v.ended);
    is_str(code(&v), "connect", "but later: %s", moonsand_error_message(v.err));
    forget(&v);
    down();
}

/* The container exits while we still write: what it said must arrive. */
static void serve_deaf(fake_conn *c, void *arg)
{
    (void)arg;
    if (!fake_request(c) || !fake_puts(c, OPENED))
        return;
    shutdown(c->fd, SHUT_RD);
    usleep(200000);
    frame(c, 1, "last words", 10);
}

static void deaf(void)
{
    up(false, serve_deaf, NULL);
    seen v = {0};
    start(&v, 5 * MS_S);
    wait_for(&v.open);
    pause_ms(10);
    char some[1000] = {0};
    for (int i = 0; i < 50; i++)
        ms_stream_write(v.s, some, sizeof(some), NULL);
    wait_for(&v.drained);
    wait_for(&v.ended);
    is_str(out(&v, 1), "last words", "a side that takes no more can still speak");
    ok(v.err == NULL, "and ends well: %s", moonsand_error_message(v.err));
    forget(&v);
    down();
}

static void freeing(void)
{
    for (int where = 1; where <= 4; where++)
        for (int with_http = 0; with_http < 2; with_http++) {
            up(false, serve_cat, NULL);
            seen v = {.free_in = where, .free_http = with_http != 0};
            start(&v, 5 * MS_S);
            ms_stream_write(v.s, "abc", 3, NULL);
            if (where == 4)
                ms_stream_half_close(v.s);
            wait_for(&v.ended);
            pause_ms(2);
            ok(v.s == NULL, "freed in callback %d%s", where, with_http ? ", with http" : "");
            forget(&v);
            down();
        }
}

static void other_events(void)
{
    up(false, serve_cat, NULL);
    seen v = {0}, w = {0};
    start(&v, 5 * MS_S);
    wait_for(&v.open);
    while (v.out[2].len < 5)
        pause_ms(1);
    ms_stream_events e = {NULL, on_data, NULL, on_end, &w};
    ms_stream_set_events(v.s, &e);
    ms_stream_write(v.s, "new", 3, NULL);
    ms_stream_half_close(v.s);
    wait_for(&w.ended);
    is_str(out(&w, 1), "new", "handed over to other callbacks");
    ok(v.out[1].len == 0 && v.ends == 0 && w.err == NULL, "and not to the old ones");
    forget(&v);
    forget(&w);
    down();
}

/* ---- much ---- */

#define FLOOD_FRAME (29 << 10) /* what Docker's frames are like */

static void serve_flood(fake_conn *c, void *arg)
{
    uint64_t left = *(uint64_t *)arg;
    static _Thread_local char buf[FLOOD_FRAME];
    if (!fake_request(c) || !fake_puts(c, OPENED))
        return;
    for (; left != 0; left -= left < sizeof(buf) ? left : sizeof(buf))
        if (!frame(c, 1, buf, left < sizeof(buf) ? (size_t)left : sizeof(buf)))
            return;
}

static long rss_kib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void flood(bool tls, uint64_t size)
{
    up(tls, serve_flood, &size);
    seen v = {.count_only = true};
    long before = rss_kib();
    int64_t t0 = ms_now_ns();
    start(&v, 5 * MS_S);
    fake_drive(loop, &v.ended, 200 * MS_S);
    double s = (double)(ms_now_ns() - t0) / 1e9;
    ok(v.err == NULL && v.bytes == size, "%s: %llu MiB at %.0f MiB/s", tls ? "TLS" : "unix",
       (unsigned long long)size >> 20, (double)(size >> 20) / s);
    uint64_t frames = size / FLOOD_FRAME + 1;
    if (!tls) /* where a record is 16 KiB */
        ok(v.pieces < frames * 3 / 2, "%llu frames in %llu pieces: as much as is there at once",
           (unsigned long long)frames, (unsigned long long)v.pieces);
    long grown = rss_kib() - before;
#ifdef __SANITIZE_ADDRESS__
    skip("memory: the sanitizer keeps what is freed (%ld KiB more)", grown);
#else
    ok(grown < 8192, "memory stays flat (%ld KiB more)", grown);
#endif
    forget(&v);
    down();
}

static void many(void)
{
    up(false, serve_cat, NULL);
    static seen all[200];
    for (int i = 0; i < 200; i++) {
        start(&all[i], 20 * MS_S);
        ms_stream_write(all[i].s, "x", 1, NULL);
        ms_stream_half_close(all[i].s);
    }
    bool good = true;
    for (int i = 0; i < 200; i++) {
        wait_for(&all[i].ended);
        good = good && all[i].err == NULL && strcmp(out(&all[i], 1), "x") == 0;
        forget(&all[i]);
    }
    ok(good, "200 at once, more than the backlog");
    down();
}

static void by_program(void)
{
    int pidfd = pidfd_open(getpid(), 0);
    if (pidfd < 0) {
        skip("no pidfd_open (valgrind)");
        return;
    }
    close(pidfd);
    fake_start(&server, false, serve_cat, NULL);
    char *argv[] = {(char *)(uintptr_t)program, "--dial", server.path, NULL};
    ms_endpoint ep = {.kind = MS_SSH, .ssh_argv = argv};
    ms_http_new(&http, loop, &ep, NULL);
    seen v = {0};
    start(&v, 5 * MS_S);
    ms_stream_write(v.s, "abc", 3, NULL);
    ms_stream_half_close(v.s);
    wait_for(&v.ended);
    ok(v.err == NULL && strcmp(out(&v, 1), "abc") == 0 && strcmp(out(&v, 2), "readybye") == 0,
       "through a program, half close included: %s", moonsand_error_message(v.err));
    forget(&v);
    ms_http_free(http);
    argv[2] = "/nonexistent";
    ms_http_new(&http, loop, &ep, NULL);
    start(&v, 5 * MS_S);
    wait_for(&v.ended);
    is_str(code(&v), "connect", "one that fails: %s", moonsand_error_message(v.err));
    ok(strstr(moonsand_error_message(v.err), "no daemon?here") != NULL, "its words");
    forget(&v);
    down();
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--dial") == 0)
        return fake_dial_stdio(argv[2]);
    program = argv[0];
    uint64_t mib = argc == 2 ? strtoull(argv[1], NULL, 10) : 128;
    moonsand_loop_new(&loop, NULL);
    cat(true);
    int fds = open_fds();
    cat(false);
    dying();
    deaf();
    freeing();
    other_events();
    many();
    by_program();
    flood(false, mib << 20);
    flood(true, mib << 20);
    is_int(open_fds(), fds, "no descriptor leaked");
    moonsand_loop_free(loop);
    return done_testing();
}
