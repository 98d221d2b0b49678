/* A run through the C API, driven to its end; for tests against a real engine. */
#ifndef LIVE_H
#define LIVE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "moonsand.h"

typedef struct live {
    moonsand_loop *loop;
    moonsand_engine *engine;
    moonsand_sandbox *sandbox;
    moonsand_run *run;
    bool ready, done;
    const moonsand_result *result; /* of run */
    moonsand_error *err;
} live;

static inline void live_on_engine(void *arg, moonsand_engine *engine, moonsand_error *err)
{
    live *v = arg;
    (void)engine;
    v->ready = true;
    v->err = err;
}

static inline void live_on_done(void *arg, moonsand_run *run, const moonsand_result *result,
                                moonsand_error *err)
{
    live *v = arg;
    (void)run;
    v->done = true;
    v->result = result;
    v->err = err;
}

/* Drives the loop until *flag or for so long; false: too long. A failing step ends it as well. */
static inline bool live_drive(live *v, const bool *flag, int64_t seconds)
{
    int64_t end = ms_now_ns() + seconds * MS_S;
    while (!*flag && ms_now_ns() < end) {
        if (moonsand_loop_wait(v->loop, end - ms_now_ns(), NULL) ||
            moonsand_loop_step(v->loop, NULL))
            return *flag;
    }
    return *flag;
}

static inline int live_open(live *v, const char *url)
{
    moonsand_engine_options o = MOONSAND_ENGINE_OPTIONS_INIT;
    o.endpoint = url;
    if (moonsand_loop_new(&v->loop, &v->err) ||
        moonsand_engine_open(&v->engine, v->loop, &o, live_on_engine, v, &v->err))
        return -1;
    return live_drive(v, &v->ready, 20) && !v->err ? 0 : -1;
}

static inline int live_run(live *v, const char *image, const char *code)
{
    const char *argv[] = {"python3", "-c", code};
    moonsand_sandbox_options s = MOONSAND_SANDBOX_OPTIONS_INIT;
    s.image = image;
    moonsand_run_options o = MOONSAND_RUN_OPTIONS_INIT;
    o.argv = argv;
    o.argc = 3;
    o.on_done = live_on_done;
    o.arg = v;
    v->done = false;
    if ((!v->sandbox && moonsand_sandbox_new(&v->sandbox, v->engine, &s, &v->err)) ||
        moonsand_run_start(&v->run, v->sandbox, &o, &v->err))
        return -1;
    return live_drive(v, &v->done, 60) && v->result ? 0 : -1;
}

/* Without memory a failure may have left no callback; closing must work all the same. */
static inline void live_close(live *v)
{
    moonsand_run_free(v->run);
    moonsand_sandbox_free(v->sandbox);
    moonsand_engine_close(v->engine);
    moonsand_loop_free(v->loop);
    moonsand_error_free(v->err);
    memset(v, 0, sizeof *v);
}

#endif
