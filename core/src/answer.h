/* The answer to a request for an upgrade: its head, and the body when it is a refusal. Takes
 * arbitrary splits, keeps a bounded part. (Ordinary answers are libcurl's affair.) */
#ifndef MS_ANSWER_H
#define MS_ANSWER_H

#include <sys/types.h>

#include "mem.h"
#include "moonsand.h"

typedef struct ms_answer {
    ms_buf head, body;
    int status; /* 0: the head is not whole yet */
    bool chunked;
    int64_t body_len; /* -1: not said */
} ms_answer;          /* zero-initialised */

/* Takes bytes up to the head's end and says how many; a 1xx other than 101 is passed over. -1: it
 * is no head. */
ssize_t ms_answer_feed_head(ms_answer *a, const char *p, size_t n, moonsand_error **err);
/* Takes bytes of the body. True: it is whole, or as much of it as is kept. */
bool ms_answer_feed_body(ms_answer *a, const char *p, size_t n);
/* The refusal as an error (ms_fail_http()), with as much of the body as came. Returns -1. */
int ms_answer_fail(const ms_answer *a, const char *op, moonsand_error **err);
void ms_answer_free(ms_answer *a);

#endif
