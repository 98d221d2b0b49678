/* System calls that a program may make whatever their arguments are; sorted. Written by hand, from
 * what CPython, numpy and the usual libraries call on amd64 and arm64; a name that an architecture
 * or an old libseccomp lacks is skipped by the engine.
 *
 * Left out on purpose: all that changes namespaces, mounts or the machine; ptrace and
 * process_vm_*, process_madvise, kcmp, pidfd_getfd (other processes' memory and descriptors); keys;
 * bpf, perf; io_uring, libaio, userfaultfd, vmsplice, remap_file_pages (kernel surface that
 * interpreters do without); SysV IPC and message queues (outlive or bypass the limits); mknod,
 * setxattr; NUMA placement; mincore, cachestat (who else uses a file); memfd_secret; sync, syncfs
 * (they make the whole machine's disks write); modify_ldt, iopl, ioperm. */
/* clang-format off */
#define MS_SECCOMP_NAMES(X) \
    X(accept) X(accept4) X(access) X(alarm) X(arch_prctl) X(bind) X(brk) X(capget) X(capset) \
    X(chdir) X(chmod) X(chown) X(clock_getres) X(clock_gettime) X(clock_nanosleep) X(close) \
    X(close_range) X(connect) X(copy_file_range) X(creat) X(dup) X(dup2) X(dup3) X(epoll_create) \
    X(epoll_create1) X(epoll_ctl) X(epoll_pwait) X(epoll_pwait2) X(epoll_wait) X(eventfd) \
    X(eventfd2) X(execve) X(execveat) X(exit) X(exit_group) X(faccessat) X(faccessat2) \
    X(fadvise64) X(fallocate) X(fchdir) X(fchmod) X(fchmodat) X(fchmodat2) X(fchown) X(fchownat) \
    X(fcntl) X(fdatasync) X(fgetxattr) X(flistxattr) X(flock) X(fork) X(fstat) X(fstatfs) \
    X(fsync) X(ftruncate) X(futex) X(futex_requeue) X(futex_wait) X(futex_waitv) X(futex_wake) \
    X(futimesat) X(get_robust_list) X(getcpu) X(getcwd) X(getdents) X(getdents64) X(getegid) \
    X(geteuid) X(getgid) X(getgroups) X(getitimer) X(getpeername) X(getpgid) X(getpgrp) X(getpid) \
    X(getppid) X(getpriority) X(getrandom) X(getresgid) X(getresuid) X(getrlimit) X(getrusage) \
    X(getsid) X(getsockname) X(getsockopt) X(gettid) X(gettimeofday) X(getuid) X(getxattr) \
    X(getxattrat) X(inotify_add_watch) X(inotify_init) X(inotify_init1) X(inotify_rm_watch) \
    X(ioprio_get) X(kill) X(landlock_add_rule) X(landlock_create_ruleset) \
    X(landlock_restrict_self) X(lchown) X(lgetxattr) X(link) X(linkat) X(listen) X(listxattr) \
    X(listxattrat) X(llistxattr) X(lseek) X(lstat) X(madvise) X(map_shadow_stack) X(membarrier) \
    X(memfd_create) X(mkdir) X(mkdirat) X(mlock) X(mlock2) X(mlockall) X(mmap) X(mprotect) \
    X(mremap) X(mseal) X(msync) X(munlock) X(munlockall) X(munmap) X(nanosleep) X(newfstatat) \
    X(open) X(openat) X(openat2) X(pause) X(pidfd_open) X(pidfd_send_signal) X(pipe) X(pipe2) \
    X(pkey_alloc) X(pkey_free) X(pkey_mprotect) X(poll) X(ppoll) X(prctl) X(pread64) X(preadv) \
    X(preadv2) X(pselect6) X(pwrite64) X(pwritev) X(pwritev2) X(read) X(readahead) \
    X(readlink) X(readlinkat) X(readv) X(recvfrom) X(recvmmsg) X(recvmsg) X(rename) X(renameat) \
    X(renameat2) X(restart_syscall) X(rmdir) X(rseq) X(rt_sigaction) X(rt_sigpending) \
    X(rt_sigprocmask) X(rt_sigqueueinfo) X(rt_sigreturn) X(rt_sigsuspend) X(rt_sigtimedwait) \
    X(rt_tgsigqueueinfo) X(sched_get_priority_max) X(sched_get_priority_min) X(sched_getaffinity) \
    X(sched_getattr) X(sched_getparam) X(sched_getscheduler) X(sched_rr_get_interval) \
    X(sched_setaffinity) X(sched_setattr) X(sched_setparam) X(sched_setscheduler) X(sched_yield) \
    X(seccomp) X(select) X(sendfile) X(sendmmsg) X(sendmsg) X(sendto) X(set_robust_list) \
    X(set_tid_address) X(setfsgid) X(setfsuid) X(setgid) X(setgroups) X(setitimer) X(setpgid) \
    X(setpriority) X(setregid) X(setresgid) X(setresuid) X(setreuid) X(setrlimit) X(setsid) \
    X(setsockopt) X(setuid) X(shutdown) X(sigaltstack) X(signalfd) X(signalfd4) X(splice) X(stat) \
    X(statfs) X(statx) X(symlink) X(symlinkat) X(sysinfo) X(tee) X(tgkill) X(time) \
    X(timer_create) X(timer_delete) X(timer_getoverrun) X(timer_gettime) X(timer_settime) \
    X(timerfd_create) X(timerfd_gettime) X(timerfd_settime) X(times) X(tkill) X(truncate) \
    X(umask) X(uname) X(unlink) X(unlinkat) X(utime) X(utimensat) X(utimes) X(vfork) X(wait4) \
    X(waitid) X(write) X(writev)
/* clang-format on */
