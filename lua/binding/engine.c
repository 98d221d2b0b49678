/* Engine: a connection, its facts, and the end of all that hangs on it. */
#include "lbinding.h"

#include <string.h>

static void on_open(void *arg, moonsand_engine *core, moonsand_error *err)
{
    lb_engine *e = arg;
    (void)core;
    e->ready = err == NULL;
    moonsand_error_free(e->err);
    e->err = err;
    lb_handle_news(&e->h);
}

/* Loop:engine(options) -> engine | nil, err. Raises for wrong types. */
int lb_engine_new(lua_State *L)
{
    lb_loop *loop = luaL_checkudata(L, 1, LB_LOOP);
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_newtable(L);
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    luaL_checkstack(L, 10, "options");
    moonsand_engine_options options = MOONSAND_ENGINE_OPTIONS_INIT;
    options.endpoint = lb_field_string(L, 2, "endpoint", false);
    options.tls_dir = lb_field_string(L, 2, "tls_dir", false);
    options.agent_path = lb_field_string(L, 2, "agent_path", false);
    options.call_timeout_ns = lb_field_ns(L, 2, "call_timeout", 1e9);
    lb_engine *e = lb_handle_new(L, sizeof *e, LB_ENGINE, LB_KIND_ENGINE, 1);
    if (loop->core == NULL)
        lb_raise_closed(L, LB_LOOP);
    if (moonsand_engine_open(&e->core, loop->core, &options, on_open, e, lb_err(L)) != 0) {
        e->core = NULL;
        return lb_fail(L);
    }
    lb_handle_link(&e->h, loop, NULL);
    return 1;
}

void lb_engine_end(lb_engine *e)
{
    if (!e->h.open)
        return;
    for (lb_handle *h = e->h.loop->handles, *next; h != NULL; h = next) {
        next = h->next;
        if (h->engine != e)
            continue;
        switch (h->kind) {
        case LB_KIND_REQUEST:
            lb_request_orphan(h);
            break;
        case LB_KIND_SANDBOX:
            lb_sandbox_orphan(h);
            break;
        case LB_KIND_RUN:
            lb_run_orphan(h);
            break;
        case LB_KIND_ENGINE:
        case LB_KIND_COMMAND:
        case LB_KIND_PACK:
        case LB_KIND_JOURNAL:
            break;
        }
    }
    moonsand_engine *core = e->core;
    e->core = NULL;
    lb_handle_orphan(&e->h); /* off the list, with news for those who wait for it */
    e->h.open = false;
    moonsand_engine_close(core);
    moonsand_error_free(e->err);
    e->err = NULL;
}

static int engine_close(lua_State *L)
{
    lb_engine *e = luaL_checkudata(L, 1, LB_ENGINE);
    lb_engine_end(e);
    return 0;
}

/* Only __gc: nothing may point at the handle any more. */
static int engine_gc(lua_State *L)
{
    lb_engine *e = luaL_checkudata(L, 1, LB_ENGINE);
    lb_engine_end(e);
    lb_handle_unlink(&e->h);
    return 0;
}

static const char *state_name(const lb_engine *e)
{
    if (!e->h.open)
        return "closed";
    if (e->err != NULL)
        return "failed";
    return e->ready ? "ready" : "connecting";
}

static int engine_state(lua_State *L)
{
    lb_engine *e = luaL_checkudata(L, 1, LB_ENGINE);
    lua_pushstring(L, state_name(e));
    if (e->err == NULL)
        return 1;
    lb_push_error(L, e->err);
    return 2;
}

static int engine_tostring(lua_State *L)
{
    lb_engine *e = luaL_checkudata(L, 1, LB_ENGINE);
    return lb_push_name(L, LB_ENGINE, e, state_name(e));
}

static void set_string(lua_State *L, const char *field, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, field);
}

static void set_bool(lua_State *L, const char *field, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, field);
}

static void set_integer(lua_State *L, const char *field, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, field);
}

static int engine_facts(lua_State *L)
{
    lb_engine *e = lb_check(L, LB_ENGINE);
    const moonsand_engine_facts *f = e->ready ? moonsand_engine_get_facts(e->core) : NULL;
    if (f == NULL) {
        lua_pushnil(L);
        return 1;
    }
    luaL_checkstack(L, 4, "facts");
    lua_createtable(L, 0, 16);
    set_string(L, "endpoint", f->endpoint);
    set_string(L, "found_by", f->found_by);
    set_string(L, "kind", f->kind);
    set_string(L, "engine_version", f->engine_version);
    set_string(L, "api_version", f->api_version);
    set_string(L, "os", f->os);
    set_string(L, "arch", f->arch);
    set_string(L, "kernel", f->kernel);
    set_string(L, "components", f->components);
    set_integer(L, "cgroup_version", (uint64_t)f->cgroup_version);
    set_integer(L, "cpus", f->cpus);
    set_integer(L, "memory_bytes", f->memory_bytes);
    set_bool(L, "rootless", f->rootless);
    set_bool(L, "userns_remap", f->userns_remap);
    set_bool(L, "local", f->local);
    set_bool(L, "has_bridge", f->has_bridge);
    return 1;
}

static int engine_pending(lua_State *L)
{
    lb_engine *e = lb_check(L, LB_ENGINE);
    lua_pushinteger(L, (lua_Integer)moonsand_engine_pending(e->core));
    return 1;
}

static const luaL_Reg methods[] = {
    {"facts", engine_facts},     {"pending", engine_pending}, {"request", lb_request_new},
    {"sandbox", lb_sandbox_new}, {"state", engine_state},     {NULL, NULL},
};

void lb_engine_open(lua_State *L)
{
    lb_class(L, LB_ENGINE, methods, engine_close, engine_tostring);
    luaL_getmetatable(L, LB_ENGINE);
    lua_pushcfunction(L, engine_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
