/* Who owns a container: labels that let anyone tell later whether the owner still lives. */
#ifndef MS_OWNER_H
#define MS_OWNER_H

#include "mem.h"
#include "moonsand.h"

/* "<machine id>/<boot id>/<pid namespace inode>/<pid>/<start time of the process>" of this process.
 * Free with ms_free(). */
char *ms_owner_label(moonsand_error **err);

/* A uid that no other live container on this machine uses, held by an abstract socket until *fd is
 * closed (so that a kill -9 frees it, too). low and high bound it, both included. */
int ms_uid_take(uint32_t *uid, int *fd, uint32_t low, uint32_t high, moonsand_error **err);

/* Lower case hex of n random bytes from getrandom(2); out has room for 2n+1. */
int ms_random_hex(char *out, size_t n, moonsand_error **err);

#endif
