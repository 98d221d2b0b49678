/* The seccomp filter of a program that a fork server runs, as the kernel takes it. The engine's own
 * filter binds the whole container and lets the fork server make namespaces; this one, on top, is
 * what a program in a container of its own has: both come from seccomp_names.h and
 * seccomp_rules.h, and libseccomp makes it as it makes the engine's. */
#include <errno.h>
#include <seccomp.h>

#include "inside.h"
#include "seccomp_names.h"
#include "seccomp_rules.h"

static const char *const names[] = {
#define X(name) #name,
    MS_SECCOMP_NAMES(X)
#undef X
};

static const struct rule {
    const char *name;
    ms_seccomp_arg args[MS_SECCOMP_ARGS];
    unsigned int count;
} rules[] = {
#define X(name, count, ...) {#name, {__VA_ARGS__}, count},
    MS_SECCOMP_RULES(X)
#undef X
};

/* A name that this architecture lacks is passed over: nothing can call it. */
static int allow(scmp_filter_ctx ctx, const struct rule *r)
{
    int number = seccomp_syscall_resolve_name(r->name);
    if (number < 0)
        return 0;
    struct scmp_arg_cmp tests[MS_SECCOMP_ARGS];
    for (unsigned int i = 0; i < r->count; i++) {
        const ms_seccomp_arg *a = &r->args[i];
        tests[i] = (struct scmp_arg_cmp){.arg = a->index,
                                         .op = a->mask ? SCMP_CMP_MASKED_EQ : SCMP_CMP_EQ,
                                         .datum_a = a->mask ? a->mask : a->value,
                                         .datum_b = a->mask ? a->value : 0};
    }
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, number, r->count, tests);
}

static int fill(scmp_filter_ctx ctx)
{
    /* A tree and no list: the kernel works out the answer for each number when it takes the filter
     * in, which every run pays for. */
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (rc == 0) /* another architecture's calls: as the engines have it, but without a kill */
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++)
        rc = allow(ctx, &(struct rule){.name = names[i]});
    for (size_t i = 0; rc == 0 && i < sizeof rules / sizeof *rules; i++)
        rc = allow(ctx, &rules[i]);
    int clone3 = seccomp_syscall_resolve_name("clone3");
    if (rc == 0 && clone3 >= 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(MS_SECCOMP_CLONE3_ERRNO), clone3, 0);
    return rc;
}

int filter_write(int fd)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (ctx == NULL) {
        errno = ENOMEM;
        return -1;
    }
    int rc = fill(ctx);
    if (rc == 0)
        rc = seccomp_export_bpf(ctx, fd);
    seccomp_release(ctx);
    if (rc == 0)
        return 0;
    errno = -rc;
    return -1;
}
