/* Taking containers away in the background: the caller has its result already. */
#ifndef MS_REMOVAL_H
#define MS_REMOVAL_H

#include "engine.h"
#include "stream.h"

/* Made before the container is, so that want of memory later cannot keep it alive. name is copied.
 */
int ms_removal_new(ms_removal **out, const char *name, moonsand_error **err);
/* Nobody knows whether the engine has created it, or will: look again when it is not there. */
void ms_removal_unsure(ms_removal *r);
void ms_removal_free(ms_removal *r); /* of one that was not started. NULL is allowed */

/* Takes over r, stream (may be NULL) and uid_fd (or -1): all are released when the container is
 * gone or could not be removed. With a stream the container is given a moment to end by itself,
 * which is cheaper for the engine than to be killed; force skips that. */
void ms_removal_start(ms_removal *r, moonsand_engine *e, ms_stream *stream, int uid_fd, bool force);
void ms_removals_free(moonsand_engine *e);

#endif
