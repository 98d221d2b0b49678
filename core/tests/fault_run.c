/* Each allocation of a run fails in turn, from connecting to closing: no leak, no hang, no wrong
 * verdict. Only the core's own are counted: the JSON library (jansson 2.14) itself writes through a
 * wild pointer when it finds no memory for an object's key. */
#include "live.h"
#include "mem.h"
#include "tap.h"

/* Allocation number n of one whole life fails; n < 0: none. Returns how many there were. */
static long one_life(const char *url, const char *image, long n, bool *right)
{
    live v = {0};
    ms_fault_set(n);
    bool good = live_open(&v, url) == 0 && live_run(&v, image, "print(2+2)") == 0;
    long count = ms_fault_count();
    /* An ok with other bytes than the program's is the one thing that must never be. */
    *right = !good || (v.result->status == MOONSAND_S_OK && v.result->out.len == 2 &&
                       memcmp(v.result->out.data, "4\n", 2) == 0);
    if (n < 0)
        *right = *right && good;
    if (!*right)
        printf("# allocation %ld: %s\n", n,
               good ? moonsand_status_name(v.result->status) : "failed");
    live_close(&v);
    ms_fault_set(-1);
    return count;
}

int main(void)
{
    const char *url = getenv("MOONSAND_TEST_DOCKER"), *image = getenv("MOONSAND_TEST_IMAGE");
    if (!url || !image) {
        skip("no engine was given (MOONSAND_TEST_DOCKER)");
        return done_testing();
    }
    bool right;
    one_life(url, image, -1, &right); /* what libraries keep for ever is made now */
    long base = ms_fault_live();
    long count = one_life(url, image, -1, &right);
    ok(right && count > 100, "a run with %ld allocations works", count);
    is_int(ms_fault_live(), base, "and frees them all");
    long wrong = 0, leaked = 0, slow = 0, tried = 0;
    for (long n = 0; n < count; n++) {
        int64_t began = ms_now_ns();
        one_life(url, image, n, &right);
        tried++;
        wrong += !right;
        if (ms_fault_live() != base) {
            leaked++;
            printf("# allocation %ld: %ld blocks are left\n", n, ms_fault_live() - base);
            base = ms_fault_live();
        }
        slow += ms_now_ns() - began > 30 * MS_S;
    }
    is_int(wrong, 0, "no wrong verdict in %ld lives", tried);
    is_int(leaked, 0, "no leak");
    is_int(slow, 0, "no hang");
    return done_testing();
}
