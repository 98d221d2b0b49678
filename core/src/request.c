#include "request.h"

#include "download.h"
#include "error.h"
#include "pack.h"

struct moonsand_request {
    moonsand_engine *engine;
    moonsand_request *prev, *next;
    ms_http_call *call;
    bool over; /* in on_done */
    ms_pack_reader *reader;
    ms_download *download;
    uint64_t sent, received;
    ptrdiff_t (*on_read)(void *arg, void *buffer, size_t size);
    void (*on_data)(void *arg, const char *data, size_t len);
    void (*on_sent)(void *arg, uint64_t bytes);
    void (*on_received)(void *arg, uint64_t bytes);
    void (*on_done)(void *arg, int status, const char *body, size_t len, moonsand_error *err);
    void *arg;
};

static void release(moonsand_request *r)
{
    if (r->prev)
        r->prev->next = r->next;
    else if (r->engine->requests == r)
        r->engine->requests = r->next;
    if (r->next)
        r->next->prev = r->prev;
    ms_pack_reader_free(r->reader);
    ms_download_discard(r->download);
    ms_free(r);
}

static int on_data(void *arg, const char *p, size_t n, moonsand_error **err)
{
    moonsand_request *r = arg;
    if (!r->download) {
        r->on_data(r->arg, p, n);
        return 0;
    }
    if (ms_download_write(r->download, p, n, err))
        return -1;
    r->received += n;
    if (r->on_received)
        r->on_received(r->arg, r->received);
    return 0;
}

static ssize_t on_read(void *arg, char *p, size_t n, moonsand_error **err)
{
    moonsand_request *r = arg;
    if (r->reader)
        return ms_pack_reader_read(r->reader, p, n, err);
    ptrdiff_t got = r->on_read(r->arg, p, n);
    if (got >= 0 && (size_t)got <= n)
        return got;
    return got == MOONSAND_READ_WAIT
               ? MS_HTTP_WAIT
               : ms_fail(err, MOONSAND_E_CANCELLED, "the caller did not give the whole body");
}

static void on_sent(void *arg, uint64_t bytes)
{
    moonsand_request *r = arg;
    r->sent = bytes;
    if (r->on_sent)
        r->on_sent(r->arg, bytes);
}

static void on_done(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                    moonsand_error *err)
{
    moonsand_request *r = arg;
    (void)call;
    r->call = NULL;
    r->over = true;
    if (r->download && !err && status / 100 == 2) {
        ms_download *whole = r->download;
        r->download = NULL;
        if (ms_download_finish(whole, &err)) {
            status = 0;
            body = NULL;
            len = 0;
        }
    }
    r->on_done(r->arg, status, body, len, err);
    release(r);
}

static int check(const moonsand_request_options *o, moonsand_error **err)
{
    if (o->version != 1 || !o->method || !o->path || o->path[0] != '/' || !o->on_done)
        return ms_fail(err, MOONSAND_E_INVALID, "request: method, path and on_done are required");
    if ((o->body != NULL) + (o->body_fd >= 0) + (o->pack != NULL) + (o->on_read != NULL) > 1)
        return ms_fail(err, MOONSAND_E_INVALID, "request: one body is the most");
    if (o->out_path && o->on_data)
        return ms_fail(err, MOONSAND_E_INVALID, "request: out_path and on_data exclude each other");
    if (o->pack && !o->pack->measured)
        return ms_fail(err, MOONSAND_E_INVALID, "request: measure the pack first");
    return 0;
}

static int start(moonsand_request *r, const moonsand_request_options *o, const char *path,
                 moonsand_error **err)
{
    if ((o->pack && ms_pack_reader_new(&r->reader, o->pack, true, err)) ||
        (o->out_path && ms_download_open(&r->download, o->out_path, err)))
        return -1;
    uint64_t limit = o->timeout_ns;
    ms_http_request req = {
        .method = o->method,
        .path = path,
        .body = o->body,
        .body_len = o->body_len,
        .body_fd = o->body_fd,
        .on_read = o->pack || o->on_read ? on_read : NULL,
        .read_size = o->pack ? o->pack->facts.bytes : 0,
        .content_type = o->content_type,
        .headers = o->headers,
        .header_count = o->header_count,
        .timeout_ns = limit == UINT64_MAX ? 0
                      : limit             ? (int64_t)(limit & INT64_MAX)
                                          : r->engine->call_timeout_ns,
        .on_data = o->on_data || o->out_path ? on_data : NULL,
        .on_sent = on_sent,
        .on_done = on_done,
        .arg = r,
    };
    return ms_http_start(&r->call, r->engine->http, &req, err);
}

int moonsand_request_start(moonsand_request **out, moonsand_engine *engine,
                           const moonsand_request_options *options, moonsand_error **err)
{
    *out = NULL;
    if (check(options, err))
        return -1;
    if (engine->state != MS_ENGINE_READY)
        return ms_fail(err, MOONSAND_E_CLOSED, "the engine is not ready");
    moonsand_request *r = ms_calloc(1, sizeof *r);
    char *path = ms_engine_path(engine, options->path);
    if (!r || !path) {
        ms_free(r);
        ms_free(path);
        return ms_fail_nomem(err);
    }
    r->engine = engine;
    r->on_read = options->on_read;
    r->on_data = options->on_data;
    r->on_sent = options->on_sent;
    r->on_received = options->on_received;
    r->on_done = options->on_done;
    r->arg = options->arg;
    int rc = start(r, options, path, err);
    ms_free(path);
    if (rc) {
        release(r);
        return -1;
    }
    r->next = engine->requests;
    if (r->next)
        r->next->prev = r;
    engine->requests = r;
    *out = r;
    return 0;
}

void moonsand_request_cancel(moonsand_request *request)
{
    if (!request || request->over) /* from its own on_done: it goes when that returns */
        return;
    ms_http_cancel(request->call);
    release(request);
}

void moonsand_request_hold(moonsand_request *request, bool hold)
{
    ms_http_hold(request->call, hold);
}

void moonsand_request_resume(moonsand_request *request)
{
    ms_http_resume(request->call);
}

uint64_t moonsand_request_sent(const moonsand_request *request)
{
    return request->sent;
}

void ms_requests_close(moonsand_engine *e)
{
    while (e->requests) {
        moonsand_request *r = e->requests;
        moonsand_error *err = NULL;
        ms_http_cancel(r->call);
        r->over = true;
        ms_fail(&err, MOONSAND_E_CLOSED, "the engine was closed");
        r->on_done(r->arg, 0, NULL, 0, err);
        release(r);
    }
}
