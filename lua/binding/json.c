/* One line of JSON that somebody else may have written, into Lua values: strict (RFC 8259), and
 * exact where cjson is not: 3 is an integer, 3.0 a float, and no digit of an integer gets lost. */
#include "lbinding.h"

#include <math.h>
#include <string.h>

/* Deepest nesting; what is kept as lines has three levels, a space's description a few more. */
#define DEPTH_MAX 32
/* No number that a program writes is longer. */
#define NUMBER_MAX 64
/* Nesting of what is simple. */
#define SIMPLE_DEPTH 2
/* Members that a new table has room for, at most, because the one of the same name before had. */
#define HINT_MAX 64

typedef struct parser {
    lua_State *L;
    const char *p, *end; /* *end is NUL */
    const char *why;     /* the first mistake is at p */
    int depth;
    bool simple;
    bool fits; /* so far */
    int shape; /* where on the stack; 0: none, all fits */
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
        /* As lb_json_plain() has it. */
        simple = simple && c == ' ' && p != from && p[1] != ' ' && p[1] != '"';
    }
    size_t len = (size_t)(p - from);
    s->simple = s->simple && simple && len <= LB_JSON_SIMPLE_TEXT && *p == '"';
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

static bool is_whole(lua_State *L, lua_Integer least, lua_Integer most)
{
    return lua_isinteger(L, -1) && lua_tointeger(L, -1) >= least && lua_tointeger(L, -1) <= most;
}

/* A member of the outermost object, its name and its value on top of the stack. */
static bool fits(parser *s)
{
    lua_State *L = s->L;
    int type = lua_type(L, -1);
    bool good = false;
    lua_pushvalue(L, -2);
    if (lua_rawget(L, s->shape) == LUA_TTABLE) {
        lua_pushvalue(L, -2);
        good = lua_rawget(L, -2) != LUA_TNIL;
        lua_pop(L, 2);
        return good;
    }
    const char *kind = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    lua_pop(L, 1); /* the shape keeps it */
    switch (kind[0]) {
    case 'c': /* count */
        return is_whole(L, 0, LB_JSON_COUNT_MAX);
    case 'p': /* positive */
        return is_whole(L, 1, LB_JSON_NUMBER_MAX);
    case 'n': /* number */
        return type == LUA_TNUMBER;
    case 't': /* text, true */
        return kind[1] == 'e' ? type == LUA_TSTRING : type == LUA_TBOOLEAN && lua_toboolean(L, -1);
    case 's': /* scalars: what is simple has no other tables */
        return type == LUA_TTABLE;
    default:
        return false;
    }
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
        } else if (s->shape != 0 && s->depth == 1 && s->fits) {
            s->fits = fits(s);
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

const char *lb_json_push(lua_State *L, const char *text, size_t len, int shape,
                         lb_json_hints *hints, size_t *where, bool *fit)
{
    parser s = {.L = L,
                .p = text,
                .end = text + len,
                .simple = len <= LB_JSON_SIMPLE_LINE,
                .shape = shape,
                .hints = hints};
    int top = lua_gettop(L);
    luaL_checkstack(L, 6, "JSON");
    blanks(&s);
    s.fits = shape == 0 || *s.p == '{';
    bool good = value(&s, hint_of(&s, "", 0));
    if (good) {
        blanks(&s);
        good = s.p == s.end || wrong(&s, "more after its end");
    }
    if (!good)
        lua_settop(L, top);
    *where = (size_t)(s.p - text);
    *fit = good && s.simple && s.fits;
    return s.why;
}

/* json_value(text, shape) -> value, whether it is fit | nil, what is wrong with it */
int lb_json_value(lua_State *L)
{
    size_t len, where;
    const char *text = luaL_checklstring(L, 1, &len);
    lua_settop(L, 2);
    lb_json_hints hints = {{0}};
    bool fit;
    const char *why = lb_json_push(L, text, len, lb_json_shape(L, 2), &hints, &where, &fit);
    if (why != NULL) {
        lua_pushnil(L);
        lua_pushstring(L, why);
        return 2;
    }
    lua_pushboolean(L, fit);
    return 2;
}

int lb_json_shape(lua_State *L, int arg)
{
    if (lua_isnoneornil(L, arg))
        return 0;
    luaL_checktype(L, arg, LUA_TTABLE);
    return arg;
}
