/* What a program may write to, and Landlock's numbers and layouts: these stand here because the
 * headers of the building machine may be older than the kernel that runs this; the kernel keeps
 * them for ever. For landlock.c and the fork server, which has no C library. */
#ifndef MS_LANDLOCK_H
#define MS_LANDLOCK_H

#include <stdint.h>

struct ruleset_attr {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

struct path_beneath {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));

enum { CREATE_RULESET_VERSION = 1, RULE_PATH_BENEATH = 1 };

#define FS_WRITE_FILE ((uint64_t)1 << 1)
#define FS_REMOVE_TO_MAKE_SYM ((uint64_t)0x1ff << 4) /* REMOVE_DIR (4) up to MAKE_SYM (12) */
#define FS_REFER ((uint64_t)1 << 13)                 /* ABI 2 */
#define FS_TRUNCATE ((uint64_t)1 << 14)              /* ABI 3 */
#define SCOPE_ABSTRACT_UNIX ((uint64_t)1 << 0)       /* ABI 6 */
#define SCOPE_SIGNAL ((uint64_t)1 << 1)              /* ABI 6 */
#define SCOPES_ABI 6

static inline uint64_t landlock_handled(int abi)
{
    uint64_t fs = FS_WRITE_FILE | FS_REMOVE_TO_MAKE_SYM;
    if (abi >= 2)
        fs |= FS_REFER;
    if (abi >= 3)
        fs |= FS_TRUNCATE;
    return fs;
}

#define LANDLOCK_TREES "/tmp", "/dev/shm"
#define LANDLOCK_FILES                                                                             \
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/ptmx", \
        "/dev/pts"

#endif
