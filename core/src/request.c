#include "request.h"

#include "error.h"

struct moonsand_request {
    moonsand_engine *engine;
    moonsand_request *prev, *next;
    ms_http_call *call;
    bool over; /* in on_done */
    void (*on_data)(void *arg, const char *data, size_t len);
    void (*on_done)(void *arg, int status, const char *body, size_t len, moonsand_error *err);
    void *arg;
};

static void release(moonsand_request *r)
{
    if (r->prev)
        r->prev->next = r->next;
    else
        r->engine->requests = r->next;
    if (r->next)
        r->next->prev = r->prev;
    ms_free(r);
}

static void on_data(void *arg, const char *p, size_t n)
{
    moonsand_request *r = arg;
    r->on_data(r->arg, p, n);
}

static void on_done(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                    moonsand_error *err)
{
    moonsand_request *r = arg;
    (void)call;
    r->call = NULL;
    r->over = true;
    r->on_done(r->arg, status, body, len, err);
    release(r);
}

int moonsand_request_start(moonsand_request **out, moonsand_engine *engine,
                           const moonsand_request_options *options, moonsand_error **err)
{
    *out = NULL;
    if (options->version != 1 || !options->method || !options->path || options->path[0] != '/' ||
        !options->on_done)
        return ms_fail(err, MOONSAND_E_INVALID, "request: method, path and on_done are required");
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
    r->on_done = options->on_done;
    r->arg = options->arg;
    uint64_t limit = options->timeout_ns;
    ms_http_request req = {
        .method = options->method,
        .path = path,
        .body = options->body,
        .body_len = options->body_len,
        .body_fd = options->body ? -1 : options->body_fd,
        .content_type = options->content_type,
        .timeout_ns = limit == UINT64_MAX ? 0
                      : limit             ? (int64_t)(limit & INT64_MAX)
                                          : engine->call_timeout_ns,
        .on_data = options->on_data ? on_data : NULL,
        .on_done = on_done,
        .arg = r,
    };
    r->on_data = options->on_data;
    int rc = ms_http_start(&r->call, engine->http, &req, err);
    ms_free(path);
    if (rc) {
        ms_free(r);
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
