/* Makes connections to programs whose stdin and stdout are one socket ("ssh ... dial-stdio"):
 * listens on a private socket and starts one program for each connection. Knows nothing of HTTP. */
#ifndef MS_DIAL_H
#define MS_DIAL_H

#include "loop.h"

typedef struct ms_dial ms_dial;

/* argv: NULL-terminated, looked for in PATH, borrowed. Each program gets a session of its own, so
 * that Ctrl-C in the terminal does not end it before the caller could clean up, and descriptors 0
 * to 2 only. When its connection is closed it has 2 s to end by itself; it is reaped by its own
 * process id. */
int ms_dial_new(ms_dial **out, moonsand_loop *loop, char *const argv[], moonsand_error **err);
const char *ms_dial_path(const ms_dial *d); /* the socket to connect to; only this process may */
/* The end of what a program said last on stderr, or why it did not start; printable, "" for
 * nothing. */
const char *ms_dial_note(ms_dial *d);
/* Kills and reaps all programs, at once. NULL is allowed. */
void ms_dial_free(ms_dial *d);

/* Tries to connect to a unix socket. 0: can be connected to; -1: why not, and what to do. */
int ms_dial_probe(const char *path, moonsand_error **err);

#endif
