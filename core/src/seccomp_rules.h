/* What a program may call with certain arguments only. Beside seccomp_names.h, and like it the one
 * source of both forms of the filter: the engine's profile (seccomp.c) and the program that the
 * agent gives to the kernel for a run of a fork server (core/agent/filter.c). */
#ifndef MS_SECCOMP_RULES_H
#define MS_SECCOMP_RULES_H

#include <stddef.h>
#include <stdint.h>

/* One argument test; mask 0 means plain equality. Plain equality looks at 64 bits, a mask only at
 * its own: where the kernel takes an int, the upper half must either be masked off or be zero. */
typedef struct ms_seccomp_arg {
    unsigned index;
    uint64_t mask, value;
} ms_seccomp_arg;

#define MS_SECCOMP_ARGS 3

/* clone3 keeps its flags in memory, where no filter sees them; told ENOSYS, libc uses clone. The
 * number is the same on both architectures. */
#define MS_SECCOMP_CLONE3_ERRNO 38

/* CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET; NEWTIME exists for clone3 only. */
#define MS_NEW_NAMESPACES 0x7e020000ull
#define MS_LOW 0xffffffffull

/* clang-format off */
/* Type & 12 == 0: SOCK_STREAM and DGRAM (and RAW, RDM, which need a capability or do not exist). */
#define MS_RULE_INET(X, family, protocol) X(socket, 3, {0, 0, family}, {1, 12, 0}, {2, 0, protocol})
#define MS_RULE_IOCTL(X, mask, value) X(ioctl, 1, {1, mask, value})

/* X(name, number of tests, tests...): allowed when all tests of one line hold. */
#define MS_SECCOMP_RULES(X) \
    X(clone, 1, {0, MS_NEW_NAMESPACES, 0}) \
    X(personality, 1, {0, 0, 0}) \
    X(personality, 1, {0, 0, MS_LOW}) \
    /* Its own limits: those of the agent, which has the same user, would be in reach. */ \
    X(prlimit64, 1, {0, MS_LOW, 0}) \
    /* UNIX, INET, INET6 with TCP and UDP. */ \
    X(socket, 1, {0, 0, 1}) \
    MS_RULE_INET(X, 2, 0) MS_RULE_INET(X, 2, 6) MS_RULE_INET(X, 2, 17) \
    MS_RULE_INET(X, 10, 0) MS_RULE_INET(X, 10, 6) MS_RULE_INET(X, 10, 17) \
    X(socketpair, 1, {0, 0, 1}) \
    /* Terminals without TIOCSTI (0x5412), TIOCLINUX (0x541c), TIOCCONS and TIOCSETD: */ \
    MS_RULE_IOCTL(X, MS_LOW & ~0xfull, 0x5400)  /* TCGETS ... TIOCGPGRP */ \
    MS_RULE_IOCTL(X, MS_LOW & ~1ull, 0x5410)    /* TIOCSPGRP, TIOCOUTQ */ \
    MS_RULE_IOCTL(X, MS_LOW, 0x5413)            /* TIOCGWINSZ */ \
    MS_RULE_IOCTL(X, MS_LOW & ~3ull, 0x5414)    /* TIOCSWINSZ ... */ \
    MS_RULE_IOCTL(X, MS_LOW & ~3ull, 0x5418)    /* ... FIONREAD */ \
    MS_RULE_IOCTL(X, MS_LOW & ~1ull, 0x5420)    /* TIOCPKT, FIONBIO */ \
    MS_RULE_IOCTL(X, MS_LOW & ~1ull, 0x5428)    /* TIOCGSID */ \
    MS_RULE_IOCTL(X, MS_LOW, 0x5441)            /* TIOCGPTPEER */ \
    MS_RULE_IOCTL(X, MS_LOW & ~3ull, 0x5450)    /* FIONCLEX, FIOCLEX, FIOASYNC */ \
    MS_RULE_IOCTL(X, MS_LOW & ~0xffull, 0x8900) /* sockets' own */ \
    /* Anything that carries data by the _IOR/_IOW convention: files and pseudo terminals. */ \
    MS_RULE_IOCTL(X, 0x80000000ull, 0x80000000) \
    MS_RULE_IOCTL(X, 0x40000000ull, 0x40000000)
/* clang-format on */

#endif
