/* Sandbox: an image plus limits. */
#include "lbinding.h"

#include <string.h>

static moonsand_network network(const char *name, lua_State *L)
{
    if (name == NULL || strcmp(name, "none") == 0)
        return MOONSAND_NETWORK_NONE;
    if (strcmp(name, "bridge") != 0) {
        luaL_error(L, "option 'network' must be \"none\" or \"bridge\", got \"%s\"", name);
    }
    return MOONSAND_NETWORK_BRIDGE;
}

/* Leaves the list and the scratch memory on the stack: they anchor what it points to. */
static const moonsand_bind *binds(lua_State *L, size_t *count)
{
    size_t n = lb_field_list(L, 2, "binds");
    int list = lua_gettop(L);
    *count = n;
    if (n == 0)
        return NULL;
    luaL_argcheck(L, n <= 1000, 2, "too many binds");
    luaL_checkstack(L, (int)(3 * n + 4), "binds");
    moonsand_bind *b = lb_scratch(L, n, sizeof *b);
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, list, (lua_Integer)i + 1) != LUA_TTABLE) {
            luaL_error(L, "binds[%d] must be a table", (int)i + 1);
        }
        int item = lua_gettop(L);
        b[i].source = lb_field_string(L, item, "source", true);
        b[i].target = lb_field_string(L, item, "target", true);
    }
    return b;
}

/* Engine:sandbox(options) -> sandbox | nil, err. Raises for wrong types. */
int lb_sandbox_new(lua_State *L)
{
    lb_engine *e = lb_check(L, LB_ENGINE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    luaL_checkstack(L, 24, "options");
    moonsand_sandbox_options o = MOONSAND_SANDBOX_OPTIONS_INIT;
    o.image = lb_field_string(L, 2, "image", true);
    o.runtime = lb_field_string(L, 2, "runtime", false);
    o.network = network(lb_field_string(L, 2, "network", false), L);
    o.nano_cpus = lb_field_ns(L, 2, "cpus", 1e9);
    o.timeout_ns = lb_field_ns(L, 2, "timeout", 1e9);
    o.memory_bytes = lb_field_uint(L, 2, "memory_bytes", INT64_MAX);
    o.pids = (uint32_t)lb_field_uint(L, 2, "pids", UINT32_MAX);
    o.disk_bytes = lb_field_uint(L, 2, "disk_bytes", INT64_MAX);
    o.disk_inodes = (uint32_t)lb_field_uint(L, 2, "disk_inodes", UINT32_MAX);
    o.shm_bytes = lb_field_uint(L, 2, "shm_bytes", INT64_MAX);
    o.file_bytes = lb_field_uint(L, 2, "file_bytes", INT64_MAX);
    o.open_files = (uint32_t)lb_field_uint(L, 2, "open_files", UINT32_MAX);
    o.stdout_bytes = lb_field_uint(L, 2, "stdout_bytes", INT64_MAX);
    o.stderr_bytes = lb_field_uint(L, 2, "stderr_bytes", INT64_MAX);
    o.artefact_bytes = lb_field_uint(L, 2, "artefact_bytes", INT64_MAX);
    o.artefact_count = (uint32_t)lb_field_uint(L, 2, "artefact_count", UINT32_MAX);
    o.value_bytes = lb_field_uint(L, 2, "value_bytes", INT64_MAX);
    o.exec_tmp = lb_field_bool(L, 2, "exec_tmp");
    o.binds = binds(L, &o.bind_count);
    luaL_checkstack(L, 24, "options");
    lb_sandbox *s = lb_handle_new(L, sizeof *s, LB_SANDBOX, LB_KIND_SANDBOX, 1);
    int self = lua_gettop(L);
    lb_pool_options(L, s, &o);
    if (!e->h.open)
        lb_raise_closed(L, LB_ENGINE);
    if (moonsand_sandbox_new(&s->core, e->core, &o, lb_err(L)) != 0) {
        s->core = NULL;
        return lb_fail(L);
    }
    lb_handle_link(&s->h, e->h.loop, e);
    lua_pushvalue(L, self);
    return 1;
}

static void end_core(lb_sandbox *s)
{
    moonsand_sandbox *core = s->core;
    s->core = NULL;
    moonsand_sandbox_free(core);
    lb_pool_forget(s);
}

void lb_sandbox_orphan(lb_handle *h)
{
    end_core((lb_sandbox *)h);
    lb_handle_orphan(h); /* whoever waits for its pool hears of it */
    h->open = false;
}

static int sandbox_close(lua_State *L)
{
    lb_sandbox *s = luaL_checkudata(L, 1, LB_SANDBOX);
    end_core(s);
    lb_handle_unlink(&s->h);
    return 0;
}

static int sandbox_is_open(lua_State *L)
{
    lb_sandbox *s = luaL_checkudata(L, 1, LB_SANDBOX);
    lua_pushboolean(L, s->h.open);
    return 1;
}

static int sandbox_tostring(lua_State *L)
{
    lb_sandbox *s = luaL_checkudata(L, 1, LB_SANDBOX);
    return lb_push_name(L, LB_SANDBOX, s, s->h.open ? "open" : "closed");
}

static const luaL_Reg methods[] = {
    {"is_open", sandbox_is_open},  {"pool_event", lb_pool_event}, {"pool_resize", lb_pool_resize},
    {"pool_stats", lb_pool_stats}, {"run", lb_run_new},           {NULL, NULL},
};

void lb_sandbox_open(lua_State *L)
{
    lb_class(L, LB_SANDBOX, methods, sandbox_close, sandbox_tostring);
}
