/* Run: one execution of one program. */
#include "lbinding.h"

#include <string.h>

typedef struct lb_run {
    lb_handle h;
    moonsand_run *core;
    const moonsand_result *result; /* borrowed from core */
    moonsand_error *err;
    bool done, no_memory, engine_closed;
    lb_buf out[2];  /* streamed stdout and stderr that Lua has not taken yet */
    lb_buf reports; /* likewise, each after its length, a size_t; bounded by the core */
} lb_run;

static void on_output(void *arg, int stream, const char *data, size_t len)
{
    lb_run *r = arg;
    if (!lb_buf_add(&r->out[stream == 2 ? 1 : 0], data, len) && !r->no_memory) {
        r->no_memory = true;
        moonsand_run_cancel(r->core);
    }
    lb_handle_news(&r->h);
}

static void on_report(void *arg, const char *report, size_t len)
{
    lb_run *r = arg;
    size_t before = r->reports.len;
    if (r->no_memory)
        return;
    if (!lb_buf_add(&r->reports, (const char *)&len, sizeof len) ||
        !lb_buf_add(&r->reports, report, len)) {
        r->reports.len = before;
        r->no_memory = true;
        moonsand_run_cancel(r->core);
    }
    lb_handle_news(&r->h);
}

static void on_stdin(void *arg, moonsand_run *core)
{
    lb_run *r = arg;
    (void)core;
    lb_handle_news(&r->h);
}

static void on_done(void *arg, moonsand_run *core, const moonsand_result *result,
                    moonsand_error *err)
{
    lb_run *r = arg;
    (void)core;
    r->done = true;
    r->result = result;
    r->err = err;
    lb_handle_news(&r->h);
}

/* Everything that the options point to stays on the stack until the core has its copy: a finalizer
 * may run at any allocation and change the tables that it came from. */

static const moonsand_file *files(lua_State *L, size_t *count)
{
    size_t n = lb_field_list(L, 2, "files");
    int list = lua_gettop(L);
    luaL_argcheck(L, n < 100000, 2, "list too long");
    luaL_checkstack(L, 3 * (int)n + 10, "files");
    moonsand_file *f = lb_scratch(L, n, sizeof *f);
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, list, (lua_Integer)i + 1) != LUA_TTABLE) {
            luaL_error(L, "files[%d] must be a table", (int)i + 1);
        }
        int item = lua_gettop(L);
        f[i].path = lb_field_string(L, item, "path", true);
        f[i].data = lb_field_bytes(L, item, "data", &f[i].len);
        if (f[i].data == NULL)
            luaL_error(L, "files[%d].data is required", (int)i + 1);
        f[i].mode = (uint32_t)lb_field_uint(L, item, "mode", 0777);
    }
    *count = n;
    return f;
}

static void stdin_option(lua_State *L, moonsand_run_options *o)
{
    lua_pushliteral(L, "stdin");
    int type = lua_rawget(L, 2);
    if (type == LUA_TSTRING) {
        o->stdin_mode = MOONSAND_STDIN_BYTES;
        o->stdin_data = lua_tolstring(L, -1, &o->stdin_len);
    } else if (type == LUA_TBOOLEAN && lua_toboolean(L, -1)) {
        o->stdin_mode = MOONSAND_STDIN_STREAM;
        o->on_stdin = on_stdin;
    } else if (type != LUA_TNIL && type != LUA_TBOOLEAN) {
        luaL_error(L, "option 'stdin' must be a string or true, got %s", luaL_typename(L, -1));
    }
}

/* Sandbox:run(options) -> run | nil, err. Raises for wrong types. */
int lb_run_new(lua_State *L)
{
    lb_sandbox *s = lb_check(L, LB_SANDBOX);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    luaL_checkstack(L, 30, "options");
    moonsand_run_options o = MOONSAND_RUN_OPTIONS_INIT;
    lb_run *r = lb_handle_new(L, sizeof *r, LB_RUN, LB_KIND_RUN, 1);
    o.argv = lb_field_strings(L, 2, "argv", &o.argc);
    o.env = lb_field_strings(L, 2, "env", &o.envc);
    o.files = files(L, &o.file_count);
    luaL_checkstack(L, 30, "options");
    stdin_option(L, &o);
    o.timeout_ns = lb_field_ns(L, 2, "timeout", 1e9);
    o.trust_key = lb_field_string(L, 2, "trust_key", false);
    o.stream_stdout = lb_field_bool(L, 2, "stream_stdout");
    o.stream_stderr = lb_field_bool(L, 2, "stream_stderr");
    o.on_report = lb_field_bool(L, 2, "reports") ? on_report : NULL;
    o.on_output = o.stream_stdout || o.stream_stderr ? on_output : NULL;
    o.on_done = on_done;
    o.arg = r;
    if (o.argc == 0)
        return luaL_error(L, "option 'argv' must name a program");
    moonsand_error **err = lb_err(L);
    if (!s->h.open)
        lb_raise_closed(L, LB_SANDBOX);
    if (moonsand_run_start(&r->core, s->core, &o, err) != 0) {
        r->core = NULL;
        return lb_fail(L);
    }
    lb_handle_link(&r->h, s->h.loop, s->h.engine);
    lua_pushvalue(L, 3);
    return 1;
}

void lb_run_orphan(lb_handle *h)
{
    lb_run *r = (lb_run *)h;
    if (!r->done) {
        moonsand_run *core = r->core;
        r->core = NULL;
        moonsand_run_free(core);
        r->done = r->engine_closed = true;
    }
    lb_handle_orphan(h);
}

static int run_close(lua_State *L)
{
    lb_run *r = luaL_checkudata(L, 1, LB_RUN);
    moonsand_run *core = r->core;
    r->core = NULL;
    r->result = NULL;
    moonsand_run_free(core);
    lb_handle_unlink(&r->h);
    lb_buf_free(&r->out[0]);
    lb_buf_free(&r->out[1]);
    lb_buf_free(&r->reports);
    moonsand_error_free(r->err);
    r->err = NULL;
    return 0;
}

static const char *phase(const lb_run *r)
{
    return r->done || r->core == NULL ? "done" : moonsand_run_phase(r->core);
}

static int run_tostring(lua_State *L)
{
    lb_run *r = luaL_checkudata(L, 1, LB_RUN);
    return lb_push_name(L, LB_RUN, r, r->h.open ? phase(r) : "closed");
}

static int run_done(lua_State *L)
{
    lb_run *r = lb_check(L, LB_RUN);
    lua_pushboolean(L, r->done);
    return 1;
}

static int run_phase(lua_State *L)
{
    lua_pushstring(L, phase(lb_check(L, LB_RUN)));
    return 1;
}

static int run_take(lua_State *L)
{
    lb_run *r = lb_check(L, LB_RUN);
    lb_buf_push(L, &r->out[0]);
    lb_buf_push(L, &r->out[1]);
    return 2;
}

/* -> list of what was reported since the last call, or nil. */
static int run_reports(lua_State *L)
{
    lb_run *r = lb_check(L, LB_RUN);
    lua_Integer count = 0;
    size_t at = 0, len;
    if (r->reports.len == 0)
        return 0;
    lua_newtable(L);
    while (at < r->reports.len) {
        memcpy(&len, r->reports.data + at, sizeof len);
        lua_pushlstring(L, r->reports.data + at + sizeof len, len);
        lua_rawseti(L, -2, ++count);
        at += sizeof len + len;
    }
    r->reports.len = 0; /* only now: each of these may fail for want of memory */
    return 1;
}

/* -> result | nil, err. Raises when it is not done. */
static int run_result(lua_State *L)
{
    lb_run *r = lb_check(L, LB_RUN);
    if (!r->done)
        return luaL_error(L, "the run is not done");
    if (r->engine_closed)
        return lb_fail_with(L, MOONSAND_E_CLOSED, "the engine was closed");
    if (r->no_memory) {
        return lb_fail_with(L, MOONSAND_E_NOMEM,
                            "no memory for the program's output; it was ended");
    }
    if (r->result == NULL) {
        if (r->err == NULL)
            return lb_fail_with(L, MOONSAND_E_NOMEM, "out of memory");
        luaL_pushfail(L);
        lb_push_error(L, r->err);
        return 2;
    }
    lb_push_result(L, r->result);
    return 1;
}

static int run_write(lua_State *L)
{
    lb_run *r = lb_check(L, LB_RUN);
    size_t len, taken = 0;
    const char *data = luaL_checklstring(L, 2, &len);
    if (r->done)
        return lb_fail_with(L, MOONSAND_E_CLOSED, "the program has ended");
    if (moonsand_run_write(r->core, data, len, &taken, lb_err(L)) != 0)
        return lb_fail(L);
    lua_pushinteger(L, (lua_Integer)taken);
    return 1;
}

static int run_close_stdin(lua_State *L)
{
    lb_run *r = lb_check(L, LB_RUN);
    if (!r->done)
        moonsand_run_close_stdin(r->core);
    return 0;
}

static int run_cancel(lua_State *L)
{
    lb_run *r = lb_check(L, LB_RUN);
    if (!r->done)
        moonsand_run_cancel(r->core);
    return 0;
}

static int run_save(lua_State *L)
{
    lb_run *r = lb_check(L, LB_RUN);
    const char *dir = lb_arg_string(L, 2);
    if (r->result == NULL)
        return lb_fail_with(L, MOONSAND_E_INVALID, "the run has no result");
    if (moonsand_result_save(r->result, dir, lb_err(L)) != 0)
        return lb_fail(L);
    lua_pushboolean(L, true);
    return 1;
}

static const luaL_Reg methods[] = {
    {"cancel", run_cancel},   {"close_stdin", run_close_stdin},
    {"done", run_done},       {"phase", run_phase},
    {"reports", run_reports}, {"result", run_result},
    {"save", run_save},       {"take", run_take},
    {"write", run_write},     {NULL, NULL},
};

void lb_run_open(lua_State *L)
{
    lb_class(L, LB_RUN, methods, run_close, run_tostring);
}
