/* One line of JSON that somebody else may have written, into Lua values: strict (RFC 8259), and
 * exact where cjson is not: 3 is an integer, 3.0 a float, and no digit of an integer gets lost. */
#include "lbinding.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deepest nesting; what is kept as lines has three levels, a space's description a few more. */
#define DEPTH_MAX 32
/* No number that a program writes is longer. */
#define NUMBER_MAX 64
/* Texts and nesting of what is simple; a line that is longer is not. */
#define SIMPLE_TEXT 64
#define SIMPLE_DEPTH 2
#define SIMPLE_LINE 16384
/* Members that a new table has room for, at most, because the one of the same name before had. */
#define HINT_MAX 64

typedef struct parser {
    lua_State *L;
    const char *p, *end; /* *end is NUL */
    const char *why;     /* the first mistake is at p */
    int depth;
    bool simple;
    lb_json_hints *hints;
} parser;

static bool value(parser *s, unsigned char *hint);

static bool wrong(parser *s, const char *why)
{
    s->why = why;
    return false;
}

static void blanks(parser *s)
{
    while (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n')
        s->p++;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool word(parser *s, const char *text, size_t len)
{
    if ((size_t)(s->end - s->p) < len || memcmp(s->p, text, len) != 0)
        return wrong(s, "no value");
    s->p += len;
    return true;
}

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 wide;

/* m / 10^k, m > 0, 1 <= k <= 19, rounded as strtod() does it, in a fifth of the time. */
static double decimal(uint64_t m, int k)
{
    static const uint64_t tens[20] = {1u,
                                      10u,
                                      100u,
                                      1000u,
                                      10000u,
                                      100000u,
                                      1000000u,
                                      10000000u,
                                      100000000u,
                                      1000000000u,
                                      10000000000u,
                                      100000000000u,
                                      1000000000000u,
                                      10000000000000u,
                                      100000000000000u,
                                      1000000000000000u,
                                      10000000000000000u,
                                      100000000000000000u,
                                      1000000000000000000u,
                                      10000000000000000000u};
    uint64_t d = tens[k];
    /* So far to the left that the quotient has 63 or 64 bits. */
    int shift = 63 + __builtin_clzll(m) - __builtin_clzll(d);
    wide n = (wide)m << shift;
    uint64_t q = (uint64_t)(n / d);
    bool exact = n == (wide)q * d;
    int drop = 11 - __builtin_clzll(q); /* a double has 53 bits */
    uint64_t half = UINT64_C(1) << (drop - 1), low = q & (2 * half - 1);
    q >>= drop;
    if (low > half || (low == half && (!exact || (q & 1) != 0)))
        q++;
    return ldexp((double)q, drop - shift);
}
#endif

/* The syntax is ours, as Lua takes more for a number; where the conversion is not plain it is
 * Lua's, as that is exact and knows the locale. */
static bool number(parser *s)
{
    const char *from = s->p, *p = from + (*from == '-');
    if (!is_digit(*p))
        return wrong(s, "no value");
    const char *digits = p, *point = NULL;
    uint64_t m = 0; /* the first 19 digits at least */
    while (is_digit(*p))
        m = m * 10 + (uint64_t)(*p++ - '0');
    if (*digits == '0' && p - digits > 1)
        return wrong(s, "a number that begins with 0");
    bool whole = true;
    if (*p == '.') {
        whole = false;
        point = p;
        if (!is_digit(*++p))
            return wrong(s, "a number that ends with its point");
        while (is_digit(*p))
            m = m * 10 + (uint64_t)(*p++ - '0');
    }
    const char *end = p;
    if (*p == 'e' || *p == 'E') {
        whole = false;
        p++;
        p += *p == '+' || *p == '-';
        if (!is_digit(*p))
            return wrong(s, "a number without its exponent");
        while (is_digit(*p))
            p++;
    }
    if (whole && p - digits < 19) {
        lua_pushinteger(s->L, *from == '-' ? -(lua_Integer)m : (lua_Integer)m);
#ifdef __SIZEOF_INT128__
    } else if (p == end && point != NULL && p - digits <= 20 && m != 0) {
        double n = decimal(m, (int)(p - point) - 1);
        lua_pushnumber(s->L, *from == '-' ? -n : n);
#endif
    } else {
        char text[NUMBER_MAX];
        size_t len = (size_t)(p - from);
        if (len >= sizeof text)
            return wrong(s, "a number that is too long");
        memcpy(text, from, len);
        text[len] = '\0';
        if (lua_stringtonumber(s->L, text) == 0)
            return wrong(s, "no number");
        if (!isfinite(lua_tonumber(s->L, -1)))
            return wrong(s, "a number that is too large");
    }
    s->p = p;
    return true;
}

static int hex4(const char *p)
{
    int n = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = is_digit(c)            ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1; /* the end's NUL, too */
        n = n * 16 + d;
    }
    return n;
}

/* After "\u". The character's bytes at out (room for 4), how many; 0 when it is none. */
static size_t escaped(parser *s, char *out)
{
    int c = hex4(s->p);
    if (c < 0 || (c >= 0xdc00 && c <= 0xdfff))
        return 0;
    s->p += 4;
    if (c >= 0xd800 && c <= 0xdbff) {
        int low = s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s->p + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return 0;
        s->p += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    static const int lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[n] | c);
    return n;
}

/* At the byte after the quote; `plain` bytes of it need no change. */
static bool long_string(parser *s, const char *from)
{
    static const char named[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    const char *stop = s->p; /* what it becomes is shorter than it is written */
    while (stop < s->end && *stop != '"')
        stop += stop[0] == '\\' && stop + 1 < s->end ? 2 : 1;
    luaL_Buffer b;
    char *out = luaL_buffinitsize(s->L, &b, (size_t)(stop - from) + 4);
    size_t n = (size_t)(s->p - from);
    memcpy(out, from, n);
    while (*s->p != '"') {
        if ((unsigned char)*s->p < 0x20)
            return wrong(s, s->p == s->end ? "a text without its end" : "a control byte in a text");
        if (*s->p != '\\') {
            out[n++] = *s->p++;
            continue;
        }
        char c = s->p[1];
        const char *at = c == 'u' || c == '\0' ? NULL : strchr(named, c);
        while (at != NULL && (at - named) % 2 != 0)
            at = strchr(at + 1, c);
        if (at != NULL) {
            out[n++] = at[1];
            s->p += 2;
            continue;
        }
        s->p += 2;
        size_t more = c == 'u' ? escaped(s, out + n) : 0;
        if (more == 0)
            return wrong(s, "an escape that is none");
        n += more;
    }
    s->p++;
    luaL_pushresultsize(&b, n);
    return true;
}

/* At the quote. */
static bool string(parser *s)
{
    const char *from = ++s->p, *p = from;
    bool simple = true;
    for (;; p++) {
        unsigned char c = (unsigned char)*p;
        if (c > ' ' && c < 0x7f && c != '"' && c != '\\')
            continue;
        if (c < ' ' || c == '"' || c == '\\')
            break;
        /* As is_plain() has it. */
        simple = simple && c == ' ' && p != from && p[1] != ' ' && p[1] != '"';
    }
    size_t len = (size_t)(p - from);
    s->simple = s->simple && simple && len <= SIMPLE_TEXT && *p == '"';
    s->p = p;
    if (*p != '"')
        return long_string(s, from);
    lua_pushlstring(s->L, from, len);
    s->p++;
    return true;
}

/* Where it is kept how many members an object of that name had. */
static unsigned char *hint_of(parser *s, const char *name, size_t len)
{
    unsigned hash = (unsigned)len;
    if (len != 0)
        hash += 31u * (unsigned char)name[0] + 7u * (unsigned char)name[len - 1];
    return &s->hints->members[hash % sizeof s->hints->members];
}

/* A null is no member. */
static bool object(parser *s, unsigned char *hint)
{
    unsigned members = 0;
    lua_createtable(s->L, 0, *hint);
    for (s->p++;; s->p++) {
        blanks(s);
        if (*s->p == '}' && members == 0)
            break;
        if (*s->p != '"')
            return wrong(s, "no name of a member");
        const char *name = s->p + 1;
        if (!string(s))
            return false;
        unsigned char *inner = hint_of(s, name, (size_t)(s->p - name) - 1);
        blanks(s);
        if (*s->p != ':')
            return wrong(s, "no colon after a name");
        s->p++;
        blanks(s);
        if (s->p[0] == 'n') {
            if (!word(s, "null", 4))
                return false;
            lua_pushnil(s->L);
        } else if (!value(s, inner)) {
            return false;
        }
        lua_rawset(s->L, -3);
        members++;
        blanks(s);
        if (*s->p == '}')
            break;
        if (*s->p != ',')
            return wrong(s, "neither a comma nor the end of an object");
    }
    s->p++;
    *hint = (unsigned char)(members < HINT_MAX ? members : HINT_MAX);
    return true;
}

static bool array(parser *s, unsigned char *hint)
{
    lua_Integer n = 0;
    lua_newtable(s->L);
    for (s->p++;; s->p++) {
        blanks(s);
        if (*s->p == ']' && n == 0)
            break;
        if (!value(s, hint))
            return false;
        lua_rawseti(s->L, -2, ++n);
        blanks(s);
        if (*s->p == ']')
            break;
        if (*s->p != ',')
            return wrong(s, "neither a comma nor the end of a list");
    }
    s->p++;
    return true;
}

static bool value(parser *s, unsigned char *hint)
{
    char c = *s->p;
    if (c == '"')
        return string(s);
    if (c == '-' || is_digit(c))
        return number(s);
    if (c == '{' || c == '[') {
        if (++s->depth > DEPTH_MAX)
            return wrong(s, "nested too deeply");
        luaL_checkstack(s->L, 6, "JSON");
        s->simple = s->simple && c == '{' && s->depth <= SIMPLE_DEPTH;
        bool good = c == '{' ? object(s, hint) : array(s, hint);
        s->depth--;
        return good;
    }
    if (c == 't' || c == 'f') {
        if (c == 't' ? !word(s, "true", 4) : !word(s, "false", 5))
            return false;
        lua_pushboolean(s->L, c == 't');
        return true;
    }
    if (c == 'n' && word(s, "null", 4)) {
        lua_pushlightuserdata(s->L, NULL); /* cjson's, and so moonsand.json's */
        return true;
    }
    return wrong(s, "no value");
}

const char *lb_json_push(lua_State *L, const char *text, size_t len, lb_json_hints *hints,
                         size_t *where, bool *simple)
{
    parser s = {.L = L, .p = text, .end = text + len, .simple = len <= SIMPLE_LINE, .hints = hints};
    int top = lua_gettop(L);
    luaL_checkstack(L, 6, "JSON");
    blanks(&s);
    bool good = value(&s, hint_of(&s, "", 0));
    if (good) {
        blanks(&s);
        good = s.p == s.end || wrong(&s, "more after its end");
    }
    if (!good)
        lua_settop(L, top);
    *where = (size_t)(s.p - text);
    *simple = good && s.simple;
    return s.why;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* As it can stand between quotes, and on a terminal: see moonsand.text. */
static bool is_plain(const char *s, size_t len, size_t max)
{
    if (len > max || (len != 0 && (s[0] == ' ' || s[len - 1] == ' ')))
        return false;
    for (size_t i = 0; i < len; i++)
        if (s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' ||
            (s[i] == ' ' && s[i + 1] == ' '))
            return false;
    return true;
}

/* A finite number with as many digits as it takes, and of its type, as sweep/trial.lua does it. */
static int print_float(char *out, size_t size, double n)
{
    bool whole = floor(n) == n;
    int len;
    if (whole && n < 1e15 && n > -1e15)
        len = snprintf(out, size, "%.1f", n);
    else if (whole)
        len = snprintf(out, size, "%.16e", n);
    else {
        len = 0;
        if (floor(n * 1e6) == n * 1e6)
            len = snprintf(out, size, "%.14g", n);
        if (len == 0 || strtod(out, NULL) != n)
            len = snprintf(out, size, "%.17g", n);
    }
    if (len <= 0 || (size_t)len >= size)
        return 0;
    char *comma = memchr(out, ',', (size_t)len); /* the host program's locale */
    if (comma != NULL)
        *comma = '.';
    return len;
}

/* json_scalars(begin, t, names, keys, max) -> begin .. '"name":1.5,...' | nil when a value is not
 * of the usual: a finite number, a boolean, or a text that needs no change and has at most max
 * bytes.
 */
int lb_json_scalars(lua_State *L)
{
    enum { BEGIN = 1, T, NAMES, KEYS, MAX };
    size_t len, max;
    const char *begin = luaL_checklstring(L, BEGIN, &len);
    for (int i = T; i <= KEYS; i++)
        luaL_checktype(L, i, LUA_TTABLE);
    max = (size_t)luaL_checkinteger(L, MAX);
    lua_settop(L, MAX);
    luaL_checkstack(L, 6, "JSON");
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addlstring(&b, begin, len);
    lua_Unsigned count = lua_rawlen(L, NAMES);
    bool first = true;
    for (lua_Unsigned i = 1; i <= count; i++) {
        /* The strings stay in their tables; the stack must be as the buffer left it. */
        lua_rawgeti(L, NAMES, (lua_Integer)i);
        int type = lua_rawget(L, T);
        char number[64];
        const char *text = NULL;
        if (type == LUA_TSTRING) {
            text = lua_tolstring(L, -1, &len);
            text = is_plain(text, len, max) ? text : NULL;
        } else if (type == LUA_TBOOLEAN) {
            text = lua_toboolean(L, -1) ? "true" : "false";
            len = strlen(text);
        } else if (lua_isinteger(L, -1)) {
            len = (size_t)snprintf(number, sizeof number, LUA_INTEGER_FMT, lua_tointeger(L, -1));
            text = number;
        } else if (type == LUA_TNUMBER && isfinite(lua_tonumber(L, -1))) {
            len = (size_t)print_float(number, sizeof number, lua_tonumber(L, -1));
            text = len != 0 ? number : NULL;
        }
        lua_pop(L, 1);
        if (type == LUA_TNIL)
            continue;
        size_t key_len = 0;
        const char *key = NULL;
        if (lua_rawgeti(L, KEYS, (lua_Integer)i) == LUA_TSTRING)
            key = lua_tolstring(L, -1, &key_len);
        lua_pop(L, 1);
        if (key == NULL || text == NULL) {
            lua_settop(L, MAX);
            lua_pushnil(L);
            return 1;
        }
        if (!first)
            luaL_addchar(&b, ',');
        first = false;
        luaL_addlstring(&b, key, key_len);
        if (type == LUA_TSTRING)
            luaL_addchar(&b, '"');
        luaL_addlstring(&b, text, len);
        if (type == LUA_TSTRING)
            luaL_addchar(&b, '"');
    }
    luaL_pushresult(&b);
    return 1;
}
