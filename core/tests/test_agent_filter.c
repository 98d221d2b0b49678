/* The program's seccomp filter: what it lets through and what not, tried in the kernel. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../agent/filter.c"
#include "tap.h"

#define ALLOWED                                                                                    \
    (-1) /* whatever the kernel then says of the arguments, but neither EPERM nor ENOSYS */

static struct sock_fprog program;

static void load(void)
{
    int fd = memfd_create("filter", MFD_CLOEXEC);
    ok(fd >= 0 && filter_write(fd) == 0, "the filter is made");
    off_t size = lseek(fd, 0, SEEK_END);
    ok(size > 0 && size % (off_t)sizeof(struct sock_filter) == 0, "it is whole instructions");
    program.len = (unsigned short)((size_t)size / sizeof(struct sock_filter));
    program.filter = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    ok(program.len > 50 && program.len < BPF_MAXINSNS, "a filter that the kernel takes");
    close(fd);
}

/* In a child with the filter on: the errno of one call, 0 when it went well; -2 when the child
 * died. */
static int try(long number, long a, long b, long c, long d, long e)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
            _exit(255);
        errno = 0;
        long r = syscall(number, a, b, c, d, e);
        _exit(r >= 0 ? 0 : errno);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
}

static void gives(int want, const char *what, long number, long a, long b, long c, long d)
{
    int got = try(number, a, b, c, d, 0);
    bool good =
        want == ALLOWED ? got != EPERM && got != ENOSYS && got >= 0 && got != 255 : got == want;
    ok(good, "%s: %d", what, got);
}

int main(void)
{
    load();
    struct rlimit limit = {64, 64};
    gives(0, "write", SYS_write, 1, (long)"", 0, 0);
    gives(ALLOWED, "openat", SYS_openat, AT_FDCWD, (long)"/", O_RDONLY, 0);
    gives(ALLOWED, "waiting", SYS_wait4, -1, 0, WNOHANG, 0);
    gives(0, "its own limits", SYS_prlimit64, 0, RLIMIT_NOFILE, (long)&limit, 0);
    gives(EPERM, "limits of another", SYS_prlimit64, getpid(), RLIMIT_NOFILE, (long)&limit, 0);
    gives(ENOSYS, "clone3", SYS_clone3, 0, 0, 0, 0);
    gives(EPERM, "clone with a user namespace", SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0);
    gives(EPERM, "clone with a pid namespace", SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0);
    gives(EPERM, "unshare", SYS_unshare, CLONE_NEWUSER, 0, 0, 0);
    gives(EPERM, "setns", SYS_setns, 0, 0, 0, 0);
    gives(EPERM, "mount", SYS_mount, 0, 0, 0, 0);
    gives(EPERM, "umount2", SYS_umount2, 0, 0, 0, 0);
    gives(EPERM, "pivot_root", SYS_pivot_root, 0, 0, 0, 0);
    gives(EPERM, "ptrace", SYS_ptrace, 0, 0, 0, 0);
    gives(EPERM, "process_vm_writev", SYS_process_vm_writev, getpid(), 0, 0, 0);
    gives(EPERM, "keyctl", SYS_keyctl, 0, 0, 0, 0);
    gives(EPERM, "bpf", SYS_bpf, 0, 0, 0, 0);
    gives(EPERM, "shmget", SYS_shmget, 0, 4096, 0600, 0);
    gives(EPERM, "mq_open", SYS_mq_open, (long)"x", O_CREAT | O_RDWR, 0600, 0);
    gives(EPERM, "io_uring_setup", SYS_io_uring_setup, 1, 0, 0, 0);
    gives(0, "socket AF_UNIX", SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0);
    gives(0, "socket AF_INET, TCP", SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 6, 0);
    gives(EPERM, "socket AF_NETLINK", SYS_socket, AF_NETLINK, SOCK_RAW, 0, 0);
    gives(EPERM, "socket AF_INET, ICMP", SYS_socket, AF_INET, SOCK_DGRAM, 1, 0);
    gives(EPERM, "TIOCSTI", SYS_ioctl, 0, TIOCSTI, (long)"x", 0);
    gives(ALLOWED, "FIONREAD", SYS_ioctl, 0, FIONREAD, (long)&limit, 0);
    gives(EPERM, "personality READ_IMPLIES_EXEC", SYS_personality, 0x400000, 0, 0, 0);
    gives(EPERM, "a number that does not exist", 100000, 0, 0, 0, 0);
#ifdef __x86_64__
    gives(EPERM, "x32", 0x40000000L + SYS_write, 1, (long)"", 0, 0);
#endif
    return done_testing();
}
