/* The error convention of the core (see moonsand.h): 0 or -1, and *err.
 *
 * Each maker returns -1, so that a failing function ends in one line:
 *     return ms_fail(err, MOONSAND_E_INVALID, "cpus is %d; give more than 0", n);
 * err may be NULL everywhere. An error that is already in *err is replaced, never leaked. */
#ifndef MS_ERROR_H
#define MS_ERROR_H

#include "moonsand.h"

int ms_fail(moonsand_error **err, moonsand_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* MOONSAND_E_IO (NOMEM for ENOMEM, NOT_FOUND for ENOENT), message "<fmt>: <strerror>". */
int ms_fail_errno(moonsand_error **err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int ms_fail_nomem(moonsand_error **err); /* needs no memory */
/* The engine's own refusal: code from the HTTP status (404 NOT_FOUND, 409 CONFLICT, else ENGINE),
 * message "<op>: <what the body says>". body: Docker's {"message"}, Podman's {"cause","message"},
 * or plain text; hostile length and bytes are cut and made printable. */
int ms_fail_http(moonsand_error **err, const char *op, int status, const char *body, size_t len);
/* Sets *err to a copy of one that others hold, without its cause. */
int ms_error_copy(moonsand_error **err, const moonsand_error *from);
/* Names the operation if it has none yet. Returns -1. */
int ms_error_op(moonsand_error **err, const char *op);
/* Puts a new error in front of *err, which becomes its cause: same code, message "<fmt>: <old>". */
int ms_error_wrap(moonsand_error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Makes bytes printable for messages: control bytes and broken UTF-8 become '?', cut at max. */
void ms_printable(char *out, size_t size, const char *bytes, size_t len);

#endif
