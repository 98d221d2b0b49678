/* A loop, a server and an http to it, and calls that are driven to their end. */
#ifndef FAKE_HTTP_H
#define FAKE_HTTP_H

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "fake_server.h"
#include "http.h"
#include "open_fds.h"
#include "patience.h"
#include "tap.h"

static moonsand_loop *loop;
static fake server;
static ms_http *http;

typedef struct answer {
    bool done;
    int status, calls;
    char body[4096], header[64];
    size_t len, data;
    moonsand_error *err;
} answer;

static inline void on_done(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                           moonsand_error *err)
{
    answer *a = arg;
    a->done = true;
    a->calls++;
    a->status = status;
    a->len = len;
    a->err = err;
    const char *h = err == NULL ? ms_http_header(call, "api-version") : NULL;
    snprintf(a->header, sizeof(a->header), "%s", h != NULL ? h : "(none)");
    snprintf(a->body, sizeof(a->body), "%.*s", (int)(len < 4000 ? len : 4000), body ? body : "");
}

static inline int on_data(void *arg, const char *p, size_t n, moonsand_error **err)
{
    answer *a = arg;
    (void)p;
    (void)err;
    a->data += n;
    return 0;
}

static inline bool call(answer *a, ms_http_request req)
{
    memset(a, 0, sizeof(*a));
    ms_http_call *c;
    req.on_done = on_done;
    req.arg = a;
    if (req.body_fd == 0)
        req.body_fd = -1;
    if (req.method == NULL)
        req.method = "GET";
    if (req.path == NULL)
        req.path = "/";
    if (req.timeout_ns == 0)
        req.timeout_ns = patience(10 * MS_S);
    if (ms_http_start(&c, http, &req, &a->err) != 0)
        return false;
    return fake_drive(loop, &a->done, patience(20 * MS_S));
}
#define CALL(a, ...) call(a, (ms_http_request){__VA_ARGS__})

static inline const char *code(const answer *a)
{
    return moonsand_code_name(moonsand_error_code(a->err));
}

static inline void forget(answer *a)
{
    moonsand_error_free(a->err);
    a->err = NULL;
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
    moonsand_error *err = NULL;
    if (ms_http_new(&http, loop, &ep, &err) != 0)
        ok(false, "ms_http_new: %s", moonsand_error_message(err));
}

static inline void down(void)
{
    ms_http_free(http);
    fake_stop(&server);
}

/* Echoes: the head, then as much body as Content-Length says, or chunks as they are. */
static inline void echo(fake_conn *c, void *arg)
{
    (void)arg;
    while (fake_request(c)) {
        static _Thread_local char body[1 << 16];
        size_t len = 0;
        const char *cl = strcasestr(c->head, "Content-Length: ");
        if (cl != NULL) {
            len = strtoul(cl + 16, NULL, 10);
            if (len > sizeof(body) || !fake_read_all(c, body, len))
                return;
        } else if (strstr(c->head, "chunked") != NULL) {
            while (len < 5 || memcmp(body + len - 5, "0\r\n\r\n", 5) != 0)
                if (len == sizeof(body) || !fake_read_all(c, body + len++, 1))
                    return;
        }
        char head[256];
        snprintf(head, sizeof(head),
                 "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: %zu\r\n\r\n",
                 strlen(c->head) + len);
        if (!fake_puts(c, head) || (strncmp(c->head, "HEAD", 4) != 0 &&
                                    (!fake_puts(c, c->head) || !fake_send(c, body, len))))
            return;
    }
}

#endif
