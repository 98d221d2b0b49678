/* Limits with an image, and what is kept ready: what runs are made from. */
#ifndef MS_SANDBOX_H
#define MS_SANDBOX_H

#include "engine.h"
#include "warm.h"

typedef struct ms_pool ms_pool; /* pool.h */

struct moonsand_sandbox {
    moonsand_engine *engine; /* NULL: the engine was closed */
    moonsand_sandbox *prev, *next;
    size_t references; /* the handle, and each run */
    ms_limits limits;
    ms_warm warm;
    ms_pool *pool; /* NULL: without workers */
};

void ms_sandbox_ref(moonsand_sandbox *s);
void ms_sandbox_unref(moonsand_sandbox *s);

#endif
