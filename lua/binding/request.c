/* Request: one call of the engine's API. */
#include "lbinding.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef struct lb_request {
    lb_handle h;
    moonsand_request *core; /* NULL once it is done */
    bool done, no_memory, engine_closed;
    bool has_fd;
    int fd, status;
    lb_buf data;   /* pieces that take() has not taken */
    lb_buf answer; /* the collected body: all of it, or that of a refusal */
    moonsand_error *err;
} lb_request;

static void on_data(void *arg, const char *data, size_t len)
{
    lb_request *r = arg;
    if (!lb_buf_add(&r->data, data, len))
        r->no_memory = true;
    lb_handle_news(&r->h);
}

static void close_fd(lb_request *r)
{
    if (r->has_fd)
        (void)close(r->fd);
    r->has_fd = false;
}

static void on_done(void *arg, int status, const char *body, size_t len, moonsand_error *err)
{
    lb_request *r = arg;
    r->core = NULL;
    r->done = true;
    r->status = status;
    r->err = err;
    if (len > 0 && !lb_buf_add(&r->answer, body, len))
        r->no_memory = true;
    close_fd(r);
    lb_handle_news(&r->h);
}

/* Engine:request(options) -> request | nil, err. Raises for wrong types. */
int lb_request_new(lua_State *L)
{
    lb_engine *e = lb_check(L, LB_ENGINE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    luaL_checkstack(L, 12, "options");
    moonsand_request_options options = MOONSAND_REQUEST_OPTIONS_INIT;
    options.method = lb_field_string(L, 2, "method", true);
    options.path = lb_field_string(L, 2, "path", true);
    options.body = lb_field_bytes(L, 2, "body", &options.body_len);
    options.content_type = lb_field_string(L, 2, "content_type", false);
    const char *file = lb_field_string(L, 2, "body_file", false);
    lua_getfield(L, 2, "timeout");
    if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) * 1e9 > 9e18) {
        options.timeout_ns = UINT64_MAX; /* math.huge */
    } else {
        options.timeout_ns = lb_field_ns(L, 2, "timeout", 1e9);
    }
    if (lb_field_bool(L, 2, "stream"))
        options.on_data = on_data;
    options.on_done = on_done;
    lb_request *r = lb_handle_new(L, sizeof *r, LB_REQUEST, LB_KIND_REQUEST, 1);
    options.arg = r;
    if (!e->h.open)
        lb_raise_closed(L, LB_ENGINE);
    if (file != NULL) {
        r->fd = open(file, O_RDONLY | O_CLOEXEC);
        if (r->fd < 0)
            return lb_fail_errno(L, errno, "cannot open", file);
        r->has_fd = true;
        options.body = NULL;
        options.body_fd = r->fd;
    }
    moonsand_request *core = NULL;
    if (moonsand_request_start(&core, e->core, &options, lb_err(L)) != 0) {
        close_fd(r);
        return lb_fail(L);
    }
    if (!r->done)
        r->core = core;
    lb_handle_link(&r->h, e->h.loop, e);
    return 1;
}

static void cancel(lb_request *r)
{
    moonsand_request *core = r->core;
    r->core = NULL;
    if (core != NULL)
        moonsand_request_cancel(core);
    close_fd(r);
}

void lb_request_orphan(lb_handle *h)
{
    lb_request *r = (lb_request *)h;
    cancel(r);
    if (!r->done)
        r->engine_closed = true;
    r->done = true;
    lb_handle_orphan(h);
}

static int request_close(lua_State *L)
{
    lb_request *r = luaL_checkudata(L, 1, LB_REQUEST);
    cancel(r);
    lb_handle_unlink(&r->h);
    lb_buf_free(&r->data);
    lb_buf_free(&r->answer);
    moonsand_error_free(r->err);
    r->err = NULL;
    return 0;
}

static int request_tostring(lua_State *L)
{
    lb_request *r = luaL_checkudata(L, 1, LB_REQUEST);
    return lb_push_name(L, LB_REQUEST, r, !r->h.open ? "closed" : r->done ? "done" : "under way");
}

static int request_done(lua_State *L)
{
    lb_request *r = lb_check(L, LB_REQUEST);
    lua_pushboolean(L, r->done);
    return 1;
}

static int request_take(lua_State *L)
{
    lb_request *r = lb_check(L, LB_REQUEST);
    lb_buf_push(L, &r->data);
    return 1;
}

/* -> status, body | nil, err. Raises when it is not done. */
static int request_result(lua_State *L)
{
    lb_request *r = lb_check(L, LB_REQUEST);
    if (!r->done)
        return luaL_error(L, "the request is not done");
    if (r->engine_closed)
        return lb_fail_with(L, MOONSAND_E_CLOSED, "the engine was closed");
    if (r->no_memory)
        return lb_fail_with(L, MOONSAND_E_NOMEM, "no memory for the engine's answer");
    if (r->err != NULL) {
        luaL_pushfail(L);
        lb_push_error(L, r->err);
        return 2;
    }
    lua_pushinteger(L, r->status);
    lua_pushlstring(L, r->answer.data != NULL ? r->answer.data : "", r->answer.len);
    return 2;
}

static const luaL_Reg methods[] = {
    {"done", request_done},
    {"result", request_result},
    {"take", request_take},
    {NULL, NULL},
};

void lb_request_open(lua_State *L)
{
    lb_class(L, LB_REQUEST, methods, request_close, request_tostring);
}
