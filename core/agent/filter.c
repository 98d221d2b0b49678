/* The program's seccomp filter: the rules of the engine's profile (seccomp_names.h, seccomp_rules.h)
 * as a program for the kernel. In a container whose profile also allows what a fork server needs to
 * build its walls, this is what makes a run's profile the usual one again. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "inside.h"
#include "seccomp_names.h"
#include "seccomp_rules.h"

/* Numbers that the building machine's headers may not know; the same on both architectures. */
#ifndef __NR_cachestat
#define __NR_cachestat 451
#endif
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif
#ifndef __NR_map_shadow_stack
#define __NR_map_shadow_stack 453
#endif
#ifndef __NR_futex_wake
#define __NR_futex_wake 454
#define __NR_futex_wait 455
#define __NR_futex_requeue 456
#endif
#ifndef __NR_mseal
#define __NR_mseal 462
#endif
#ifndef __NR_getxattrat
#define __NR_getxattrat 464
#define __NR_listxattrat 465
#endif
#ifndef __NR_clone3
#define __NR_clone3 435
#endif

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#define FOREIGN 0x40000000u /* x32 */
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

/* A name that the architecture lacks stays a name, which is no number. */
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define NUMBER(name) TEXT(__NR_##name)

#define NR_MAX 1024
#define REFUSE (SECCOMP_RET_ERRNO | 1u)
#define NO_CLONE3 (SECCOMP_RET_ERRNO | MS_SECCOMP_CLONE3_ERRNO)
#define BY_ARGUMENTS 1u /* no action of the kernel: see the rules */

struct rule {
    const char *nr;
    ms_seccomp_arg args[MS_SECCOMP_ARGS];
    size_t count;
};

static const char *const names[] = {
#define X(name) NUMBER(name),
    MS_SECCOMP_NAMES(X)
#undef X
};

static const struct rule rules[] = {
#define X(name, count, ...) {NUMBER(name), {__VA_ARGS__}, count},
    MS_SECCOMP_RULES(X)
#undef X
};

struct code {
    struct sock_filter *p;
    size_t len, room;
};

static unsigned int to_number(const char *text)
{
    if (text[0] < '0' || text[0] > '9')
        return NR_MAX;
    unsigned long v = strtoul(text, NULL, 0);
    return v < NR_MAX ? (unsigned int)v : NR_MAX;
}

static size_t put(struct code *c, unsigned int op, unsigned int k, size_t yes, size_t no)
{
    if (c->len < c->room)
        c->p[c->len] =
            (struct sock_filter){(uint16_t)op, (uint8_t)yes, (uint8_t)no, (uint32_t)k};
    return c->len++;
}

/* One half of an argument: jumps over the rest of the rule, whose end is not known yet, when it is
 * another. */
static size_t put_half(struct code *c, unsigned int index, bool high, uint64_t mask, uint64_t value,
                       size_t *holes)
{
    uint32_t m = (uint32_t)(high ? mask >> 32 : mask), v = (uint32_t)(high ? value >> 32 : value);
    if (m == 0)
        return 0;
    unsigned int at = (unsigned int)offsetof(struct seccomp_data, args) + index * 8;
    put(c, BPF_LD | BPF_W | BPF_ABS, at + (high ? 4 : 0), 0, 0); /* both are little endian */
    if (m != UINT32_MAX)
        put(c, BPF_ALU | BPF_AND | BPF_K, m, 0, 0);
    holes[0] = put(c, BPF_JMP | BPF_JEQ | BPF_K, v, 0, 0);
    return 1;
}

static void put_rules(struct code *c, unsigned int nr)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *r = &rules[i];
        size_t holes[2 * MS_SECCOMP_ARGS], count = 0;
        if (to_number(r->nr) != nr)
            continue;
        for (size_t k = 0; k < r->count; k++) {
            uint64_t mask = r->args[k].mask != 0 ? r->args[k].mask : UINT64_MAX;
            count += put_half(c, r->args[k].index, true, mask, r->args[k].value, holes + count);
            count += put_half(c, r->args[k].index, false, mask, r->args[k].value, holes + count);
        }
        put(c, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
        for (size_t k = 0; k < count; k++)
            if (holes[k] < c->room)
                c->p[holes[k]].jf = (uint8_t)(c->len - holes[k] - 1);
    }
    put(c, BPF_RET | BPF_K, REFUSE, 0, 0);
}

struct range {
    unsigned int first, action;
};

/* A search tree over ranges of numbers, so that a call costs a few comparisons whatever it is. */
static void put_tree(struct code *c, const struct range *r, size_t n)
{
    if (n == 1) {
        if (r->action == BY_ARGUMENTS)
            put_rules(c, r->first);
        else
            put(c, BPF_RET | BPF_K, r->action, 0, 0);
        return;
    }
    size_t half = n / 2;
    put(c, BPF_JMP | BPF_JGE | BPF_K, r[half].first, 0, 1);
    size_t jump = put(c, BPF_JMP | BPF_JA, 0, 0, 0);
    put_tree(c, r, half);
    if (jump < c->room)
        c->p[jump].k = (uint32_t)(c->len - jump - 1);
    put_tree(c, r + half, n - half);
}

size_t filter_make(struct sock_filter *out, size_t room)
{
    unsigned int action[NR_MAX];
    struct range ranges[NR_MAX + 1];
    struct code c = {out, 0, room};
    for (size_t i = 0; i < NR_MAX; i++)
        action[i] = REFUSE;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (to_number(names[i]) < NR_MAX)
            action[to_number(names[i])] = SECCOMP_RET_ALLOW;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (to_number(rules[i].nr) < NR_MAX)
            action[to_number(rules[i].nr)] = BY_ARGUMENTS;
    action[__NR_clone3] = NO_CLONE3;
    size_t n = 0;
    for (unsigned int i = 0; i < NR_MAX; i++)
        if (i == 0 || action[i] != action[i - 1] || action[i] == BY_ARGUMENTS)
            ranges[n++] = (struct range){i, action[i]};
    if (ranges[n - 1].action != REFUSE)
        ranges[n++] = (struct range){NR_MAX, REFUSE};

    put(&c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    put(&c, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    put(&c, BPF_RET | BPF_K, REFUSE, 0, 0);
    put(&c, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
#ifdef FOREIGN
    put(&c, BPF_JMP | BPF_JGE | BPF_K, FOREIGN, 0, 1);
    put(&c, BPF_RET | BPF_K, REFUSE, 0, 0);
#endif
    put_tree(&c, ranges, n);
    return c.len <= room ? c.len : 0;
}
