/* Loop: one epoll descriptor, and the way by which news reach Lua. */
#include "lbinding.h"

#include <stdlib.h>
#include <string.h>

int lb_loop_new(lua_State *L)
{
    lb_loop *loop = lua_newuserdatauv(L, sizeof *loop, 1);
    memset(loop, 0, sizeof *loop);
    luaL_setmetatable(L, LB_LOOP);
    lua_newtable(L); /* address -> handle, so that step() finds the userdata of a C struct */
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_setiuservalue(L, -2, 1);
    if (moonsand_loop_new(&loop->core, lb_err(L)) != 0)
        return lb_fail(L);
    return 1;
}

static lb_loop *check(lua_State *L)
{
    lb_loop *loop = luaL_checkudata(L, 1, LB_LOOP);
    if (loop->core == NULL)
        lb_raise_closed(L, LB_LOOP);
    return loop;
}

static int loop_close(lua_State *L)
{
    lb_loop *loop = luaL_checkudata(L, 1, LB_LOOP);
    if (loop->core == NULL)
        return 0;
    for (;;) {
        lb_handle *h = loop->handles;
        while (h != NULL && h->kind != LB_KIND_ENGINE && h->kind != LB_KIND_COMMAND)
            h = h->next;
        if (h == NULL)
            break;
        if (h->kind == LB_KIND_COMMAND)
            lb_command_end(h);
        else
            lb_engine_end((lb_engine *)h);
    }
    moonsand_loop_free(loop->core);
    loop->core = NULL;
    return 0;
}

static int loop_tostring(lua_State *L)
{
    lb_loop *loop = luaL_checkudata(L, 1, LB_LOOP);
    return lb_push_name(L, LB_LOOP, loop, loop->core != NULL ? "open" : "closed");
}

static int loop_pollfd(lua_State *L)
{
    lua_pushinteger(L, moonsand_loop_fd(check(L)->core));
    return 1;
}

static int loop_events(lua_State *L)
{
    (void)check(L);
    lua_pushliteral(L, "r");
    return 1;
}

/* News that came while an engine was closed make no descriptor readable: they count as due. */
static int loop_timeout(lua_State *L)
{
    lb_loop *loop = check(L);
    int64_t ns = loop->news_first != NULL ? 0 : moonsand_loop_timeout_ns(loop->core);
    if (ns < 0) {
        lua_pushnil(L);
    } else {
        lua_pushnumber(L, (lua_Number)ns / 1e9);
    }
    return 1;
}

static int loop_step(lua_State *L)
{
    lb_loop *loop = check(L);
    lua_settop(L, 1);
    luaL_checkstack(L, 6, "step");
    if (moonsand_loop_step(loop->core, lb_err(L)) != 0)
        return lb_fail(L);
    lua_newtable(L);
    lua_getiuservalue(L, 1, 1);
    lua_Integer n = 0;
    while (loop->news_first != NULL) {
        lb_handle *h = loop->news_first;
        /* Room first: a raise here (out of memory) must not lose the news. */
        lua_pushnil(L);
        lua_rawseti(L, 2, n + 1);
        if (lua_rawgetp(L, 3, h) == LUA_TUSERDATA) {
            lua_rawseti(L, 2, ++n);
        } else {
            lua_pop(L, 1); /* being collected */
        }
        /* A finalizer that ran just now may have taken it off the list. */
        if (loop->news_first == h) {
            loop->news_first = h->news_next;
            if (loop->news_first == NULL)
                loop->news_last = NULL;
            h->news = false;
            h->news_next = NULL;
        }
    }
    lua_settop(L, 2);
    return 1;
}

static int loop_wait(lua_State *L)
{
    lb_loop *loop = check(L);
    uint64_t ns = lb_arg_ns(L, 2, UINT64_MAX);
    int64_t timeout = loop->news_first != NULL ? 0 : ns == UINT64_MAX ? -1 : (int64_t)ns;
    if (moonsand_loop_wait(loop->core, timeout, lb_err(L)) != 0)
        return lb_fail(L);
    lua_pushboolean(L, true);
    return 1;
}

static const luaL_Reg methods[] = {
    {"command", lb_command_new}, {"engine", lb_engine_new},
    {"events", loop_events},     {"pollfd", loop_pollfd},
    {"step", loop_step},         {"timeout", loop_timeout},
    {"wait", loop_wait},         {NULL, NULL},
};

void lb_loop_open(lua_State *L)
{
    lb_class(L, LB_LOOP, methods, loop_close, loop_tostring);
}
