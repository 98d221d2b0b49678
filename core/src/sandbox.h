/* Limits with an image: what runs are made from. */
#ifndef MS_SANDBOX_H
#define MS_SANDBOX_H

#include "engine.h"

struct moonsand_sandbox {
    moonsand_engine *engine; /* NULL: the engine was closed */
    moonsand_sandbox *prev, *next;
    size_t references; /* the handle, and each run */
    ms_limits limits;
};

void ms_sandbox_ref(moonsand_sandbox *s);
void ms_sandbox_unref(moonsand_sandbox *s);

#endif
