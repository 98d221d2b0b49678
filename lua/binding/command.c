/* Command: a program of this machine. */
#include "lbinding.h"

/* More than this waits in the program's pipes until take() was called. */
#define HOLD_BYTES (1u << 20)

typedef struct lb_command {
    lb_handle h;
    moonsand_command *core;
    const moonsand_command_result *result; /* borrowed from core */
    moonsand_error *err;
    bool done, no_memory, loop_closed;
    lb_buf out[2]; /* streamed stdout and stderr that Lua has not taken yet */
} lb_command;

static void on_output(void *arg, int stream, const char *data, size_t len)
{
    lb_command *c = arg;
    lb_buf *b = &c->out[stream == 2 ? 1 : 0];
    if (!lb_buf_add(b, data, len)) {
        c->no_memory = true;
        moonsand_command_cancel(c->core);
    }
    if (b->len >= HOLD_BYTES)
        moonsand_command_hold(c->core, true);
    lb_handle_news(&c->h);
}

static void on_done(void *arg, const moonsand_command_result *result, moonsand_error *err)
{
    lb_command *c = arg;
    c->done = true;
    c->result = result;
    c->err = err;
    lb_handle_news(&c->h);
}

/* Loop:command(options) -> command | nil, err. Raises for wrong types. */
int lb_command_new(lua_State *L)
{
    lb_loop *loop = luaL_checkudata(L, 1, LB_LOOP);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    luaL_checkstack(L, 20, "options");
    moonsand_command_options o = MOONSAND_COMMAND_OPTIONS_INIT;
    lb_command *c = lb_handle_new(L, sizeof *c, LB_COMMAND, LB_KIND_COMMAND, 1);
    o.argv = lb_field_strings(L, 2, "argv", &o.argc);
    o.env = lb_field_strings(L, 2, "env", &o.envc);
    luaL_checkstack(L, 20, "options");
    o.cwd = lb_field_string(L, 2, "cwd", false);
    o.stdin_data = lb_field_bytes(L, 2, "stdin", &o.stdin_len);
    o.timeout_ns = lb_field_ns(L, 2, "timeout", 1e9);
    o.max_output = (size_t)lb_field_uint(L, 2, "max_output", SIZE_MAX / 2);
    o.stream_stdout = lb_field_bool(L, 2, "stream_stdout");
    o.stream_stderr = lb_field_bool(L, 2, "stream_stderr");
    o.on_output = on_output;
    o.on_done = on_done;
    o.arg = c;
    if (o.argc == 0)
        return luaL_error(L, "option 'argv' must name a program");
    moonsand_error **err = lb_err(L);
    if (loop->core == NULL)
        lb_raise_closed(L, LB_LOOP);
    if (moonsand_command_start(&c->core, loop->core, &o, err) != 0) {
        c->core = NULL;
        return lb_fail(L);
    }
    lb_handle_link(&c->h, loop, NULL);
    lua_pushvalue(L, 3);
    return 1;
}

/* What it has brought stays; the program is ended in the background. */
static void let_go(lb_command *c)
{
    moonsand_command *core = c->core;
    c->core = NULL;
    c->result = NULL;
    moonsand_command_free(core);
}

void lb_command_end(lb_handle *h)
{
    lb_command *c = (lb_command *)h;
    let_go(c);
    c->done = c->loop_closed = true;
    lb_handle_unlink(h);
}

static int command_close(lua_State *L)
{
    lb_command *c = luaL_checkudata(L, 1, LB_COMMAND);
    let_go(c);
    lb_handle_unlink(&c->h);
    lb_buf_free(&c->out[0]);
    lb_buf_free(&c->out[1]);
    moonsand_error_free(c->err);
    c->err = NULL;
    return 0;
}

static int command_tostring(lua_State *L)
{
    lb_command *c = luaL_checkudata(L, 1, LB_COMMAND);
    return lb_push_name(L, LB_COMMAND, c, !c->h.open ? "closed" : c->done ? "done" : "running");
}

static int command_done(lua_State *L)
{
    lb_command *c = lb_check(L, LB_COMMAND);
    lua_pushboolean(L, c->done);
    return 1;
}

static int command_take(lua_State *L)
{
    lb_command *c = lb_check(L, LB_COMMAND);
    lb_buf_push(L, &c->out[0]);
    lb_buf_push(L, &c->out[1]);
    if (!c->done)
        moonsand_command_hold(c->core, false);
    return 2;
}

static void set_output(lua_State *L, const char *name, const moonsand_output *o)
{
    if (o->data != NULL) {
        lua_pushlstring(L, o->data, o->len);
        lua_setfield(L, -2, name);
    }
    lua_pushfstring(L, "%s_bytes", name);
    lua_pushinteger(L, (lua_Integer)o->bytes);
    lua_rawset(L, -3);
    lua_pushfstring(L, "%s_truncated", name);
    lua_pushboolean(L, o->truncated);
    lua_rawset(L, -3);
}

/* -> result | nil, err. Raises when it is not done. */
static int command_result(lua_State *L)
{
    lb_command *c = lb_check(L, LB_COMMAND);
    if (!c->done)
        return luaL_error(L, "the command is not done");
    if (c->no_memory)
        return lb_fail_with(L, MOONSAND_E_NOMEM, "no memory for the program's output");
    if (c->result == NULL) {
        luaL_pushfail(L);
        lb_push_error(L, c->err);
        return 2;
    }
    luaL_checkstack(L, 6, "result");
    lua_createtable(L, 0, 8);
    lua_pushinteger(L, c->result->exit_code);
    lua_setfield(L, -2, "exit_code");
    lua_pushinteger(L, c->result->signal);
    lua_setfield(L, -2, "signal");
    set_output(L, "stdout", &c->result->out);
    set_output(L, "stderr", &c->result->err);
    return 1;
}

static int command_cancel(lua_State *L)
{
    lb_command *c = lb_check(L, LB_COMMAND);
    if (!c->done)
        moonsand_command_cancel(c->core);
    return 0;
}

static const luaL_Reg methods[] = {
    {"cancel", command_cancel}, {"done", command_done}, {"result", command_result},
    {"take", command_take},     {NULL, NULL},
};

void lb_command_open(lua_State *L)
{
    lb_class(L, LB_COMMAND, methods, command_close, command_tostring);
}
