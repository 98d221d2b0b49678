/* A sandbox's pool: its numbers, its size, and what becomes of its containers. */
#include "lbinding.h"

#include <stdlib.h>
#include <string.h>

/* Somebody who never takes them must not fill the memory. */
enum { EVENTS_MAX = 1024 };

/* A copy: the core's event is gone when its callback returns. */
struct lb_event {
    struct lb_event *next;
    moonsand_pool_event_type type;
    moonsand_retire_reason reason;
    uint64_t runs, duration_ns, missed; /* missed: so many before it found no room */
    bool failed;                        /* the next four are of its error */
    moonsand_code code;
    int status, errnum;
    const char *message, *op; /* these and the next two point into text */
    const char *container, *detail;
    char text[];
};

static size_t size_of(const char *s)
{
    return s != NULL ? strlen(s) + 1 : 0;
}

/* NULL stays NULL. */
static const char *keep(char **to, const char *s)
{
    size_t n = size_of(s);
    if (n == 0)
        return NULL;
    char *kept = memcpy(*to, s, n);
    *to += n;
    return kept;
}

static struct lb_event *copy(const moonsand_pool_event *event)
{
    const moonsand_error *err = event->error;
    const char *message = err != NULL ? moonsand_error_message(err) : NULL;
    const char *op = err != NULL ? moonsand_error_op(err) : NULL;
    struct lb_event *e = malloc(sizeof *e + size_of(message) + size_of(op) +
                                size_of(event->container) + size_of(event->detail));
    if (e == NULL)
        return NULL;
    memset(e, 0, sizeof *e);
    e->type = event->type;
    e->reason = event->reason;
    e->runs = event->runs;
    e->duration_ns = event->duration_ns;
    if (err != NULL) {
        e->failed = true;
        e->code = moonsand_error_code(err);
        e->status = moonsand_error_status(err);
        e->errnum = moonsand_error_errno(err);
    }
    char *to = e->text;
    e->message = keep(&to, message);
    e->op = keep(&to, op);
    e->container = keep(&to, event->container);
    e->detail = keep(&to, event->detail);
    return e;
}

void lb_pool_on_event(void *arg, const moonsand_pool_event *event)
{
    lb_sandbox *s = arg;
    lb_events *q = &s->events;
    /* Without a listener only those that whoever waits for the pool has to know. */
    if (!q->all && event->type != MOONSAND_POOL_READY && event->type != MOONSAND_POOL_FAILED &&
        event->type != MOONSAND_POOL_FELL_BACK)
        return;
    struct lb_event *e = q->count < EVENTS_MAX ? copy(event) : NULL;
    if (e == NULL) {
        q->missed++;
    } else {
        e->missed = q->missed;
        q->missed = 0;
        if (q->last != NULL)
            q->last->next = e;
        else
            q->first = e;
        q->last = e;
        q->count++;
    }
    lb_handle_news(&s->h);
}

static struct lb_event *take_first(lb_events *q)
{
    struct lb_event *e = q->first;
    if (e == NULL)
        return NULL;
    q->first = e->next;
    if (q->first == NULL)
        q->last = NULL;
    q->count--;
    return e;
}

void lb_pool_forget(lb_sandbox *s)
{
    for (struct lb_event *e; (e = take_first(&s->events)) != NULL;)
        free(e);
}

static void set_string(lua_State *L, const char *field, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    lua_pushstring(L, value);
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

static void set_error(lua_State *L, const struct lb_event *e)
{
    lua_createtable(L, 0, 5);
    set_string(L, "code", moonsand_code_name(e->code));
    lua_pushstring(L, e->message);
    lua_setfield(L, -2, "message");
    set_string(L, "op", e->op);
    if (e->status != 0)
        set_integer(L, "status", (uint64_t)e->status);
    if (e->errnum != 0)
        set_integer(L, "errno", (uint64_t)e->errnum);
    luaL_setmetatable(L, LB_ERROR);
    lua_setfield(L, -2, "error");
}

/* Holds the event that is being pushed: a raise (out of memory) leaves it to the collector, and
 * nothing that a finalizer does meanwhile can free it. */
#define EVENT_BOX "moonsand.core.event"

static int box_gc(lua_State *L)
{
    struct lb_event **box = luaL_checkudata(L, 1, EVENT_BOX);
    free(*box);
    *box = NULL;
    return 0;
}

/* Sandbox:pool_event() -> event | nil */
int lb_pool_event(lua_State *L)
{
    lb_sandbox *s = lb_check(L, LB_SANDBOX);
    luaL_checkstack(L, 8, "event");
    struct lb_event **box = lua_newuserdatauv(L, sizeof(struct lb_event *), 0);
    *box = NULL;
    luaL_setmetatable(L, EVENT_BOX);
    lua_createtable(L, 0, 8);
    *box = take_first(&s->events);
    const struct lb_event *e = *box;
    if (e == NULL) {
        lua_pushnil(L);
        return 1;
    }
    set_string(L, "type", moonsand_pool_event_name(e->type));
    set_string(L, "container", e->container);
    set_string(L, "detail", e->detail);
    if (e->type == MOONSAND_POOL_RETIRED)
        set_string(L, "reason", moonsand_retire_reason_name(e->reason));
    set_integer(L, "runs", e->runs);
    set_seconds(L, "duration_s", e->duration_ns);
    if (e->missed != 0)
        set_integer(L, "missed", e->missed);
    if (e->failed)
        set_error(L, e);
    free(*box);
    *box = NULL;
    return 1;
}

static void set_times(lua_State *L, const char *field, const moonsand_pool_times *t)
{
    lua_createtable(L, 0, 4);
    set_integer(L, "count", t->count);
    set_seconds(L, "p50_s", t->p50_ns);
    set_seconds(L, "p99_s", t->p99_ns);
    set_seconds(L, "max_s", t->max_ns);
    lua_setfield(L, -2, field);
}

static const char *const tiers[] = {"none", "landlock", "namespaces"};

/* Sandbox:pool_stats() -> table | nil, err */
int lb_pool_stats(lua_State *L)
{
    lb_sandbox *s = lb_check(L, LB_SANDBOX);
    moonsand_pool_stats stats = {.version = 1};
    if (moonsand_sandbox_pool_stats(s->core, &stats, lb_err(L)) != 0)
        return lb_fail(L);
    luaL_checkstack(L, 6, "stats");
    lua_createtable(L, 0, 16);
    set_string(L, "mode", stats.mode == MOONSAND_MODE_FORK ? "fork" : "container");
    set_string(L, "tier", tiers[stats.tier <= MOONSAND_TIER_NAMESPACES ? stats.tier : 0]);
    lua_pushboolean(L, stats.fell_back);
    lua_setfield(L, -2, "fell_back");
    set_integer(L, "workers", stats.workers);
    set_integer(L, "ready", stats.ready);
    set_integer(L, "busy", stats.busy);
    set_integer(L, "starting", stats.starting);
    set_integer(L, "retiring", stats.retiring);
    set_integer(L, "waiting", stats.waiting);
    set_integer(L, "runs", stats.runs);
    set_integer(L, "failed", stats.failed);
    lua_createtable(L, 0, MOONSAND_RETIRE_COUNT);
    for (int i = 0; i < MOONSAND_RETIRE_COUNT; i++)
        set_integer(L, moonsand_retire_reason_name((moonsand_retire_reason)i), stats.retired[i]);
    lua_setfield(L, -2, "retired");
    set_times(L, "hand_out", &stats.hand_out);
    set_times(L, "refill", &stats.refill);
    return 1;
}

/* Sandbox:pool_resize(workers) -> true | nil, err */
int lb_pool_resize(lua_State *L)
{
    lb_sandbox *s = lb_check(L, LB_SANDBOX);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 1 && n <= MOONSAND_WORKERS_MAX, 2, "not a number of workers");
    if (moonsand_sandbox_pool_resize(s->core, (uint32_t)n, lb_err(L)) != 0)
        return lb_fail(L);
    lua_pushboolean(L, true);
    return 1;
}

static int word(lua_State *L, const char *field, const char *const *words, int count)
{
    const char *name = lb_field_string(L, 2, field, false);
    for (int i = 0; i < count; i++)
        if (name != NULL && strcmp(name, words[i]) == 0)
            return i;
    if (name != NULL)
        luaL_error(L, "option '%s' has no value \"%s\"", field, name);
    return 0;
}

void lb_pool_options(lua_State *L, lb_sandbox *s, moonsand_sandbox_options *o)
{
    static const char *const modes[] = {"container", "fork"};
    o->mode = (moonsand_mode)word(L, "mode", modes, 2);
    o->require = (moonsand_tier)word(L, "require", tiers, 3);
    o->workers = (uint32_t)lb_field_uint(L, 2, "workers", MOONSAND_WORKERS_MAX);
    o->language = lb_field_string(L, 2, "language", false);
    o->interpreter = lb_field_string(L, 2, "interpreter", false);
    o->preload_script = lb_field_string(L, 2, "preload_script", false);
    o->max_runs = (uint32_t)lb_field_uint(L, 2, "max_runs", UINT32_MAX);
    o->max_age_ns = lb_field_ns(L, 2, "max_age", 1e9);
    o->preload = lb_field_strings(L, 2, "preload", &o->preload_count);
    s->events.all = lb_field_bool(L, 2, "pool_events");
    if (o->workers > 0 || o->mode == MOONSAND_MODE_FORK) {
        o->on_pool = lb_pool_on_event;
        o->pool_arg = s;
    }
}

void lb_pool_open(lua_State *L)
{
    luaL_newmetatable(L, EVENT_BOX);
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
