/* Tables of scalars into JSON: the usual ones only, at C's speed (sweep/line.lua does the rest). */
#include "lbinding.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool lb_json_plain(const char *s, size_t len, size_t max)
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
            text = lb_json_plain(text, len, max) ? text : NULL;
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
