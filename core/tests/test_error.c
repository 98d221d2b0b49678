/* Makers, replacing, wrapping, the engine's texts, and what is printable. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "tap.h"

static void codes(void)
{
    is_str(moonsand_code_name(MOONSAND_OK), "ok", "the name of no error");
    is_str(moonsand_code_name(MOONSAND_E_NOT_FOUND), "not_found", "a name");
    is_str(moonsand_code_name(MOONSAND_E_CLOSED), "closed", "the last name");
    is_str(moonsand_code_name((moonsand_code)999), "unknown", "a number that is no code");
    is_int(moonsand_error_code(NULL), MOONSAND_OK, "no error, no code");
    is_str(moonsand_error_message(NULL), "no error", "no error has a message");
    moonsand_error_free(NULL);
}

static void makers(void)
{
    moonsand_error *err = NULL;
    is_int(ms_fail(NULL, MOONSAND_E_IO, "x"), -1, "nobody asks");
    is_int(ms_fail(&err, MOONSAND_E_INVALID, "cpus is %d", 0), -1, "ms_fail returns -1");
    is_str(moonsand_error_message(err), "cpus is 0", "message");
    is_str(moonsand_error_op(err), NULL, "no op yet");
    ms_error_op(&err, "sandbox");
    ms_error_op(&err, "other");
    is_str(moonsand_error_op(err), "sandbox", "the first op stays");
    ms_fail(&err, MOONSAND_E_IO, "again: %s", moonsand_error_message(err));
    is_str(moonsand_error_message(err), "again: cpus is 0", "replaced by one made from the old");

    ms_fail_errno(&err, ENOENT, "open %s", "/x");
    is_int(moonsand_error_code(err), MOONSAND_E_NOT_FOUND, "ENOENT");
    is_int(moonsand_error_errno(err), ENOENT, "errno is kept");
    is_str(moonsand_error_message(err), "open /x: No such file or directory", "strerror");
    ms_fail_errno(&err, ENOMEM, "x");
    is_int(moonsand_error_code(err), MOONSAND_E_NOMEM, "ENOMEM");
    ms_fail_errno(&err, EPIPE, "x");
    is_int(moonsand_error_code(err), MOONSAND_E_IO, "others");

    ms_error_wrap(&err, "image %s", "a");
    is_str(moonsand_error_message(err), "image a: x: Broken pipe", "wrapped");
    is_int(moonsand_error_code(err), MOONSAND_E_IO, "wrapped: code");
    is_int(moonsand_error_errno(err), EPIPE, "wrapped: errno");
    is_str(moonsand_error_message(moonsand_error_cause(err)), "x: Broken pipe", "cause");
    ms_fail_nomem(&err);
    is_int(moonsand_error_code(err), MOONSAND_E_NOMEM, "no memory");
    is_str(moonsand_error_message(err), "out of memory", "its message");
    ms_error_op(&err, "x");
    ms_error_wrap(&err, "y");
    is_str(moonsand_error_message(err), "y: out of memory", "wrapped");
    moonsand_error_free(err);
    err = NULL;
    ms_error_wrap(&err, "z");
    ok(err == NULL, "nothing to wrap");
}

static void says(int status, const char *body, size_t len, moonsand_code code, const char *want)
{
    moonsand_error *err = NULL;
    ms_fail_http(&err, "op", status, body, len);
    is_str(moonsand_error_message(err), want, "HTTP %d", status);
    is_int(moonsand_error_code(err), code, "its code");
    is_int(moonsand_error_status(err), status, "its status");
    is_str(moonsand_error_op(err), "op", "its op");
    moonsand_error_free(err);
}
#define SAYS(status, body, code, want) says(status, body, sizeof(body) - 1, code, want)

static void http(void)
{
    SAYS(404, "{\"message\":\"No such container: x\"}", MOONSAND_E_NOT_FOUND,
         "op: No such container: x");
    SAYS(409, "{\"cause\":\"c\",\"message\":\"m\",\"response\":409}", MOONSAND_E_CONFLICT, "op: m");
    SAYS(500, "{\"cause\":\"c\",\"message\":\"\"}", MOONSAND_E_ENGINE, "op: c");
    SAYS(404, "page not found\r\n", MOONSAND_E_NOT_FOUND, "op: page not found");
    SAYS(500, "", MOONSAND_E_ENGINE, "op: the engine answered with HTTP status 500 and no text");
    SAYS(500, "{\"message\":5}", MOONSAND_E_ENGINE, "op: {\"message\":5}");
    SAYS(500, "[1]", MOONSAND_E_ENGINE, "op: [1]");
    SAYS(500, "a\n\x1b[31mb\0c\xff", MOONSAND_E_ENGINE, "op: a ?[31mb?c?");
    SAYS(500, "{\"message\":\"a\\u0000b\\u001b\\nc\"}", MOONSAND_E_ENGINE, "op: a?b? c");
    says(500, NULL, 7, MOONSAND_E_ENGINE,
         "op: the engine answered with HTTP status 500 and no text");

    size_t big = 3 << 20;
    char *body = malloc(big);
    memset(body, '[', big); /* deep JSON must not be parsed deeply either */
    moonsand_error *err = NULL;
    ms_fail_http(&err, "op", 500, body, big);
    ok(strlen(moonsand_error_message(err)) < 1100, "a long text is cut");
    ms_fail_http(&err, "op", 500, body, 60000);
    ok(strlen(moonsand_error_message(err)) < 1100, "deep JSON");
    moonsand_error_free(err);
    free(body);
}

static void printable(void)
{
    static const struct {
        const char *in, *want;
    } table[] = {
        {"plain", "plain"},
        {"\x01\x7f\t", "???"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xe2\x82\xac \xf0\x9f\x8c\x99", "\xe2\x82\xac \xf0\x9f\x8c\x99"},
        {"\xc3", "?"},                /* cut */
        {"\xc0\xaf", "??"},           /* overlong */
        {"\xe0\x80\xaf", "???"},      /* overlong */
        {"\xed\xa0\x80", "???"},      /* surrogate */
        {"\xf4\x90\x80\x80", "????"}, /* above U+10FFFF */
        {"\xc2\x9b", "??"},           /* C1: CSI */
        {"\xe2\x80\xae", "???"},      /* right-to-left override */
    };
    char out[64];
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        ms_printable(out, sizeof(out), table[i].in, strlen(table[i].in));
        is_str(out, table[i].want, "printable %zu", i);
    }
    ms_printable(out, 4, "ab\xc3\xbc", 4);
    is_str(out, "ab", "no half character at the cut");
    ms_printable(out, 5, "ab\xc3\xbc", 4);
    is_str(out, "ab\xc3\xbc", "what fits exactly");
    ms_printable(out, 1, "ab", 2);
    is_str(out, "", "room for the NUL only");
    ms_printable(out, 0, "ab", 2);

    /* An engine's name for itself, an image's os: whatever is put into a message. */
    moonsand_error *err = NULL;
    ms_fail(&err, MOONSAND_E_UNSUPPORTED, "it runs %s containers", "\x1b]52;c;eA==\x07\xc2\x9b");
    is_str(moonsand_error_message(err), "it runs ?]52;c;eA==??? containers", "in a message");
    ms_fail_errno(&err, ENOENT, "%s", "a\nb\xff");
    ok(strncmp(moonsand_error_message(err), "a?b?: ", 6) == 0, "in a message with errno");
    moonsand_error_free(err);
}

int main(void)
{
    codes();
    makers();
    http();
    printable();
    return done_testing();
}
