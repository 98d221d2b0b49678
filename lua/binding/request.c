/* Request: one call of the engine's API. */
#include "lbinding.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* So much of a body is taken before it goes to the connection. */
#define QUEUE_BYTES (256u << 10)
/* More than this waits in the connection until take() was called. */
#define HOLD_BYTES (1u << 20)

typedef struct lb_request {
    lb_handle h;
    moonsand_request *core; /* NULL once it is done */
    bool done, no_memory, engine_closed;
    bool has_fd;
    int fd, status;
    uint64_t sent, received;
    lb_buf queue; /* written, not sent: from queue_at on */
    size_t queue_at;
    bool queue_end, queue_waits;
    lb_buf data;   /* pieces that take() has not taken */
    lb_buf answer; /* the collected body: all of it, or that of a refusal */
    moonsand_error *err;
} lb_request;

static void on_data(void *arg, const char *data, size_t len)
{
    lb_request *r = arg;
    if (!lb_buf_add(&r->data, data, len))
        r->no_memory = true;
    if (r->data.len >= HOLD_BYTES)
        moonsand_request_hold(r->core, true);
    lb_handle_news(&r->h);
}

static ptrdiff_t on_read(void *arg, void *buffer, size_t size)
{
    lb_request *r = arg;
    size_t n = r->queue.len - r->queue_at;
    if (n > size)
        n = size;
    if (n > 0)
        memcpy(buffer, r->queue.data + r->queue_at, n);
    r->queue_at += n;
    if (r->queue_at == r->queue.len)
        r->queue.len = r->queue_at = 0;
    if (!r->queue_end)
        lb_handle_news(&r->h); /* there is room */
    r->queue_waits = n == 0 && !r->queue_end;
    return r->queue_waits ? MOONSAND_READ_WAIT : (ptrdiff_t)n;
}

static void on_sent(void *arg, uint64_t bytes)
{
    lb_request *r = arg;
    r->sent = bytes;
    lb_handle_news(&r->h);
}

static void on_received(void *arg, uint64_t bytes)
{
    lb_request *r = arg;
    r->received = bytes;
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

/* Pushes copies of the strings of the table { name = value }, so that nothing can take them away.
 */
static const moonsand_header *headers(lua_State *L, size_t *count)
{
    *count = 0;
    lua_pushliteral(L, "headers");
    int type = lua_rawget(L, 2), t = lua_gettop(L);
    if (type == LUA_TNIL)
        return NULL;
    if (type != LUA_TTABLE)
        luaL_error(L, "option 'headers' must be a table, got %s", lua_typename(L, type));
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, t) != 0; lua_pop(L, 1))
        n++;
    luaL_argcheck(L, n <= 100, 2, "too many headers");
    luaL_checkstack(L, 2 * (int)n + 8, "headers");
    moonsand_header *list = lb_scratch(L, n, sizeof *list);
    lua_pushnil(L);
    while (*count < n && lua_next(L, t) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "option 'headers' must map names to strings");
        moonsand_header *h = &list[(*count)++];
        size_t name, value;
        h->name = lua_tolstring(L, -2, &name);
        h->value = lua_tolstring(L, -1, &value);
        if (strlen(h->name) != name || strlen(h->value) != value)
            luaL_error(L, "option 'headers' holds a NUL byte");
        lua_pushvalue(L, -2); /* the next key's predecessor; the pair below it stays */
    }
    return list;
}

/* Engine:request(options) -> request | nil, err. Raises for wrong types. */
int lb_request_new(lua_State *L)
{
    lb_engine *e = lb_check(L, LB_ENGINE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    luaL_checkstack(L, 16, "options");
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
    if (lb_field_bool(L, 2, "progress")) {
        options.on_sent = on_sent;
        options.on_received = on_received;
    }
    if (lb_field_bool(L, 2, "body_stream"))
        options.on_read = on_read;
    options.out_path = lb_field_string(L, 2, "out_file", false);
    options.pack = lb_field_pack(L, 2, "body_pack");
    options.headers = headers(L, &options.header_count);
    options.on_done = on_done;
    luaL_checkstack(L, 8, "options");
    lb_request *r = lb_handle_new(L, sizeof *r, LB_REQUEST, LB_KIND_REQUEST, 1);
    /* Again: what ran while the options were read may have closed it. */
    options.pack = lb_field_pack(L, 2, "body_pack");
    lua_pop(L, 1);
    options.arg = r;
    if (!e->h.open)
        lb_raise_closed(L, LB_ENGINE);
    if (file != NULL) {
        r->fd = open(file, O_RDONLY | O_CLOEXEC);
        if (r->fd < 0)
            return lb_fail_errno(L, errno, "cannot open", file);
        r->has_fd = true;
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
    lb_buf_free(&r->queue);
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
    if (r->core != NULL)
        moonsand_request_hold(r->core, false);
    return 1;
}

static void resume(lb_request *r)
{
    if (!r->queue_waits || r->core == NULL)
        return;
    r->queue_waits = false;
    moonsand_request_resume(r->core);
}

/* write(bytes) -> how many were taken, 0 when there is no room until the next news. */
static int request_write(lua_State *L)
{
    lb_request *r = lb_check(L, LB_REQUEST);
    size_t len, room = QUEUE_BYTES - (r->queue.len - r->queue_at);
    const char *data = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, !r->queue_end, 2, "the body has ended");
    if (len > room)
        len = room;
    if (r->queue_at > 0) {
        r->queue.len -= r->queue_at;
        memmove(r->queue.data, r->queue.data + r->queue_at, r->queue.len);
        r->queue_at = 0;
    }
    if (!lb_buf_add(&r->queue, data, len))
        return luaL_error(L, "not enough memory");
    if (len > 0)
        resume(r);
    lua_pushinteger(L, (lua_Integer)len);
    return 1;
}

static int request_write_end(lua_State *L)
{
    lb_request *r = lb_check(L, LB_REQUEST);
    r->queue_end = true;
    resume(r);
    return 0;
}

static int request_received(lua_State *L)
{
    lb_request *r = lb_check(L, LB_REQUEST);
    lua_pushinteger(L, (lua_Integer)r->received);
    return 1;
}

static int request_sent(lua_State *L)
{
    lb_request *r = lb_check(L, LB_REQUEST);
    lua_pushinteger(L, (lua_Integer)r->sent);
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
    {"done", request_done},           {"received", request_received},
    {"result", request_result},       {"sent", request_sent},
    {"take", request_take},           {"write", request_write},
    {"write_end", request_write_end}, {NULL, NULL},
};

void lb_request_open(lua_State *L)
{
    lb_class(L, LB_REQUEST, methods, request_close, request_tostring);
}
