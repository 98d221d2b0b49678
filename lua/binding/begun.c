/* The line of a journal that says that a trial began, as sweep/line.lua writes it: known without
 * making anything of it. A sweep that went well has one for each trial, and all that it says is
 * said again when the trial ends. */
#include "lbinding.h"

#include <string.h>

/* Of a number that is of the usual kind; none of them overflows. */
#define DIGITS_MAX 24

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* All of these move *p behind what they know, or leave it at some byte of it. */
static bool literal(const char **p, const char *text)
{
    size_t len = strlen(text);
    if (strncmp(*p, text, len) != 0)
        return false;
    *p += len;
    return true;
}

/* At most 18 digits, so it does not overflow. */
static bool count(const char **p, lua_Integer most, lua_Integer *n)
{
    const char *from = *p;
    for (*n = 0; is_digit(**p) && *p - from < 18; ++*p)
        *n = *n * 10 + (**p - '0');
    return *p != from && !is_digit(**p) && (*from != '0' || *p - from == 1) && *n <= most;
}

/* As JSON has it, and without an exponent. */
static bool number(const char **p)
{
    *p += **p == '-';
    const char *from = *p;
    while (is_digit(**p))
        ++*p;
    if (*p == from || (*from == '0' && *p - from > 1))
        return false;
    if (**p == '.') {
        if (!is_digit(*++*p))
            return false;
        while (is_digit(**p))
            ++*p;
    }
    return *p - from <= DIGITS_MAX;
}

/* A text that is what stands between its quotes, and harmless. */
static bool text(const char **p)
{
    if (*(*p)++ != '"')
        return false;
    const char *end = strchr(*p, '"');
    if (end == NULL || !lb_json_plain(*p, (size_t)(end - *p), LB_JSON_SIMPLE_TEXT))
        return false;
    *p = end + 1;
    return true;
}

/* A parameter's, any of them in full length. */
static bool member(const char **p)
{
    if (!text(p) || *(*p)++ != ':')
        return false;
    if (**p == '"')
        return text(p);
    if (**p == 't' || **p == 'f')
        return literal(p, **p == 't' ? "true" : "false");
    return number(p);
}

bool lb_begun(const char *line, size_t len, lua_Integer *trial)
{
    const char *p = line;
    lua_Integer attempts;
    if (len > LB_JSON_SIMPLE_LINE || !literal(&p, "{\"type\":\"trial\",\"number\":") ||
        !count(&p, LB_JSON_NUMBER_MAX, trial) || *trial == 0 ||
        !literal(&p, ",\"state\":\"running\"") || !literal(&p, ",\"attempts\":") ||
        !count(&p, LB_JSON_COUNT_MAX, &attempts))
        return false;
    if (literal(&p, ",\"key\":") && !text(&p))
        return false;
    if (!literal(&p, ",\"started\":") || !number(&p) || !literal(&p, ",\"params\":{"))
        return false;
    for (bool first = true; *p != '}'; first = false)
        if ((!first && *p++ != ',') || !member(&p))
            return false;
    return p[1] == '}' && p + 2 == line + len;
}
