/* A directory tree in a fixed order (names by their bytes, a directory before what is in it), never
 * following a symbolic link: what is below the top stays below it, whoever changes the tree
 * meanwhile.
 */
#ifndef MS_WALK_H
#define MS_WALK_H

#include "ignore.h"

#define MS_WALK_NAME 512

typedef struct ms_walk ms_walk;

typedef struct ms_walk_item {
    const char *path; /* below the top; valid until the next item */
    enum { MS_WALK_DIRECTORY, MS_WALK_FILE, MS_WALK_SYMLINK } type;
    int fd; /* of a file, open for reading: the caller's */
    uint64_t size;
    bool executable;    /* by its owner */
    const char *target; /* of a symbolic link */
} ms_walk_item;

/* ignore: borrowed, NULL: nothing is excluded. */
int ms_walk_open(ms_walk **out, const char *dir, const ms_ignore *ignore, moonsand_error **err);
/* 1: an item, 0: the end, -1: an error that names the path. Sockets are passed over; another
 * special file, or what cannot be read, is an error unless it is excluded. */
int ms_walk_next(ms_walk *w, ms_walk_item *item, moonsand_error **err);
/* Does not go into the directory that came last. */
void ms_walk_pass_over(ms_walk *w);
/* How many names were excluded so far; a directory that is counts once. */
uint64_t ms_walk_excluded(const ms_walk *w);
void ms_walk_close(ms_walk *w); /* NULL is allowed */

/* "DIR/PATH", printable; DIR alone when path is "". */
void ms_walk_name(char out[MS_WALK_NAME], const char *dir, const char *path);
/* An error "DIR/PATH: what errno says". */
int ms_walk_fail(moonsand_error **err, int errnum, const char *dir, const char *path);

#endif
