/* One call of the engine's API on the caller's behalf; see moonsand_request_*. */
#ifndef MS_REQUEST_H
#define MS_REQUEST_H

#include "engine.h"

/* The engine goes: each request that is under way ends with MOONSAND_E_CLOSED. */
void ms_requests_close(moonsand_engine *e);

#endif
