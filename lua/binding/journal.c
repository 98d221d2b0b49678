/* Journal: a file of lines that only grows. Belongs to no loop. */
#include "lbinding.h"

#include <stdio.h>
#include <string.h>

typedef struct lb_journal {
    lb_handle h; /* on no list */
    moonsand_journal *core;
    lb_json_hints hints;
} lb_journal;

static moonsand_journal_mode mode_field(lua_State *L, int t)
{
    static const char *const names[] = {"read", "create", "continue"};
    const char *name = lb_field_string(L, t, "mode", true);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return (moonsand_journal_mode)i;
    luaL_error(L, "option 'mode' must be \"read\", \"create\" or \"continue\", got \"%s\"", name);
    return MOONSAND_JOURNAL_READ;
}

/* Seconds, "always" or "never"; absent: the core's default. */
static uint64_t sync_field(lua_State *L, int t)
{
    lua_getfield(L, t, "sync");
    if (lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        uint64_t ns = lb_field_ns(L, t, "sync", 1e9);
        return ns;
    }
    const char *word = lb_field_string(L, t, "sync", true);
    bool always = strcmp(word, "always") == 0;
    if (!always && strcmp(word, "never") != 0)
        luaL_error(L, "option 'sync' must be seconds, \"always\" or \"never\", got \"%s\"", word);
    lua_pop(L, 2);
    return always ? 1 : UINT64_MAX;
}

/* core.journal(path, options) -> journal | nil, err */
int lb_journal_new(lua_State *L)
{
    const char *path = lb_arg_string(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    luaL_checkstack(L, 8, "journal");
    moonsand_journal_options o = MOONSAND_JOURNAL_OPTIONS_INIT;
    o.mode = mode_field(L, 2);
    o.sync_ns = sync_field(L, 2);
    lb_journal *j = lua_newuserdatauv(L, sizeof *j, 0);
    memset(j, 0, sizeof *j);
    j->h.kind = LB_KIND_JOURNAL;
    luaL_setmetatable(L, LB_JOURNAL);
    if (moonsand_journal_open(&j->core, path, &o, lb_err(L)) != 0)
        return lb_fail(L);
    j->h.open = true;
    return 1;
}

static int answer(lua_State *L, int rc)
{
    if (rc != 0)
        return lb_fail(L);
    lua_pushboolean(L, true);
    return 1;
}

/* next() -> line | nil at the end | nil, err */
static int journal_next(lua_State *L)
{
    lb_journal *j = lb_check(L, LB_JOURNAL);
    const char *line;
    size_t len;
    if (moonsand_journal_next(j->core, &line, &len, lb_err(L)) != 0)
        return lb_fail(L);
    if (line != NULL)
        lua_pushlstring(L, line, len);
    else
        lua_pushnil(L);
    return 1;
}

/* record(shape) -> the next line as a value, whether it is fit | nil at the end | nil, err
 * With a shape, of a trial that begins: its number and the line. */
static int journal_record(lua_State *L)
{
    lb_journal *j = lb_check(L, LB_JOURNAL);
    lua_settop(L, 2);
    int shape = lb_json_shape(L, 2);
    const char *line;
    size_t len, where;
    if (moonsand_journal_next(j->core, &line, &len, lb_err(L)) != 0)
        return lb_fail(L);
    if (line == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_Integer trial;
    if (shape != 0 && lb_begun(line, len, &trial)) {
        lua_pushinteger(L, trial);
        lua_pushlstring(L, line, len);
        return 2;
    }
    bool fit;
    const char *why = lb_json_push(L, line, len, shape, &j->hints, &where, &fit);
    if (why == NULL) {
        lua_pushboolean(L, fit);
        return 2;
    }
    why = lua_pushfstring(L, "is not JSON (%s, byte %I of the line)", why, (LUAI_UACINT)where);
    return answer(L, moonsand_journal_damaged(j->core, why, lb_err(L)));
}

static int journal_damaged(lua_State *L)
{
    lb_journal *j = lb_check(L, LB_JOURNAL);
    const char *what = lb_arg_string(L, 2);
    return answer(L, moonsand_journal_damaged(j->core, what, lb_err(L)));
}

static int journal_append(lua_State *L)
{
    lb_journal *j = lb_check(L, LB_JOURNAL);
    size_t len;
    const char *line = luaL_checklstring(L, 2, &len);
    return answer(L, moonsand_journal_append(j->core, line, len, lb_err(L)));
}

static int journal_facts(lua_State *L)
{
    lb_journal *j = lb_check(L, LB_JOURNAL);
    const moonsand_journal_facts *f = moonsand_journal_get_facts(j->core);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)f->lines);
    lua_setfield(L, -2, "lines");
    lua_pushinteger(L, (lua_Integer)f->line_at);
    lua_setfield(L, -2, "line_at");
    lua_pushinteger(L, (lua_Integer)f->bytes);
    lua_setfield(L, -2, "bytes");
    lua_pushinteger(L, (lua_Integer)f->torn);
    lua_setfield(L, -2, "torn");
    return 1;
}

/* close() -> true | nil, err: what was written last may not outlive a power failure. */
static int journal_close(lua_State *L)
{
    lb_journal *j = luaL_checkudata(L, 1, LB_JOURNAL);
    moonsand_journal *core = j->core;
    j->core = NULL;
    j->h.open = false;
    moonsand_error *err = NULL;
    if (moonsand_journal_close(core, &err) == 0) {
        lua_pushboolean(L, true);
        return 1;
    }
    /* Not by the slot of errors: the collector may come here while one in it is being pushed. */
    char message[1024];
    moonsand_code code = moonsand_error_code(err);
    (void)snprintf(message, sizeof message, "%s", moonsand_error_message(err));
    moonsand_error_free(err);
    return lb_fail_with(L, code, message);
}

static int journal_tostring(lua_State *L)
{
    lb_journal *j = luaL_checkudata(L, 1, LB_JOURNAL);
    return lb_push_name(L, LB_JOURNAL, j, j->h.open ? "open" : "closed");
}

static const luaL_Reg methods[] = {
    {"append", journal_append}, {"damaged", journal_damaged}, {"facts", journal_facts},
    {"next", journal_next},     {"record", journal_record},   {NULL, NULL},
};

void lb_journal_open(lua_State *L)
{
    lb_class(L, LB_JOURNAL, methods, journal_close, journal_tostring);
}
