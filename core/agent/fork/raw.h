/* System calls without a C library: the fork server's shared object must load into any image, and
 * its code runs in a process that shares its memory with another, where errno has no meaning. All
 * give the kernel's answer: a negative errno when something is wrong. */
#ifndef MS_FORK_RAW_H
#define MS_FORK_RAW_H

#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

#ifndef __NR_clone3
#define __NR_clone3 435
#endif
#ifndef __NR_close_range
#define __NR_close_range 436
#endif
#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule 445
#define __NR_landlock_restrict_self 446
#endif

#if defined(__x86_64__)
static inline long raw6(long n, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}
#elif defined(__aarch64__)
static inline long raw6(long n, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}
#else
#error "the fork server knows x86-64 and aarch64"
#endif

#define RAW_PICK(a0, a1, a2, a3, a4, a5, a6, name, ...) name
#define raw(...) RAW_PICK(__VA_ARGS__, RAW6, RAW5, RAW4, RAW3, RAW2, RAW1, RAW0, )(__VA_ARGS__)
#define RAW_N(name) ((long)__NR_##name)
#define RAW0(n) raw6(RAW_N(n), 0, 0, 0, 0, 0, 0)
#define RAW1(n, a) raw6(RAW_N(n), (long)(a), 0, 0, 0, 0, 0)
#define RAW2(n, a, b) raw6(RAW_N(n), (long)(a), (long)(b), 0, 0, 0, 0)
#define RAW3(n, a, b, c) raw6(RAW_N(n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define RAW4(n, a, b, c, d) raw6(RAW_N(n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define RAW5(n, a, b, c, d, e)                                                                     \
    raw6(RAW_N(n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define RAW6(n, a, b, c, d, e, f)                                                                  \
    raw6(RAW_N(n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline _Noreturn void raw_exit(int code)
{
    for (;;)
        (void)raw(exit_group, code);
}

#endif
