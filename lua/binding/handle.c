/* What all handles have: lists, news, byte queues, and a class. */
#include "lbinding.h"

#include <stdlib.h>
#include <string.h>

/* User values of a handle. The loop has one: the weak table address -> userdata. */
enum { UV_PARENT = 1, UV_LOOP = 2, UV_WEAK = 1 };

bool lb_buf_add(lb_buf *b, const char *data, size_t len)
{
    if (len == 0)
        return true;
    if (len > SIZE_MAX / 2 - b->len)
        return false;
    size_t need = b->len + len;
    if (need > b->cap) {
        size_t cap = b->cap < 4096 ? 4096 : b->cap * 2;
        if (cap < need)
            cap = need;
        char *bigger = realloc(b->data, cap);
        if (bigger == NULL)
            return false;
        b->data = bigger;
        b->cap = cap;
    }
    memcpy(b->data + b->len, data, len);
    b->len = need;
    return true;
}

void lb_buf_push(lua_State *L, lb_buf *b)
{
    if (b->len == 0) {
        lua_pushnil(L);
        return;
    }
    lua_pushlstring(L, b->data, b->len); /* may raise: the bytes are still there then */
    b->len = 0;
    if (b->cap > 65536)
        lb_buf_free(b);
}

void lb_buf_free(lb_buf *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

void *lb_handle_new(lua_State *L, size_t size, const char *meta, lb_kind kind, int parent)
{
    parent = lua_absindex(L, parent);
    luaL_checkstack(L, 6, "handle");
    lb_handle *h = lua_newuserdatauv(L, size, 2);
    memset(h, 0, size);
    h->kind = kind;
    luaL_setmetatable(L, meta);
    lua_pushvalue(L, parent);
    lua_setiuservalue(L, -2, UV_PARENT);
    if (kind == LB_KIND_ENGINE || kind == LB_KIND_COMMAND) {
        lua_pushvalue(L, parent);
    } else {
        lua_getiuservalue(L, parent, UV_LOOP);
    }
    lua_getiuservalue(L, -1, UV_WEAK);
    lua_pushvalue(L, -3);
    lua_rawsetp(L, -2, h);
    lua_pop(L, 1);
    lua_setiuservalue(L, -2, UV_LOOP);
    return h;
}

void lb_handle_link(lb_handle *h, lb_loop *loop, lb_engine *engine)
{
    h->open = true;
    h->loop = loop;
    h->engine = engine;
    h->prev = NULL;
    h->next = loop->handles;
    if (h->next != NULL)
        h->next->prev = h;
    loop->handles = h;
}

static void leave_news(lb_handle *h)
{
    if (!h->news)
        return;
    lb_loop *loop = h->loop;
    lb_handle *before = NULL;
    for (lb_handle **p = &loop->news_first; *p != NULL; p = &(*p)->news_next) {
        if (*p == h) {
            *p = h->news_next;
            if (loop->news_last == h)
                loop->news_last = before;
            break;
        }
        before = *p;
    }
    h->news = false;
    h->news_next = NULL;
}

static void leave_list(lb_handle *h)
{
    if (h->prev != NULL) {
        h->prev->next = h->next;
    } else {
        h->loop->handles = h->next;
    }
    if (h->next != NULL)
        h->next->prev = h->prev;
    h->prev = h->next = NULL;
}

void lb_handle_orphan(lb_handle *h)
{
    if (h->loop == NULL)
        return;
    lb_handle_news(h); /* whoever waits for it must look again */
    leave_list(h);
    h->engine = NULL;
}

void lb_handle_unlink(lb_handle *h)
{
    h->open = false;
    if (h->loop == NULL)
        return;
    leave_news(h);
    if (h->prev != NULL || h->next != NULL || h->loop->handles == h)
        leave_list(h);
    h->loop = NULL;
    h->engine = NULL;
}

void lb_handle_news(lb_handle *h)
{
    lb_loop *loop = h->loop;
    if (h->news || loop == NULL)
        return;
    h->news = true;
    h->news_next = NULL;
    if (loop->news_last != NULL) {
        loop->news_last->news_next = h;
    } else {
        loop->news_first = h;
    }
    loop->news_last = h;
}

/* "moonsand.core.Run" -> "run" */
static const char *noun(const char *meta)
{
    const char *dot = strrchr(meta, '.');
    return dot != NULL ? dot + 1 : meta;
}

_Noreturn void lb_raise_closed(lua_State *L, const char *meta)
{
    char name[32];
    size_t i = 0;
    for (const char *p = noun(meta); *p != '\0' && i + 1 < sizeof name; p++) {
        name[i++] = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
    }
    name[i] = '\0';
    luaL_error(L, "attempt to use a closed %s", name);
    abort(); /* luaL_error() does not return, but is not declared so */
}

void *lb_check(lua_State *L, const char *meta)
{
    lb_handle *h = luaL_checkudata(L, 1, meta);
    if (!h->open)
        lb_raise_closed(L, meta);
    return h;
}

int lb_push_name(lua_State *L, const char *meta, const void *p, const char *state)
{
    lua_pushfstring(L, "%s: %p (%s)", meta, p, state);
    return 1;
}

void lb_class(lua_State *L, const char *meta, const luaL_Reg *methods, lua_CFunction close,
              lua_CFunction tostring)
{
    luaL_newmetatable(L, meta);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "close");
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}
