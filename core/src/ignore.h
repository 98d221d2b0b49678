/* .dockerignore, as Docker's own command line reads it: the last pattern that matches a path or one
 * of its directories decides, "!" makes an exception. */
#ifndef MS_IGNORE_H
#define MS_IGNORE_H

#include "moonsand.h"

/* Longer paths are refused before they come here (and cannot be opened by most programs). */
#define MS_PATH_MAX 4096

typedef struct ms_ignore ms_ignore;

/* INVALID names the line that is no pattern. */
int ms_ignore_parse(ms_ignore **out, const char *text, size_t len, moonsand_error **err);
/* This path is kept, whatever the patterns say. */
int ms_ignore_keep(ms_ignore *g, const char *path, moonsand_error **err);
/* How many bytes the state of one path takes. */
size_t ms_ignore_state_size(const ms_ignore *g);
/* Is the path excluded? Relative, without a slash at its end, shorter than MS_PATH_MAX. above: the
 * state of its directory, NULL at the top; state: of this path, filled in. Takes time in proportion
 * to the length of path and patterns. */
bool ms_ignore_excludes(const ms_ignore *g, const char *path, const unsigned char *above,
                        unsigned char *state);
/* Could an exception keep something below this excluded directory? As Docker does it, an exception
 * that begins with a wildcard does not count. */
bool ms_ignore_may_keep_below(const ms_ignore *g, const char *dir);
void ms_ignore_free(ms_ignore *g); /* NULL is allowed */

#endif
