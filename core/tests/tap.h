/* A test program's whole harness: checks print TAP, done_testing() prints the plan and gives main's
 * return value. A program that dies before its plan counts as failed (tools/test.sh). */
#ifndef MS_TAP_H
#define MS_TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int tap_count, tap_failed;

__attribute__((format(printf, 4, 5), unused)) static int tap_ok(int good, const char *file,
                                                                int line, const char *fmt, ...)
{
    va_list ap;
    printf("%s %d - ", good ? "ok" : "not ok", ++tap_count);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    if (!good) {
        tap_failed++;
        printf("#   at %s:%d\n", file, line);
    }
    fflush(stdout); /* what was said must be out before a crash, and before a fork */
    return good;
}

#define ok(cond, ...) tap_ok(!!(cond), __FILE__, __LINE__, __VA_ARGS__)
#define pass(...) tap_ok(1, __FILE__, __LINE__, __VA_ARGS__)
#define fail(...) tap_ok(0, __FILE__, __LINE__, __VA_ARGS__)

#define is_int(got, want, ...)                                                                     \
    do {                                                                                           \
        long long tap_got = (long long)(got), tap_want = (long long)(want);                        \
        if (!tap_ok(tap_got == tap_want, __FILE__, __LINE__, __VA_ARGS__))                         \
            printf("#   got %lld, want %lld\n", tap_got, tap_want);                                \
    } while (0)

#define is_str(got, want, ...)                                                                     \
    do {                                                                                           \
        const char *tap_got = (got), *tap_want = (want);                                           \
        int tap_same = tap_got == tap_want ||                                                      \
                       (tap_got != NULL && tap_want != NULL && strcmp(tap_got, tap_want) == 0);    \
        if (!tap_ok(tap_same, __FILE__, __LINE__, __VA_ARGS__))                                    \
            printf("#   got \"%s\", want \"%s\"\n", tap_got != NULL ? tap_got : "(null)",          \
                   tap_want != NULL ? tap_want : "(null)");                                        \
    } while (0)

#define is_mem(got, want, len, ...)                                                                \
    tap_ok(memcmp((got), (want), (len)) == 0, __FILE__, __LINE__, __VA_ARGS__)

#define diag(...) (printf("# "), printf(__VA_ARGS__), putchar('\n'), fflush(stdout))

/* Stands for one check that cannot be made here; say why. */
#define skip(...)                                                                                  \
    (printf("ok %d - # SKIP ", ++tap_count), printf(__VA_ARGS__), putchar('\n'), fflush(stdout))

__attribute__((unused)) static int done_testing(void)
{
    printf("1..%d\n", tap_count);
    fflush(stdout);
    return tap_failed == 0 ? 0 : 1;
}

#endif
