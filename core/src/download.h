/* A file that comes from an engine: there when it is whole, and not at all otherwise. */
#ifndef MS_DOWNLOAD_H
#define MS_DOWNLOAD_H

#include "moonsand.h"

typedef struct ms_download ms_download;

/* Makes a file beside path, mode 0600. INVALID when path is there and no regular file. */
int ms_download_open(ms_download **out, const char *path, moonsand_error **err);
/* Blocks as long as the file system does. */
int ms_download_write(ms_download *d, const void *p, size_t n, moonsand_error **err);
/* Puts it in place; d is gone in any case. */
int ms_download_finish(ms_download *d, moonsand_error **err);
void ms_download_discard(ms_download *d); /* NULL is allowed */

#endif
