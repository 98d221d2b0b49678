/* moonsand_result as a table; see Run:result() in core.d.lua. */
#include "lbinding.h"

static void set_string(lua_State *L, const char *field, const char *value)
{
    lua_pushstring(L, value); /* NULL: nil, so absent */
    lua_setfield(L, -2, field);
}

static void set_bytes(lua_State *L, const char *field, const char *value, size_t len)
{
    if (value == NULL)
        return;
    lua_pushlstring(L, value, len);
    lua_setfield(L, -2, field);
}

static void set_integer(lua_State *L, const char *field, uint64_t value)
{
    lua_pushinteger(L, value > (uint64_t)LUA_MAXINTEGER ? LUA_MAXINTEGER : (lua_Integer)value);
    lua_setfield(L, -2, field);
}

static void set_seconds(lua_State *L, const char *field, uint64_t ns)
{
    lua_pushnumber(L, (lua_Number)ns / 1e9);
    lua_setfield(L, -2, field);
}

static void set_bool(lua_State *L, const char *field, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, field);
}

static void push_artefacts(lua_State *L, const moonsand_result *r)
{
    lua_createtable(L, r->artefact_count < 4096 ? (int)r->artefact_count : 4096, 0);
    for (size_t i = 0; i < r->artefact_count; i++) {
        const moonsand_artefact *a = &r->artefacts[i];
        lua_createtable(L, 0, 3);
        set_string(L, "path", a->path);
        set_bytes(L, "data", a->data != NULL ? a->data : "", a->len);
        set_integer(L, "mode", a->mode);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void push_rejected(lua_State *L, const moonsand_result *r)
{
    lua_createtable(L, r->rejected_count < 4096 ? (int)r->rejected_count : 4096, 0);
    for (size_t i = 0; i < r->rejected_count; i++) {
        lua_createtable(L, 0, 2);
        set_string(L, "path", r->rejected[i].path);
        set_string(L, "reason", r->rejected[i].reason);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

void lb_push_result(lua_State *L, const moonsand_result *r)
{
    luaL_checkstack(L, 8, "result");
    lua_createtable(L, 0, 32);
    set_string(L, "status", moonsand_status_name(r->status));
    set_string(L, "reason", r->reason);
    lua_pushinteger(L, r->exit_code);
    lua_setfield(L, -2, "exit_code");
    lua_pushinteger(L, r->signal);
    lua_setfield(L, -2, "signal");
    set_bytes(L, "stdout", r->out.data, r->out.len);
    set_integer(L, "stdout_bytes", r->out.bytes);
    set_bool(L, "stdout_truncated", r->out.truncated);
    set_bytes(L, "stderr", r->err.data, r->err.len);
    set_integer(L, "stderr_bytes", r->err.bytes);
    set_bool(L, "stderr_truncated", r->err.truncated);
    set_seconds(L, "wall_s", r->wall_ns);
    set_seconds(L, "cpu_s", r->cpu_ns);
    set_seconds(L, "overhead_s", r->overhead_ns);
    set_seconds(L, "create_s", r->create_ns);
    set_seconds(L, "queue_s", r->queue_ns);
    set_integer(L, "reports", r->reports);
    set_integer(L, "reports_dropped", r->reports_dropped);
    set_seconds(L, "start_s", r->start_ns);
    set_seconds(L, "finish_s", r->finish_ns);
    set_integer(L, "memory_peak", r->memory_peak);
    set_integer(L, "oom_kills", r->oom_kills);
    set_integer(L, "stragglers_killed", r->stragglers_killed);
    set_integer(L, "pids_refused", r->pids_refused);
    push_artefacts(L, r);
    lua_setfield(L, -2, "artefacts");
    push_rejected(L, r);
    lua_setfield(L, -2, "rejected");
    set_bytes(L, "value", r->value, r->value_len);
    set_string(L, "isolation", r->isolation);
    set_string(L, "image", r->image);
    set_string(L, "container", r->container);
}
