/* Each allocation of a call, an upload and a stream fails in turn: no leak, no hang, nothing wrong
 * taken for right. */
#include <stdbool.h>

#include "error.h"
#include "fake_server.h"
#include "mem.h"
#include "stream.h"
#include "tap.h"

typedef struct life {
    moonsand_loop *loop;
    ms_http *http;
    ms_stream *stream;
    bool called, ended, failed, wrong;
    size_t got;
} life;

static void serve(fake_conn *c, void *arg)
{
    (void)arg;
    while (fake_request(c)) {
        if (strstr(c->head, "Upgrade: tcp") == NULL) {
            char chunks[12]; /* "2\r\nab\r\n0\r\n\r\n" */
            if (strstr(c->head, "chunked") != NULL && !fake_read_all(c, chunks, sizeof(chunks)))
                return;
            fake_puts(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
            continue;
        }
        fake_puts(c, "HTTP/1.1 101 UPGRADED\r\n\r\n");
        char buf[64];
        ssize_t n;
        while ((n = fake_read(c, buf, sizeof(buf))) > 0) {
            char head[8] = {1, 0, 0, 0, 0, 0, 0, (char)n};
            fake_send(c, head, 8);
            fake_send(c, buf, (size_t)n);
        }
        return;
    }
}

static void on_done(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                    moonsand_error *err)
{
    life *v = arg;
    (void)call;
    v->wrong = v->wrong || v->called ||
               (err == NULL && (status != 200 || len != 4 || memcmp(body, "body", 4) != 0));
    v->called = true;
    v->failed = v->failed || err != NULL;
    moonsand_error_free(err);
}

static void on_data(void *arg, int stream, const char *p, size_t n)
{
    life *v = arg;
    v->wrong = v->wrong || stream != 1 || memcmp(p, "abc", n) != 0;
    v->got += n;
}

static void on_end(void *arg, moonsand_error *err)
{
    life *v = arg;
    v->wrong = v->wrong || v->ended || (err == NULL && v->got != 3);
    v->ended = true;
    v->failed = v->failed || err != NULL;
    moonsand_error_free(err);
}

static void call(life *v, const char *method, int body_fd)
{
    ms_http_call *c;
    moonsand_error *err = NULL;
    ms_http_request req = {.method = method,
                           .path = "/x",
                           .body_fd = body_fd,
                           .on_done = on_done,
                           .arg = v,
                           .timeout_ns = 5 * MS_S};
    v->called = false;
    if (ms_http_start(&c, v->http, &req, &err) == 0) {
        v->wrong = !fake_drive(v->loop, &v->called, 10 * MS_S) || v->wrong;
    } else {
        v->wrong = v->wrong || err == NULL || c != NULL || v->called;
        v->failed = true;
    }
    moonsand_error_free(err);
}

static void attach(life *v)
{
    moonsand_error *err = NULL;
    ms_stream_events e = {.on_data = on_data, .on_end = on_end, .arg = v};
    if (ms_stream_open(&v->stream, v->http, "/attach", 5 * MS_S, &e, &err) == 0) {
        if (ms_stream_write(v->stream, "abc", 3, &err) == 0) {
            ms_stream_half_close(v->stream);
            v->wrong = !fake_drive(v->loop, &v->ended, 10 * MS_S) || v->wrong;
        } else {
            v->failed = true;
        }
    } else {
        v->wrong = v->wrong || err == NULL;
        v->failed = true;
    }
    moonsand_error_free(err);
    ms_stream_free(v->stream);
}

/* True when nothing went wrong in a way that nobody was told. */
static bool one_life(const ms_endpoint *ep, int fd, long n, bool *failed)
{
    life v = {0};
    ms_fault_set(n);
    if (lseek(fd, 0, SEEK_SET) != 0)
        abort();
    if (moonsand_loop_new(&v.loop, NULL) == 0 && ms_http_new(&v.http, v.loop, ep, NULL) == 0) {
        call(&v, "GET", -1);
        call(&v, "POST", fd);
        attach(&v);
    } else {
        v.failed = true;
    }
    ms_http_free(v.http);
    moonsand_loop_free(v.loop);
    *failed = v.failed;
    return !v.wrong;
}

int main(void)
{
    fake server;
    fake_start(&server, false, serve, NULL);
    ms_endpoint ep = {.kind = MS_UNIX, .unix_path = server.path};
    char name[] = "/tmp/moonsand-body-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    if (fd < 0 || write(fd, "ab", 2) != 2)
        abort();
    bool failed;
    ok(one_life(&ep, fd, -1, &failed) && !failed, "a life without faults");
    long count = ms_fault_count(), wrong = 0, leaked = 0, unnoticed = 0;
    is_int(ms_fault_live(), 0, "frees all its blocks");
    for (long n = 0; n < count; n++) {
        if (!one_life(&ep, fd, n, &failed)) {
            wrong++;
            printf("# allocation %ld\n", n);
        }
        unnoticed += !failed;
        leaked += ms_fault_live() != 0;
    }
    is_int(wrong, 0, "%ld allocations fail in turn: each is told, once, in time", count);
    is_int(leaked, 0, "and leaves nothing behind");
    printf("# %ld did no harm\n", unnoticed);
    close(fd);
    fake_stop(&server);
    return done_testing();
}
