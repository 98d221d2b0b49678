/* Errors of the core as Lua tables, and the slots that keep core memory when Lua raises. */
#include "lbinding.h"

#include <errno.h>
#include <string.h>

/* Lives in the registry. What a raise (out of memory while a table is built) leaves in a slot is
 * freed by the next use, or by the state's end. */
typedef struct lb_slots {
    moonsand_error *err;
    char *text;
} lb_slots;

static const char slots_key = 0;

static lb_slots *slots(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &slots_key);
    lb_slots *s = lua_touserdata(L, -1); /* the registry anchors it */
    lua_pop(L, 1);
    return s;
}

static void empty(lb_slots *s)
{
    moonsand_error_free(s->err);
    s->err = NULL;
    moonsand_free(s->text);
    s->text = NULL;
}

moonsand_error **lb_err(lua_State *L)
{
    lb_slots *s = slots(L);
    moonsand_error_free(s->err);
    s->err = NULL;
    return &s->err;
}

char **lb_text(lua_State *L)
{
    lb_slots *s = slots(L);
    moonsand_free(s->text);
    s->text = NULL;
    return &s->text;
}

int lb_push_text(lua_State *L)
{
    lua_pushstring(L, slots(L)->text);
    (void)lb_text(L);
    return 1;
}

static void set_string(lua_State *L, const char *field, const char *value)
{
    if (value == NULL)
        return;
    lua_pushstring(L, value);
    lua_setfield(L, -2, field);
}

static void set_int(lua_State *L, const char *field, int value)
{
    if (value == 0)
        return;
    lua_pushinteger(L, value);
    lua_setfield(L, -2, field);
}

void lb_push_error(lua_State *L, const moonsand_error *err)
{
    luaL_checkstack(L, 8, "error");
    lua_createtable(L, 0, 4);
    set_string(L, "code", moonsand_code_name(moonsand_error_code(err)));
    set_string(L, "message", moonsand_error_message(err));
    set_string(L, "op", moonsand_error_op(err));
    set_int(L, "status", moonsand_error_status(err));
    set_int(L, "errno", moonsand_error_errno(err));
    const moonsand_error *cause = moonsand_error_cause(err);
    if (cause != NULL) {
        lb_push_error(L, cause);
        lua_setfield(L, -2, "cause");
    }
    luaL_setmetatable(L, LB_ERROR);
}

int lb_fail(lua_State *L)
{
    lb_slots *s = slots(L);
    if (s->err == NULL)
        return lb_fail_with(L, MOONSAND_E_NOMEM, "out of memory");
    luaL_pushfail(L);
    lb_push_error(L, s->err);
    (void)lb_err(L);
    return 2;
}

int lb_fail_with(lua_State *L, moonsand_code code, const char *message)
{
    luaL_checkstack(L, 6, "error");
    luaL_pushfail(L);
    lua_createtable(L, 0, 2);
    set_string(L, "code", moonsand_code_name(code));
    set_string(L, "message", message);
    luaL_setmetatable(L, LB_ERROR);
    return 2;
}

int lb_fail_errno(lua_State *L, int errnum, const char *what, const char *path)
{
    char reason[128] = "unknown error";
    /* The GNU strerror_r() may return a text of its own; the XSI one fills the buffer. */
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    const char *text = strerror_r(errnum, reason, sizeof reason);
#else
    const char *text = reason;
    if (strerror_r(errnum, reason, sizeof reason) != 0)
        text = "unknown error";
#endif
    const char *message = lua_pushfstring(L, "%s %s: %s", what, path, text);
    int n = lb_fail_with(L, errnum == ENOENT ? MOONSAND_E_NOT_FOUND : MOONSAND_E_IO, message);
    lua_pushinteger(L, errnum);
    lua_setfield(L, -2, "errno");
    return n;
}

/* core.error(fields) -> the same table with the metatable. Raises without code and message. */
int lb_error_new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (lua_getfield(L, 1, "code") != LUA_TSTRING || lua_getfield(L, 1, "message") != LUA_TSTRING) {
        return luaL_argerror(L, 1, "an error needs the strings 'code' and 'message'");
    }
    lua_settop(L, 1);
    luaL_setmetatable(L, LB_ERROR);
    return 1;
}

static int error_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_getfield(L, 1, "code");
    lua_getfield(L, 1, "message");
    const char *code = lua_tostring(L, 2), *message = lua_tostring(L, 3);
    lua_pushfstring(L, "%s: %s", code != NULL ? code : "error", message != NULL ? message : "?");
    return 1;
}

static int slots_gc(lua_State *L)
{
    empty(lua_touserdata(L, 1));
    return 0;
}

void lb_error_open(lua_State *L)
{
    luaL_newmetatable(L, LB_ERROR);
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);

    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &slots_key) != LUA_TUSERDATA) {
        lb_slots *s = lua_newuserdatauv(L, sizeof *s, 0);
        memset(s, 0, sizeof *s);
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, slots_gc);
        lua_setfield(L, -2, "__gc");
        lua_setmetatable(L, -2);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &slots_key);
    }
    lua_pop(L, 1);
}
