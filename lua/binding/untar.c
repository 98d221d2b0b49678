/* core.untar: a tar stream in memory as a list. */
#include "lbinding.h"

#define LB_UNTAR "moonsand.core.Untar"

/* In a userdata, so that it is closed when Lua raises. */
static int untar_gc(lua_State *L)
{
    moonsand_untar **u = luaL_checkudata(L, 1, LB_UNTAR);
    moonsand_untar *core = *u;
    *u = NULL;
    moonsand_untar_close(core);
    return 0;
}

static void push_entry(lua_State *L, const moonsand_tar_entry *e)
{
    static const char *const types[] = {"file", "directory", "symlink", "hardlink", "other"};
    lua_createtable(L, 0, 4);
    lua_pushstring(L, e->path);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, types[e->type]);
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, e->mode);
    lua_setfield(L, -2, "mode");
    if (e->data != NULL) {
        lua_pushlstring(L, e->data, e->len);
        lua_setfield(L, -2, "data");
    }
    if (e->target != NULL) {
        lua_pushstring(L, e->target);
        lua_setfield(L, -2, "target");
    }
}

/* core.untar(bytes, limits?) -> list | nil, err */
int lb_untar(lua_State *L)
{
    size_t len;
    uint64_t entries = 0, most = 0;
    const char *bytes = luaL_checklstring(L, 1, &len);
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        entries = lb_field_uint(L, 2, "entries", SIZE_MAX / 2);
        most = lb_field_uint(L, 2, "bytes", SIZE_MAX / 2);
    }
    lua_settop(L, 2);
    luaL_checkstack(L, 8, "untar");
    moonsand_untar **u = lua_newuserdatauv(L, sizeof(moonsand_untar *), 0);
    *u = NULL;
    luaL_setmetatable(L, LB_UNTAR);
    lua_toclose(L, 3);
    if (moonsand_untar_open(u, bytes, len, (size_t)entries, (size_t)most, lb_err(L)) != 0)
        return lb_fail(L);
    lua_newtable(L);
    for (lua_Integer i = 1;; i++) {
        const moonsand_tar_entry *e;
        if (moonsand_untar_next(*u, &e, lb_err(L)) != 0)
            return lb_fail(L);
        if (e == NULL)
            return 1;
        push_entry(L, e);
        lua_rawseti(L, 4, i);
    }
}

void lb_untar_open(lua_State *L)
{
    luaL_newmetatable(L, LB_UNTAR);
    lua_pushcfunction(L, untar_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, untar_gc);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
}
