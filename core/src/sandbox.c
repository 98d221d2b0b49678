#include "sandbox.h"

#include "error.h"

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
    if (ms_limits_resolve(&s->limits, options, &engine->facts, err)) {
        ms_free(s);
        return -1;
    }
    s->engine = engine;
    s->references = 1;
    s->next = engine->sandboxes;
    if (s->next)
        s->next->prev = s;
    engine->sandboxes = s;
    *out = s;
    return 0;
}

void ms_sandbox_orphan(moonsand_sandbox *s)
{
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
    ms_limits_free(&s->limits);
    ms_free(s);
}

void moonsand_sandbox_free(moonsand_sandbox *sandbox)
{
    if (sandbox)
        ms_sandbox_unref(sandbox);
}
