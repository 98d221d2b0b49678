/* Small files, read whole and with a bound: configuration of others and what /proc says. */
#ifndef MS_FILE_H
#define MS_FILE_H

#include "mem.h"
#include "moonsand.h"

/* Adds the file to out. NOT_FOUND when there is none; INVALID when it is longer than max or no
 * regular file (a FIFO would keep us waiting for ever). */
int ms_file_read(ms_buf *out, const char *path, size_t max, moonsand_error **err);
/* The first line without its end, or NULL: for facts whose absence is no failure. */
char *ms_file_line(const char *path);
/* Replaces the file in one step; mode 0600. */
int ms_file_write(const char *path, const char *data, size_t len, moonsand_error **err);

#endif
