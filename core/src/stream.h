/* A hijacked duplex connection (attach, exec) and its frames; one code path for every transport. */
#ifndef MS_STREAM_H
#define MS_STREAM_H

#include "http.h"

typedef struct ms_stream ms_stream;
typedef struct ms_stream_events {
    void (*on_open)(void *arg); /* 101 or 200 came: bytes written from now on reach the container */
    /* A piece of a frame's payload; stream is 1 (stdout), 2 (stderr) or 3 (the daemon's error). */
    void (*on_data)(void *arg, int stream, const char *p, size_t n);
    void (*on_drain)(void *arg); /* all written bytes have left the queue */
    /* Last call. err NULL: end of file between two frames. err (owned by callee): refused (its
     * status is in the error), reset, or not frames. */
    void (*on_end)(void *arg, moonsand_error *err);
    void *arg;
} ms_stream_events;

/* POSTs to path ("/v1.41/containers/x/attach?...") with the upgrade headers. timeout_ns is for the
 * answer, not for the stream. Callbacks come from steps; each may free the stream. */
int ms_stream_open(ms_stream **out, ms_http *http, const char *path, int64_t timeout_ns,
                   const ms_stream_events *events, moonsand_error **err);
/* Queues bytes, also before on_open (they are kept back until then, as the engine would lose them).
 */
int ms_stream_write(ms_stream *s, const void *p, size_t n, moonsand_error **err);
/* From now on the callbacks go to others; on_open is not called again. */
void ms_stream_set_events(ms_stream *s, const ms_stream_events *events);
size_t ms_stream_queued(const ms_stream *s);
void ms_stream_half_close(ms_stream *s); /* after what is queued */
void ms_stream_free(ms_stream *s);       /* closes; no more callbacks. NULL is allowed */

#endif
