/* The engine's 8-byte stream frames: [stream 0..3][0 0 0][u32 length, big endian]. Source: Docker
 * Engine API, "Attach to a container", and moby's pkg/stdcopy (stream 3 is an error text of the
 * daemon). Takes arbitrary splits; passes pieces on as they come, so memory does not grow. */
#ifndef MS_DEMUX_H
#define MS_DEMUX_H

#include <stddef.h>
#include <stdint.h>

typedef struct ms_demux {
    unsigned char head[8];
    unsigned have; /* bytes of head */
    uint32_t left; /* bytes of the payload still to come */
} ms_demux;        /* zero-initialised */

/* cb returns 0 to go on, anything else to stop; that value is then returned. -1: not a frame (the
 * stream cannot be used any more). 0: all taken. */
int ms_demux_feed(ms_demux *d, const char *p, size_t n,
                  int (*cb)(void *arg, int stream, const char *p, size_t n), void *arg);
/* True between frames: an end of file here cuts nothing off. */
int ms_demux_idle(const ms_demux *d);

#endif
