#include "error.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

#include "mem.h"

/* An engine's text longer than this says nothing more to a reader. */
#define HTTP_TEXT_MAX 1024
/* A JSON answer to a failed call is a few hundred bytes; what is larger is taken as text. */
#define HTTP_JSON_MAX 65536

struct moonsand_error {
    moonsand_code code;
    char *message;
    char *op;
    int status, errnum;
    moonsand_error *cause;
};

/* Shared and never freed: to say that there is no memory must not need any. */
static const moonsand_error nomem = {MOONSAND_E_NOMEM, NULL, NULL, 0, ENOMEM, NULL};

moonsand_code moonsand_error_code(const moonsand_error *err)
{
    return err != NULL ? err->code : MOONSAND_OK;
}

const char *moonsand_code_name(moonsand_code code)
{
    switch (code) {
    case MOONSAND_OK:
        return "ok";
#define MOONSAND_X(id, name, meaning)                                                              \
    case MOONSAND_E_##id:                                                                          \
        return name;
        MOONSAND_ERROR_CODES(MOONSAND_X)
#undef MOONSAND_X
    }
    return "unknown";
}

const char *moonsand_error_message(const moonsand_error *err)
{
    if (err == NULL)
        return "no error";
    return err->message != NULL ? err->message : "out of memory";
}

const char *moonsand_error_op(const moonsand_error *err)
{
    return err != NULL ? err->op : NULL;
}

int moonsand_error_status(const moonsand_error *err)
{
    return err != NULL ? err->status : 0;
}

int moonsand_error_errno(const moonsand_error *err)
{
    return err != NULL ? err->errnum : 0;
}

const moonsand_error *moonsand_error_cause(const moonsand_error *err)
{
    return err != NULL ? err->cause : NULL;
}

void moonsand_error_free(moonsand_error *err)
{
    while (err != NULL && err != &nomem) {
        moonsand_error *cause = err->cause;
        ms_free(err->message);
        ms_free(err->op);
        ms_free(err);
        err = cause;
    }
}

int ms_fail_nomem(moonsand_error **err)
{
    if (err != NULL) {
        moonsand_error_free(*err);
        *err = (moonsand_error *)&nomem;
    }
    return -1;
}

/* Takes message, which is made printable here, once for all: names and texts in it came from
 * engines, images and files. The old error goes last: message may have been made from it. */
static moonsand_error *put(moonsand_error **err, moonsand_code code, char *message)
{
    if (message != NULL)
        ms_printable(message, strlen(message) + 1, message, strlen(message));
    moonsand_error *e = message != NULL ? ms_calloc(1, sizeof(*e)) : NULL;
    if (e == NULL) {
        ms_free(message);
        ms_fail_nomem(err);
        return NULL;
    }
    e->code = code;
    e->message = message;
    moonsand_error_free(*err);
    *err = e;
    return e;
}

int ms_fail(moonsand_error **err, moonsand_code code, const char *fmt, ...)
{
    if (err == NULL)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    put(err, code, ms_vasprintf(fmt, ap));
    va_end(ap);
    return -1;
}

int ms_fail_errno(moonsand_error **err, int errnum, const char *fmt, ...)
{
    if (err == NULL)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    char *what = ms_vasprintf(fmt, ap);
    va_end(ap);
    char text[128];
    char *message =
        what != NULL ? ms_asprintf("%s: %s", what, strerror_r(errnum, text, sizeof(text))) : NULL;
    ms_free(what);
    moonsand_code code = errnum == ENOMEM   ? MOONSAND_E_NOMEM
                         : errnum == ENOENT ? MOONSAND_E_NOT_FOUND
                                            : MOONSAND_E_IO;
    moonsand_error *e = put(err, code, message);
    if (e != NULL)
        e->errnum = errnum;
    return -1;
}

/* How many bytes the UTF-8 character at p has, or 0 when it is broken, a control character, or one
 * that turns the direction of the text after it (which can make a message read differently). */
static size_t printable_char(const unsigned char *p, size_t len)
{
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n > len)
        return 0;
    uint32_t c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    if (c < 0xa0 || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
        return 0;
    return n;
}

void ms_printable(char *out, size_t size, const char *bytes, size_t len)
{
    if (size == 0)
        return;
    size_t used = 0;
    for (size_t i = 0; i < len;) {
        size_t n = printable_char((const unsigned char *)bytes + i, len - i);
        size_t need = n != 0 ? n : 1;
        if (need > size - 1 - used)
            break;
        if (n != 0)
            memmove(out + used, bytes + i, n); /* out may be bytes: no byte moves forward */
        else
            out[used] = '?';
        used += need;
        i += need;
    }
    out[used] = '\0';
}

/* The sentence in an answer's body, printable: what JSON says, else the text itself. */
static void http_text(char *out, size_t size, const char *body, size_t len)
{
    json_t *root = NULL;
    if (len != 0 && len <= HTTP_JSON_MAX)
        root = json_loadb(body, len, JSON_ALLOW_NUL, NULL);
    json_t *said = json_object_get(root, "message");
    if (json_string_length(said) == 0)
        said = json_object_get(root, "cause");
    if (json_string_length(said) != 0) {
        body = json_string_value(said);
        len = json_string_length(said);
    }
    while (len != 0 && isspace((unsigned char)body[len - 1]))
        len--;
    while (len != 0 && isspace((unsigned char)body[0])) {
        body++;
        len--;
    }
    ms_printable(out, size, body, len);
    /* Each byte stays in its place: ms_printable() turns one bad byte into one "?". */
    for (size_t i = 0; i < len && out[i] != '\0'; i++)
        if (isspace((unsigned char)body[i]))
            out[i] = ' ';
    json_decref(root);
}

int ms_fail_http(moonsand_error **err, const char *op, int status, const char *body, size_t len)
{
    if (err == NULL)
        return -1;
    char text[HTTP_TEXT_MAX];
    http_text(text, sizeof(text), body, body != NULL ? len : 0);
    char *message =
        text[0] != '\0'
            ? ms_asprintf("%s: %s", op, text)
            : ms_asprintf("%s: the engine answered with HTTP status %d and no text", op, status);
    moonsand_code code = status == 404   ? MOONSAND_E_NOT_FOUND
                         : status == 409 ? MOONSAND_E_CONFLICT
                                         : MOONSAND_E_ENGINE;
    moonsand_error *e = put(err, code, message);
    if (e != NULL) {
        e->status = status;
        e->op = ms_strdup(op);
    }
    return -1;
}

int ms_error_copy(moonsand_error **err, const moonsand_error *from)
{
    if (err == NULL || from == &nomem)
        return ms_fail_nomem(err);
    moonsand_error *e = put(err, from->code, ms_strdup(moonsand_error_message(from)));
    if (e == NULL)
        return -1;
    e->status = from->status;
    e->errnum = from->errnum;
    return from->op != NULL ? ms_error_op(err, from->op) : -1;
}

int ms_error_op(moonsand_error **err, const char *op)
{
    if (err != NULL && *err != NULL && *err != &nomem && (*err)->op == NULL)
        (*err)->op = ms_strdup(op);
    return -1;
}

int ms_error_wrap(moonsand_error **err, const char *fmt, ...)
{
    if (err == NULL || *err == NULL)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    char *what = ms_vasprintf(fmt, ap);
    va_end(ap);
    char *message = what != NULL ? ms_asprintf("%s: %s", what, moonsand_error_message(*err)) : NULL;
    ms_free(what);
    moonsand_error *front = NULL;
    put(&front, moonsand_error_code(*err), message);
    /* Without memory for the wrapping, what is there says more than "out of memory" would. */
    if (front == NULL || front == &nomem)
        return -1;
    front->status = (*err)->status;
    front->errnum = (*err)->errnum;
    front->cause = *err;
    *err = front;
    return -1;
}
