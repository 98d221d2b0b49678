#include "sandbox.h"

#include "error.h"
#include "pool.h"

static void destroy(moonsand_sandbox *s)
{
    ms_pool_free(s->pool);
    ms_limits_free(&s->limits);
    ms_warm_free(&s->warm);
    ms_free(s);
}

int moonsand_sandbox_new(moonsand_sandbox **out, moonsand_engine *engine,
                         const moonsand_sandbox_options *options, moonsand_error **err)
{
    *out = NULL;
    if (engine->state != MS_ENGINE_READY)
        return ms_fail(err, MOONSAND_E_CLOSED, "the engine is not ready");
    if (options->version != 1)
        return ms_fail(err, MOONSAND_E_INVALID, "moonsand_sandbox_options: version %u is not known",
                       options->version);
    moonsand_sandbox *s = ms_calloc(1, sizeof *s);
    if (!s)
        return ms_fail_nomem(err);
    s->engine = engine;
    s->references = 1;
    if (ms_limits_resolve(&s->limits, options, &engine->facts, err) ||
        ms_warm_resolve(&s->warm, options, err) ||
        (s->warm.workers && ms_pool_new(&s->pool, s, err))) {
        destroy(s);
        return -1;
    }
    s->next = engine->sandboxes;
    if (s->next)
        s->next->prev = s;
    engine->sandboxes = s;
    *out = s;
    return 0;
}

void ms_sandbox_orphan(moonsand_sandbox *s)
{
    if (s->pool)
        ms_pool_end(s->pool);
    if (s->prev)
        s->prev->next = s->next;
    else
        s->engine->sandboxes = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->prev = s->next = NULL;
    s->engine = NULL;
}

void ms_sandbox_ref(moonsand_sandbox *s)
{
    s->references++;
}

void ms_sandbox_unref(moonsand_sandbox *s)
{
    if (--s->references)
        return;
    if (s->engine)
        ms_sandbox_orphan(s);
    destroy(s);
}

void moonsand_sandbox_free(moonsand_sandbox *sandbox)
{
    if (!sandbox)
        return;
    if (sandbox->pool)
        ms_pool_close(sandbox->pool);
    ms_sandbox_unref(sandbox);
}
