/* A loop, a server and streams to it, with all that their callbacks saw. */
#ifndef FAKE_STREAM_H
#define FAKE_STREAM_H

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "fake_server.h"
#include "open_fds.h"
#include "patience.h"
#include "stream.h"
#include "tap.h"

#define OPENED                                                                                     \
    "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"                 \
    "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

static moonsand_loop *loop;
static fake server;
static ms_http *http;

typedef struct seen {
    bool open, ended, drained;
    int opens, ends, drains;
    ms_buf out[4];
    uint64_t bytes, pieces;
    moonsand_error *err;
    ms_stream *s;
    int free_in; /* 1: on_open, 2: on_data, 3: on_drain, 4: on_end */
    bool free_http, count_only;
} seen;

static inline void maybe_free(seen *v, int where)
{
    if (v->free_in != where)
        return;
    ms_stream_free(v->s);
    v->s = NULL;
    if (v->free_http) {
        ms_http_free(http);
        http = NULL;
    }
    v->ended = true;
}

static inline void on_open(void *arg)
{
    seen *v = arg;
    v->open = true;
    v->opens++;
    maybe_free(v, 1);
}

static inline void on_data(void *arg, int stream, const char *p, size_t n)
{
    seen *v = arg;
    v->bytes += n;
    v->pieces++;
    if (!v->count_only)
        ms_buf_add(&v->out[stream], p, n);
    maybe_free(v, 2);
}

static inline void on_drain(void *arg)
{
    seen *v = arg;
    v->drained = true;
    v->drains++;
    maybe_free(v, 3);
}

static inline void on_end(void *arg, moonsand_error *err)
{
    seen *v = arg;
    v->ended = true;
    v->ends++;
    v->err = err;
    maybe_free(v, 4);
}

/* A short limit is meant to be met; a long one is there to end a test that hangs. */
static inline bool start(seen *v, int64_t timeout_ns)
{
    if (timeout_ns >= 5 * MS_S)
        timeout_ns = patience(timeout_ns);
    ms_stream_events e = {on_open, on_data, on_drain, on_end, v};
    const char *path = "/v1.41/containers/x/attach?stream=1";
    return ms_stream_open(&v->s, http, path, timeout_ns, &e, &v->err) == 0;
}

static inline const char *out(seen *v, int stream)
{
    return v->out[stream].data != NULL ? v->out[stream].data : "";
}

static inline const char *code(const seen *v)
{
    return moonsand_code_name(moonsand_error_code(v->err));
}

static inline void forget(seen *v)
{
    ms_stream_free(v->s);
    for (int i = 0; i < 4; i++)
        ms_buf_free(&v->out[i]);
    moonsand_error_free(v->err);
    *v = (seen){0};
}

static inline void wait_for(const bool *flag)
{
    if (!fake_drive(loop, flag, patience(20 * MS_S)))
        ok(false, "in time");
}

static inline void pause_ms(int ms)
{
    bool no = false;
    fake_drive(loop, &no, ms * MS_MS);
}

static inline void up(bool tls, void (*serve)(fake_conn *, void *), void *arg)
{
    fake_start(&server, tls, serve, arg);
    ms_endpoint ep = {.kind = tls ? MS_TCP : MS_UNIX, .unix_path = server.path};
    if (tls) {
        ep.host_port = server.host_port;
        ep.tls = ep.tls_verify = true;
        ep.ca = ep.cert = server.cert;
        ep.key = server.key;
    }
    ms_http_new(&http, loop, &ep, NULL);
}

static inline void down(void)
{
    ms_http_free(http);
    fake_stop(&server);
}

static inline bool frame(fake_conn *c, int stream, const void *p, size_t n)
{
    char head[8] = {(char)stream,   0,      0, 0, (char)(n >> 24), (char)(n >> 16),
                    (char)(n >> 8), (char)n};
    return fake_send(c, head, 8) && fake_send(c, p, n);
}

/* ---- a container that behaves like cat ---- */

static inline void serve_cat(fake_conn *c, void *arg)
{
    (void)arg;
    if (!fake_request(c) || !fake_puts(c, OPENED) || !frame(c, 2, "ready", 5))
        return;
    static _Thread_local char buf[65536];
    ssize_t n;
    while ((n = fake_read(c, buf, sizeof(buf))) > 0)
        if (!frame(c, 1, buf, (size_t)n))
            return;
    frame(c, 2, "bye", 3); /* after the half close */
}

#endif
