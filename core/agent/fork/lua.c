/* The server for Lua, which loads this object by package.loadlib and has no way to call C but by
 * functions of its own kind. The symbols are the interpreter's; for Python they stay unresolved. */
#include "inner.h"

typedef struct lua_State lua_State;

#define LUA_API extern __attribute__((weak, visibility("default")))
LUA_API const char *lua_pushlstring(lua_State *, const char *, size_t);
LUA_API void lua_pushinteger(lua_State *, long long);

EXPORT int moonsand_lua_serve(lua_State *);
EXPORT int moonsand_lua_take(lua_State *);

EXPORT int moonsand_lua_serve(lua_State *l)
{
    (void)l;
    moonsand_serve();
    return 0;
}

/* Gives the number of arguments, and the arguments and the environment, each ended by NUL. */
EXPORT int moonsand_lua_take(lua_State *l)
{
    moonsand_take();
    lua_pushinteger(l, (long long)moonsand_argc());
    (void)lua_pushlstring(l, moonsand_text(), moonsand_text_len());
    return 2;
}
