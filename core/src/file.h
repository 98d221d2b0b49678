/* Small files, read whole and with a bound: configuration of others and what /proc says. */
#ifndef MS_FILE_H
#define MS_FILE_H

#include <sys/types.h>

#include "mem.h"
#include "moonsand.h"

/* Adds the file to out. NOT_FOUND when there is none; INVALID when it is longer than max or no
 * regular file (a FIFO would keep us waiting for ever). */
int ms_file_read(ms_buf *out, const char *path, size_t max, moonsand_error **err);
/* The first line without its end, or NULL: for facts whose absence is no failure. */
char *ms_file_line(const char *path);
/* As much as there is room for, with a NUL after it and no memory from the heap; -1 when it cannot
 * be read. For what must not be taken for absent because memory is short. */
ssize_t ms_file_peek(char *out, size_t size, const char *path);
/* All of it to a blocking descriptor; -1 and errno. */
int ms_write_all(int fd, const void *data, size_t len);
/* Replaces the file in one step; mode 0600. */
int ms_file_write(const char *path, const char *data, size_t len, moonsand_error **err);

#endif
