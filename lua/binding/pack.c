/* Pack: what is sent to an engine as a tar stream. Belongs to no loop. */
#include "lbinding.h"

#include <string.h>

typedef struct lb_pack {
    lb_handle h; /* on no list */
    moonsand_pack *core;
} lb_pack;

/* core.pack() -> pack | nil, err */
int lb_pack_new(lua_State *L)
{
    lb_pack *p = lua_newuserdatauv(L, sizeof *p, 0);
    memset(p, 0, sizeof *p);
    p->h.kind = LB_KIND_PACK;
    luaL_setmetatable(L, LB_PACK);
    if (moonsand_pack_new(&p->core, lb_err(L)) != 0)
        return lb_fail(L);
    p->h.open = true;
    return 1;
}

moonsand_pack *lb_field_pack(lua_State *L, int t, const char *field)
{
    t = lua_absindex(L, t);
    lua_pushstring(L, field);
    if (lua_rawget(L, t) == LUA_TNIL)
        return NULL;
    lb_pack *p = luaL_testudata(L, -1, LB_PACK);
    if (p == NULL)
        luaL_error(L, "option '%s' must be a pack, got %s", field, luaL_typename(L, -1));
    if (!p->h.open)
        lb_raise_closed(L, LB_PACK);
    return p->core;
}

static uint32_t mode_argument(lua_State *L, int arg)
{
    lua_Integer mode = luaL_optinteger(L, arg, 0);
    luaL_argcheck(L, mode >= 0 && mode <= 07777, arg, "not permission bits");
    return (uint32_t)mode;
}

static int answer(lua_State *L, int rc)
{
    if (rc != 0)
        return lb_fail(L);
    lua_pushboolean(L, true);
    return 1;
}

static int pack_data(lua_State *L)
{
    lb_pack *p = lb_check(L, LB_PACK);
    size_t len;
    const char *path = lb_arg_string(L, 2), *data = luaL_checklstring(L, 3, &len);
    uint32_t mode = mode_argument(L, 4);
    return answer(L, moonsand_pack_data(p->core, path, data, len, mode, lb_err(L)));
}

static int pack_file(lua_State *L)
{
    lb_pack *p = lb_check(L, LB_PACK);
    const char *path = lb_arg_string(L, 2), *host = lb_arg_string(L, 3);
    uint32_t mode = mode_argument(L, 4);
    return answer(L, moonsand_pack_file(p->core, path, host, mode, lb_err(L)));
}

static int pack_tree(lua_State *L)
{
    lb_pack *p = lb_check(L, LB_PACK);
    const char *prefix = lb_arg_string(L, 2), *dir = lb_arg_string(L, 3);
    moonsand_tree_options o = MOONSAND_TREE_OPTIONS_INIT;
    if (!lua_isnoneornil(L, 4)) {
        luaL_checktype(L, 4, LUA_TTABLE);
        lua_settop(L, 4);
        luaL_checkstack(L, 8, "options");
        o.ignore = lb_field_bytes(L, 4, "ignore", &o.ignore_len);
        o.keep = lb_field_strings(L, 4, "keep", &o.keep_count);
    }
    return answer(L, moonsand_pack_tree(p->core, prefix, dir, &o, lb_err(L)));
}

/* measure(max_bytes?) -> facts | nil while there is more | nil, err */
static int pack_measure(lua_State *L)
{
    lb_pack *p = lb_check(L, LB_PACK);
    lua_Integer max = luaL_optinteger(L, 2, 0);
    luaL_argcheck(L, max >= 0, 2, "must not be negative");
    bool done;
    if (moonsand_pack_measure(p->core, (uint64_t)max, &done, lb_err(L)) != 0)
        return lb_fail(L);
    if (!done) {
        lua_pushnil(L);
        return 1;
    }
    const moonsand_pack_facts *f = moonsand_pack_get_facts(p->core);
    lua_createtable(L, 0, 4);
    lua_pushstring(L, f->sha256);
    lua_setfield(L, -2, "sha256");
    lua_pushinteger(L, (lua_Integer)f->bytes);
    lua_setfield(L, -2, "bytes");
    lua_pushinteger(L, (lua_Integer)f->files);
    lua_setfield(L, -2, "files");
    lua_pushinteger(L, (lua_Integer)f->excluded);
    lua_setfield(L, -2, "excluded");
    if (f->escaping != NULL) {
        lua_pushstring(L, f->escaping);
        lua_setfield(L, -2, "escaping");
    }
    return 1;
}

static int pack_seen(lua_State *L)
{
    lb_pack *p = lb_check(L, LB_PACK);
    lua_pushinteger(L, (lua_Integer)moonsand_pack_seen(p->core));
    return 1;
}

static int pack_close(lua_State *L)
{
    lb_pack *p = luaL_checkudata(L, 1, LB_PACK);
    moonsand_pack *core = p->core;
    p->core = NULL;
    p->h.open = false;
    moonsand_pack_free(core);
    return 0;
}

static int pack_tostring(lua_State *L)
{
    lb_pack *p = luaL_checkudata(L, 1, LB_PACK);
    return lb_push_name(L, LB_PACK, p, p->h.open ? "open" : "closed");
}

static const luaL_Reg methods[] = {
    {"data", pack_data}, {"file", pack_file}, {"measure", pack_measure},
    {"seen", pack_seen}, {"tree", pack_tree}, {NULL, NULL},
};

void lb_pack_open(lua_State *L)
{
    lb_class(L, LB_PACK, methods, pack_close, pack_tostring);
}
