/* Fields of option tables, checked. All access is raw: no metamethod runs between two fields. */
#include "lbinding.h"

#include <math.h>
#include <string.h>

/* Pushes t[field]; its type. */
static int field(lua_State *L, int t, const char *name)
{
    t = lua_absindex(L, t);
    lua_pushstring(L, name);
    return lua_rawget(L, t);
}

static int wrong(lua_State *L, const char *name, const char *wanted)
{
    return luaL_error(L, "option '%s' must be %s, got %s", name, wanted, luaL_typename(L, -1));
}

const char *lb_field_bytes(lua_State *L, int t, const char *name, size_t *len)
{
    int type = field(L, t, name);
    *len = 0;
    if (type == LUA_TNIL)
        return NULL;
    if (type != LUA_TSTRING)
        wrong(L, name, "a string");
    return lua_tolstring(L, -1, len);
}

const char *lb_field_string(lua_State *L, int t, const char *name, bool required)
{
    size_t len;
    const char *s = lb_field_bytes(L, t, name, &len);
    if (s == NULL && required)
        luaL_error(L, "option '%s' is required", name);
    if (s != NULL && strlen(s) != len)
        luaL_error(L, "option '%s' holds a NUL byte", name);
    return s;
}

uint64_t lb_field_uint(lua_State *L, int t, const char *name, uint64_t max)
{
    int type = field(L, t, name);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return 0;
    }
    int whole = 0;
    lua_Integer n = type == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
    if (type != LUA_TNUMBER)
        wrong(L, name, "a whole number");
    if (!whole)
        luaL_error(L, "option '%s' must be a whole number, got %f", name, lua_tonumber(L, -1));
    if (n < 0)
        luaL_error(L, "option '%s' must not be negative, got %I", name, (LUAI_UACINT)n);
    if ((uint64_t)n > max)
        luaL_error(L, "option '%s' is too large: %I", name, (LUAI_UACINT)n);
    lua_pop(L, 1);
    return (uint64_t)n;
}

uint64_t lb_field_ns(lua_State *L, int t, const char *name, double unit_ns)
{
    int type = field(L, t, name);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return 0;
    }
    if (type != LUA_TNUMBER)
        wrong(L, name, "a number");
    double n = lua_tonumber(L, -1);
    /* Written so that NaN fails, too. 9e18 is below INT64_MAX: 285 years of nanoseconds. */
    if (!(n >= 0))
        luaL_error(L, "option '%s' must not be negative, got %f", name, n);
    if (n * unit_ns > 9e18)
        luaL_error(L, "option '%s' is too large: %f", name, n);
    lua_pop(L, 1);
    return (uint64_t)llround(n * unit_ns);
}

bool lb_field_bool(lua_State *L, int t, const char *name)
{
    int type = field(L, t, name);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        wrong(L, name, "true or false");
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

size_t lb_field_list(lua_State *L, int t, const char *name)
{
    int type = field(L, t, name);
    if (type == LUA_TNIL)
        return 0;
    if (type != LUA_TTABLE)
        wrong(L, name, "a list");
    return (size_t)lua_rawlen(L, -1);
}

const char *lb_item_string(lua_State *L, int list, size_t i, const char *name)
{
    size_t len;
    int type = lua_rawgeti(L, list, (lua_Integer)i);
    if (type != LUA_TSTRING) {
        luaL_error(L, "%s[%d] must be a string, got %s", name, (int)i, lua_typename(L, type));
    }
    const char *s = lua_tolstring(L, -1, &len);
    if (strlen(s) != len)
        luaL_error(L, "%s[%d] holds a NUL byte", name, (int)i);
    return s;
}

const char *const *lb_field_strings(lua_State *L, int t, const char *name, size_t *count)
{
    size_t n = lb_field_list(L, t, name);
    int at = lua_gettop(L);
    if (n >= 100000)
        luaL_error(L, "option '%s' is too long a list", name);
    luaL_checkstack(L, (int)n + 10, name);
    const char **s = lb_scratch(L, n + 1, sizeof *s);
    for (size_t i = 0; i < n; i++)
        s[i] = lb_item_string(L, at, i + 1, name);
    *count = n;
    return s;
}

uint64_t lb_arg_ns(lua_State *L, int arg, uint64_t none)
{
    if (lua_isnoneornil(L, arg))
        return none;
    double n = luaL_checknumber(L, arg);
    luaL_argcheck(L, !isnan(n), arg, "not a number");
    if (n <= 0)
        return 0;
    if (n * 1e9 > 9e18)
        return none;
    return (uint64_t)llround(n * 1e9);
}

const char *lb_arg_string(lua_State *L, int arg)
{
    size_t len;
    const char *s = luaL_checklstring(L, arg, &len);
    luaL_argcheck(L, strlen(s) == len, arg, "the string holds a NUL byte");
    return s;
}

const char *lb_arg_optstring(lua_State *L, int arg)
{
    return lua_isnoneornil(L, arg) ? NULL : lb_arg_string(L, arg);
}

void *lb_scratch(lua_State *L, size_t count, size_t size)
{
    if (count == 0)
        count = 1;
    if (count > SIZE_MAX / 2 / size)
        luaL_error(L, "list too long");
    void *p = lua_newuserdatauv(L, count * size, 0);
    memset(p, 0, count * size);
    return p;
}
