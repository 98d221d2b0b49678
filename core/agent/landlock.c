/* Landlock: the program may write below /tmp and /dev/shm only, and reaches no process but its own.
 * Numbers and layouts stand here because the headers of the building machine may be older than the
 * kernel that runs this; the kernel keeps them for ever. */
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inside.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

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

int landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_RULESET_VERSION);
    return abi > 0 ? (int)abi : 0;
}

static uint64_t handled(int abi)
{
    uint64_t fs = FS_WRITE_FILE | FS_REMOVE_TO_MAKE_SYM;
    if (abi >= 2)
        fs |= FS_REFER;
    if (abi >= 3)
        fs |= FS_TRUNCATE;
    return fs;
}

static int allow(int ruleset, const char *path, uint64_t access)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -1;
    struct stat st;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        access &= FS_WRITE_FILE | FS_TRUNCATE; /* the kernel refuses the others on a file */
    struct path_beneath rule = {access, fd};
    long r = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    int err = errno;
    close(fd);
    errno = err;
    return r < 0 ? -1 : 0;
}

int landlock_ruleset(int abi)
{
    static const char *const trees[] = {"/tmp", "/dev/shm"};
    static const char *const files[] = {"/dev/null", "/dev/zero",    "/dev/full", "/dev/random",
                                        "/dev/tty",  "/dev/urandom", "/dev/ptmx", "/dev/pts"};
    struct ruleset_attr attr = {handled(abi), 0, SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL};
    long ruleset = -1;
    if (abi >= 6)
        ruleset = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    /* Some vendors' kernels claim the version without the scopes. */
    if (ruleset < 0)
        ruleset = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr.handled_access_fs, 0);
    if (ruleset < 0)
        return -1;
    int fd = (int)ruleset;
    int bad = 0;
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++)
        bad |= allow(fd, trees[i], attr.handled_access_fs);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        bad |= allow(fd, files[i], attr.handled_access_fs & (FS_WRITE_FILE | FS_TRUNCATE));
    if (bad == 0)
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

int landlock_enter(int ruleset)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -1 : 0;
}
