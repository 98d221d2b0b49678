/* Landlock: the program may write below /tmp and /dev/shm only, and reaches no process but its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inside.h"
#include "landlock.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

int landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_RULESET_VERSION);
    return abi > 0 ? (int)abi : 0;
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
    static const char *const trees[] = {LANDLOCK_TREES};
    static const char *const files[] = {LANDLOCK_FILES};
    struct ruleset_attr attr = {landlock_handled(abi), 0, SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL};
    long ruleset = -1;
    if (abi >= SCOPES_ABI)
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
