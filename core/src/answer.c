#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "error.h"

#define HEAD_MAX 8192
#define BODY_MAX 65536

/* The value of a header in the head, up to its line's end, or NULL. name: with its colon. */
static const char *header(const ms_answer *a, const char *name)
{
    const char *p = a->head.data;
    while ((p = strstr(p, "\r\n")) != NULL) {
        p += 2;
        if (strncasecmp(p, name, strlen(name)) == 0)
            return p + strlen(name) + strspn(p + strlen(name), " \t");
    }
    return NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 101 ": the status, or -1. */
static int parse_status(const ms_buf *head)
{
    const char *p = head->data;
    if (head->len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || !is_digit(p[7]) || p[8] != ' ' ||
        !is_digit(p[9]) || !is_digit(p[10]) || !is_digit(p[11]) || is_digit(p[12]) ||
        strlen(p) != head->len)
        return -1;
    return (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
}

static void parse_framing(ms_answer *a)
{
    const char *coding = header(a, "transfer-encoding:");
    a->chunked = coding != NULL && strncasecmp(coding, "chunked", 7) == 0;
    const char *len = header(a, "content-length:");
    a->body_len = -1;
    if (len != NULL && is_digit(*len) && !a->chunked)
        a->body_len = strtoll(len, NULL, 10);
    if (a->status == 204 || a->status == 304)
        a->body_len = 0;
}

/* One head, of whatever status. */
static ssize_t feed_one(ms_answer *a, const char *p, size_t n, moonsand_error **err)
{
    size_t old = a->head.len;
    size_t take = n < HEAD_MAX - old ? n : HEAD_MAX - old;
    if (ms_buf_add(&a->head, p, take) != 0)
        return ms_fail_nomem(err);
    size_t from = old < 3 ? 0 : old - 3;
    const char *stop = memmem(a->head.data + from, a->head.len - from, "\r\n\r\n", 4);
    if (stop == NULL) {
        size_t known = a->head.len < 7 ? a->head.len : 7;
        if (a->head.len < HEAD_MAX && memcmp(a->head.data, "HTTP/1.", known) == 0)
            return (ssize_t)take;
        return ms_fail(err, MOONSAND_E_PROTOCOL,
                       "the answer is not HTTP, or its head is longer than %d bytes", HEAD_MAX);
    }
    a->head.len = (size_t)(stop - a->head.data) + 4;
    a->head.data[a->head.len] = '\0';
    int status = parse_status(&a->head);
    if (status < 100)
        return ms_fail(err, MOONSAND_E_PROTOCOL, "the answer is not HTTP");
    a->status = status;
    parse_framing(a);
    return (ssize_t)(a->head.len - old);
}

ssize_t ms_answer_feed_head(ms_answer *a, const char *p, size_t n, moonsand_error **err)
{
    size_t used = 0;
    while (used < n && a->status == 0) {
        ssize_t r = feed_one(a, p + used, n - used, err);
        if (r < 0)
            return -1;
        used += (size_t)r;
        if (a->status >= 200 || a->status == 101)
            break;
        if (a->status != 0)
            ms_buf_drop(&a->head, a->head.len);
        a->status = 0;
    }
    return (ssize_t)used;
}

/* The chunked coding of RFC 9112, section 7.1, as far as it is there. True at its end. A
 * broken coding ends it too: what came so far is the message. */
static bool unchunk(const ms_buf *in, ms_buf *out)
{
    size_t pos = 0;
    for (;;) {
        const char *line = in->data + pos;
        const char *stop = memmem(line, in->len - pos, "\r\n", 2);
        if (stop == NULL)
            return false;
        char *rest;
        unsigned long long size = strtoull(line, &rest, 16);
        if (rest == line || rest > stop || size == 0 || size > BODY_MAX)
            return true;
        pos = (size_t)(stop - in->data) + 2;
        size_t have = in->len - pos < size ? in->len - pos : (size_t)size;
        if (ms_buf_add(out, in->data + pos, have) != 0)
            return true;
        if (in->len - pos < size + 2)
            return false;
        pos += (size_t)size + 2;
    }
}

/* A kept connection does not end, so the body's length has to be found out like in any answer.
 * Docker ends these with the connection, Podman says a length. */
static bool is_whole(const ms_answer *a)
{
    if (a->body.len >= BODY_MAX)
        return true;
    if (a->body_len >= 0)
        return a->body.len >= (uint64_t)a->body_len;
    if (!a->chunked || a->body.len == 0)
        return false;
    ms_buf plain = {0};
    bool whole = unchunk(&a->body, &plain);
    ms_buf_free(&plain);
    return whole;
}

bool ms_answer_feed_body(ms_answer *a, const char *p, size_t n)
{
    size_t room = BODY_MAX - a->body.len;
    if (a->body_len >= 0 && (uint64_t)a->body_len - a->body.len < room)
        room = (size_t)a->body_len - a->body.len;
    return ms_buf_add(&a->body, p, n < room ? n : room) != 0 || is_whole(a);
}

int ms_answer_fail(const ms_answer *a, const char *op, moonsand_error **err)
{
    ms_buf plain = {0};
    const ms_buf *body = &a->body;
    if (a->chunked && body->len != 0) {
        unchunk(body, &plain);
        body = &plain;
    }
    ms_fail_http(err, op, a->status, body->data, body->len);
    ms_buf_free(&plain);
    return -1;
}

void ms_answer_free(ms_answer *a)
{
    ms_buf_free(&a->head);
    ms_buf_free(&a->body);
}
