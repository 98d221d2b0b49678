/* Taking containers away in the background: the caller has its result already. */
#ifndef MS_REMOVAL_H
#define MS_REMOVAL_H

#include "engine.h"
#include "stream.h"

/* Takes over name (heap), stream (may be NULL) and uid_fd (or -1): all are released when the container
 * is gone or could not be removed. With a stream the container is given a moment to end by itself,
 * which is cheaper for the engine than to be killed; force skips that. Cannot fail: without memory the
 * container is left to `moonsand clean`. */
void ms_removal_start(moonsand_engine *e, char *name, ms_stream *stream, int uid_fd, bool force);
void ms_removals_free(moonsand_engine *e);

#endif
