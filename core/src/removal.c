#include "removal.h"

#include <unistd.h>

#include "error.h"

#define END_BY_ITSELF (2 * MS_S)
#define REMOVE_TIMEOUT (20 * MS_S)
#define RETRY_AFTER (500 * MS_MS)
enum { TRIES = 4, LOOKS = 8 }; /* LOOKS: for one that may still be created */

struct ms_removal {
    moonsand_engine *engine;
    ms_removal *prev, *next;
    char *path; /* of the call */
    ms_stream *stream;
    int uid_fd;
    int tries;
    bool unsure;
    ms_http_call *call;
    ms_timer timer;
};

int ms_removal_new(ms_removal **out, const char *name, moonsand_error **err)
{
    ms_removal *r = *out = ms_calloc(1, sizeof *r);
    if (r)
        r->path = ms_asprintf("/containers/%s?force=1&v=1", name);
    if (r && r->path)
        return 0;
    ms_removal_free(r);
    *out = NULL;
    return ms_fail_nomem(err);
}

void ms_removal_unsure(ms_removal *r)
{
    r->unsure = true;
}

void ms_removal_free(ms_removal *r)
{
    if (r)
        ms_free(r->path);
    ms_free(r);
}

static void release(ms_removal *r)
{
    moonsand_engine *e = r->engine;
    ms_timer_stop(&r->timer);
    ms_http_cancel(r->call);
    ms_stream_free(r->stream);
    if (r->uid_fd >= 0)
        close(r->uid_fd);
    if (r->prev)
        r->prev->next = r->next;
    else
        e->removals = r->next;
    if (r->next)
        r->next->prev = r->prev;
    e->removal_count--;
    ms_removal_free(r);
}

static void remove_now(void *arg);

static void again_or_release(ms_removal *r, int most)
{
    if (++r->tries >= most)
        release(r);
    else
        ms_timer_start(&r->timer, r->engine->loop, RETRY_AFTER, remove_now, r);
}

static void on_removed(void *arg, ms_http_call *call, int status, const char *body, size_t len,
                       moonsand_error *err)
{
    ms_removal *r = arg;
    (void)call;
    (void)body;
    (void)len;
    r->call = NULL;
    /* 404: gone already. 409: a removal is in progress, look again whether it is gone. */
    bool removed = !err && (status == 200 || status == 204);
    bool gone = removed || (!err && status == 404);
    moonsand_error_free(err);
    if (gone && !r->unsure) {
        release(r);
        return;
    }
    if (removed) {
        /* Podman 4.3 may have removed a container that it was still creating. It then knows one
         * without storage, and lists none at all any more: once more, now that it is created. */
        r->unsure = false;
        r->tries = 0;
    }
    again_or_release(r, gone ? LOOKS : TRIES);
}

static void remove_now(void *arg)
{
    ms_removal *r = arg;
    ms_timer_stop(&r->timer);
    ms_stream_free(r->stream);
    r->stream = NULL;
    if (ms_engine_call(&r->call, r->engine, "DELETE", r->path, NULL, REMOVE_TIMEOUT, on_removed, r,
                       NULL))
        again_or_release(r, TRIES);
}

/* ---- waiting for the container to end by itself: end of its stream ---- */

static void on_data(void *arg, int stream, const char *p, size_t n)
{
    (void)arg;
    (void)stream;
    (void)p;
    (void)n;
}

static void on_end(void *arg, moonsand_error *err)
{
    moonsand_error_free(err);
    remove_now(arg);
}

void ms_removal_start(ms_removal *r, moonsand_engine *e, ms_stream *stream, int uid_fd, bool force)
{
    r->engine = e;
    r->stream = stream;
    r->uid_fd = uid_fd;
    r->next = e->removals;
    if (r->next)
        r->next->prev = r;
    e->removals = r;
    e->removal_count++;
    /* At once: the run, to which its callbacks went, may be gone before the next step. */
    if (stream)
        ms_stream_set_events(stream,
                             &(ms_stream_events){.on_data = on_data, .on_end = on_end, .arg = r});
    bool wait = stream && !force;
    ms_timer_start(&r->timer, e->loop, wait ? END_BY_ITSELF : 0, remove_now, r);
}

void ms_removals_free(moonsand_engine *e)
{
    while (e->removals)
        release(e->removals);
}
