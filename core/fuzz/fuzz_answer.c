/* The answer to a request for an upgrade, in pieces. The first byte chooses the piece's size; what
 * comes out must not depend on it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct outcome {
    ms_answer answer;
    size_t head; /* bytes that belong to heads */
    bool broken, whole;
} outcome;

static void feed(outcome *o, const char *p, size_t n)
{
    moonsand_error *err = NULL;
    size_t used = 0;
    if (o->broken || o->whole)
        return;
    if (o->answer.status == 0) {
        ssize_t r = ms_answer_feed_head(&o->answer, p, n, &err);
        o->broken = r < 0;
        if (o->broken != (err != NULL) || r > (ssize_t)n)
            abort();
        used = r < 0 ? n : (size_t)r;
        o->head += used;
    }
    if (!o->broken && o->answer.status != 0)
        o->whole = ms_answer_feed_body(&o->answer, p + used, n - used);
    moonsand_error_free(err);
}

static void compare(const outcome *a, const outcome *b)
{
    if (a->broken != b->broken)
        abort();
    if (a->broken)
        return;
    if (a->answer.status != b->answer.status || a->head != b->head || a->whole != b->whole)
        abort();
    moonsand_error *ea = NULL, *eb = NULL;
    ms_answer_fail(&a->answer, "op", &ea);
    ms_answer_fail(&b->answer, "op", &eb);
    if (strcmp(moonsand_error_message(ea), moonsand_error_message(eb)) != 0)
        abort();
    moonsand_error_free(ea);
    moonsand_error_free(eb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t step = data[0] + 1u;
    const char *p = (const char *)data + 1;
    size--;
    outcome whole = {0}, pieces = {0};
    if (size != 0)
        feed(&whole, p, size);
    for (size_t pos = 0; pos < size; pos += step)
        feed(&pieces, p + pos, size - pos < step ? size - pos : step);
    compare(&whole, &pieces);
    ms_answer_free(&whole.answer);
    ms_answer_free(&pieces.answer);
    return 0;
}
