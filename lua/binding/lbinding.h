/* What the files of the binding share. The binding checks arguments, calls the core, pushes
 * results; it decides nothing.
 *
 * Rules that all of it follows:
 *   - A userdata exists, in state "closed", before the resource that it holds. :close(), __close
 * and
 *     __gc are one function, safe twice.
 *   - The core's callbacks never touch Lua: they note what came in the C struct of the handle and
 * put the handle on its loop's list of news. Loop:step() hands that list to Lua afterwards.
 *   - No lua_State is kept: any coroutine may have called.
 *   - Nothing from malloc() is held in a local variable across a Lua call that can raise. Errors
 * and texts of the core wait in slots of the module's state until they were pushed. */
#ifndef LBINDING_H
#define LBINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#include "moonsand.h"

#define LB_LOOP "moonsand.core.Loop"
#define LB_ENGINE "moonsand.core.Engine"
#define LB_REQUEST "moonsand.core.Request"
#define LB_SANDBOX "moonsand.core.Sandbox"
#define LB_RUN "moonsand.core.Run"
#define LB_COMMAND "moonsand.core.Command"
#define LB_PACK "moonsand.core.Pack"
#define LB_JOURNAL "moonsand.core.Journal"
#define LB_ERROR "moonsand.Error"

/* ---- error.c: errors and the slots that outlive a raise ------------------------------------ */

/* The module's slot for a core error, emptied; pass it as `moonsand_error **err`. */
moonsand_error **lb_err(lua_State *L);
/* The module's slot for a text that the core allocated, emptied. */
char **lb_text(lua_State *L);
/* return lb_fail(L): pushes nil and the error in the slot, and empties it. Returns 2. */
int lb_fail(lua_State *L);
/* Pushes a table for err, which stays the caller's. */
void lb_push_error(lua_State *L, const moonsand_error *err);
/* Pushes nil and an error made here; message is a literal or anchored. Returns 2. */
int lb_fail_with(lua_State *L, moonsand_code code, const char *message);
/* nil and an IO or NOT_FOUND error: "what path: strerror". Returns 2. */
int lb_fail_errno(lua_State *L, int errnum, const char *what, const char *path);
/* Pushes the text in the slot as a string, and empties it. Returns 1. */
int lb_push_text(lua_State *L);
int lb_error_new(lua_State *L); /* core.error */
void lb_error_open(lua_State *L);

/* ---- args.c: fields of option tables. Each raises naming the field -------------------------- */

/* Each pushes the value, which anchors a string that it returns: call luaL_checkstack() first. */
const char *lb_field_string(lua_State *L, int t, const char *field, bool required);
/* May hold NUL bytes. */
const char *lb_field_bytes(lua_State *L, int t, const char *field, size_t *len);
/* These leave the stack as it was. Absent: 0, or false. */
uint64_t lb_field_uint(lua_State *L, int t, const char *field, uint64_t max);
uint64_t lb_field_ns(lua_State *L, int t, const char *field, double unit_ns);
bool lb_field_bool(lua_State *L, int t, const char *field);
/* Pushes the table and returns its length; absent: pushes nil, returns 0. */
size_t lb_field_list(lua_State *L, int t, const char *field);
/* Element i of the list at that index, pushed as an anchor; raises "argv[3] must be a string". */
const char *lb_item_string(lua_State *L, int list, size_t i, const char *field);
/* Seconds -> nanoseconds of a plain argument. Absent or nil: none. */
uint64_t lb_arg_ns(lua_State *L, int arg, uint64_t none);
/* A C string argument: no NUL inside. */
const char *lb_arg_string(lua_State *L, int arg);
const char *lb_arg_optstring(lua_State *L, int arg);
/* The list `field` of the options at index t, of strings, NULL-terminated; pushes its anchors.
 * Absent: an empty list. */
const char *const *lb_field_strings(lua_State *L, int t, const char *field, size_t *count);
/* Scratch memory that Lua frees, pushed; zeroed; raises when count * size overflows. */
void *lb_scratch(lua_State *L, size_t count, size_t size);

/* ---- handle.c: what all handles have -------------------------------------------------------- */

typedef struct lb_buf {
    char *data;
    size_t len, cap;
} lb_buf;
/* False when there is no memory; what was there stays. */
bool lb_buf_add(lb_buf *b, const char *data, size_t len);
/* Pushes the bytes as a string and forgets them; nil when there are none. */
void lb_buf_push(lua_State *L, lb_buf *b);
void lb_buf_free(lb_buf *b);

typedef struct lb_loop lb_loop;
typedef struct lb_engine lb_engine;
typedef enum lb_kind {
    LB_KIND_ENGINE,
    LB_KIND_REQUEST,
    LB_KIND_SANDBOX,
    LB_KIND_RUN,
    LB_KIND_COMMAND,
    LB_KIND_PACK,
    LB_KIND_JOURNAL
} lb_kind;

/* First member of every handle, so that the userdata's address is the handle's. */
typedef struct lb_handle {
    lb_kind kind;
    bool open;                     /* false: a closed handle */
    bool news;                     /* is on the list of news */
    lb_loop *loop;                 /* NULL: on no list */
    lb_engine *engine;             /* NULL for engines and commands */
    struct lb_handle *prev, *next; /* all open handles of the loop */
    struct lb_handle *news_next;
} lb_handle;

struct lb_loop {
    moonsand_loop *core; /* NULL: closed */
    lb_handle *handles;
    lb_handle *news_first, *news_last;
};

/* Pushes a closed handle of `size` bytes that anchors its parent (a handle or the loop) and is
 * known to its loop's weak table. */
void *lb_handle_new(lua_State *L, size_t size, const char *meta, lb_kind kind, int parent);
/* Marks it open and puts it on the loop's list. */
void lb_handle_link(lb_handle *h, lb_loop *loop, lb_engine *engine);
/* Takes it off all lists and marks it closed. Safe at any time. */
void lb_handle_unlink(lb_handle *h);
/* Leaves the lists, but stays open: its engine is gone and what it knows can still be read. */
void lb_handle_orphan(lb_handle *h);
/* There is something for Lua to look at. */
void lb_handle_news(lb_handle *h);
/* Argument 1, open; raises "attempt to use a closed run". */
void *lb_check(lua_State *L, const char *meta);
_Noreturn void lb_raise_closed(lua_State *L, const char *meta);
/* Metatable with methods, close as "close", __close and __gc, and __tostring. */
void lb_class(lua_State *L, const char *meta, const luaL_Reg *methods, lua_CFunction close,
              lua_CFunction tostring);
/* Same as luaL_Reg, in all classes: "moonsand.core.Run: 0x55... (running)". */
int lb_push_name(lua_State *L, const char *meta, const void *p, const char *state);

/* ---- the nouns ------------------------------------------------------------------------------ */

struct lb_engine {
    lb_handle h;
    moonsand_engine *core;
    bool ready;
    moonsand_error *err; /* why it failed */
};

typedef struct lb_events {
    struct lb_event *first, *last;
    size_t count;
    uint64_t missed; /* since the last one that found room */
    bool all;        /* somebody wants to hear of every step */
} lb_events;

typedef struct lb_sandbox {
    lb_handle h;
    moonsand_sandbox *core;
    lb_events events; /* of its pool, that Lua has not taken yet */
} lb_sandbox;

int lb_loop_new(lua_State *L);
void lb_loop_open(lua_State *L);

int lb_engine_new(lua_State *L); /* Loop:engine */
void lb_engine_open(lua_State *L);
/* Ends the resources below it, then itself; drives the loop for at most 5 s. */
void lb_engine_end(lb_engine *e);

int lb_request_new(lua_State *L); /* Engine:request */
void lb_request_open(lua_State *L);
void lb_request_orphan(lb_handle *h);

int lb_sandbox_new(lua_State *L); /* Engine:sandbox */
void lb_sandbox_open(lua_State *L);
void lb_sandbox_orphan(lb_handle *h);

/* pool.c: the pool of a sandbox. Reads the options at index 2; leaves their anchors on the stack.
 */
void lb_pool_options(lua_State *L, lb_sandbox *s, moonsand_sandbox_options *o);
void lb_pool_on_event(void *arg, const moonsand_pool_event *event);
void lb_pool_forget(lb_sandbox *s);
void lb_pool_open(lua_State *L);
int lb_pool_event(lua_State *L);  /* Sandbox:pool_event */
int lb_pool_stats(lua_State *L);  /* Sandbox:pool_stats */
int lb_pool_resize(lua_State *L); /* Sandbox:pool_resize */

int lb_run_new(lua_State *L); /* Sandbox:run */
void lb_run_open(lua_State *L);
void lb_run_orphan(lb_handle *h);

int lb_command_new(lua_State *L); /* Loop:command */
void lb_command_open(lua_State *L);
/* The loop goes: it must not outlive it. */
void lb_command_end(lb_handle *h);

int lb_pack_new(lua_State *L); /* core.pack */
void lb_pack_open(lua_State *L);
/* The pack at field, which stays on the stack; NULL when there is none. */
moonsand_pack *lb_field_pack(lua_State *L, int t, const char *field);

int lb_journal_new(lua_State *L); /* core.journal */
void lb_journal_open(lua_State *L);

int lb_untar(lua_State *L); /* core.untar */
void lb_untar_open(lua_State *L);

/* Of what is simple: the longest text, and the longest line. */
#define LB_JSON_SIMPLE_TEXT 64
#define LB_JSON_SIMPLE_LINE 16384
/* The largest of a shape's "positive" and "count": sweep/trial.lua's max.number and max.count. */
#define LB_JSON_NUMBER_MAX (INT64_C(1) << 40)
#define LB_JSON_COUNT_MAX (INT64_C(1) << 53)
/* json.c: what texts before had, so that tables get their room at once. Zero at first. */
typedef struct lb_json_hints {
    unsigned char members[64];
} lb_json_hints;
/* Pushes the value of a text, which holds no NUL but the one after its end, and is UTF-8. NULL; or
 * what is wrong with it, and where, and nothing is pushed. A null is json.null, and no member of an
 * object. *fit: it is simple, that is an object of scalars and of objects of scalars, with few
 * members, whose names and texts are plain (see lb_json_plain()) and have at most
 * LB_JSON_SIMPLE_TEXT bytes; and it is of the shape at that index of the stack, 0 for none
 * (core.d.lua, Journal:record(), has what a shape is). */
const char *lb_json_push(lua_State *L, const char *text, size_t len, int shape,
                         lb_json_hints *hints, size_t *where, bool *fit);
/* The argument, a table, or 0 when it is absent. Raises. */
int lb_json_shape(lua_State *L, int arg);
int lb_json_value(lua_State *L); /* core.json_value */
/* json_write.c. As it can stand between quotes, and on a terminal: see moonsand.text. */
bool lb_json_plain(const char *s, size_t len, size_t max);
int lb_json_scalars(lua_State *L); /* core.json_scalars */

/* begun.c: is it the line of a trial that begins, as sweep/line.lua writes most of them? Then the
 * trial's number. The line is UTF-8 and its end is NUL. */
bool lb_begun(const char *line, size_t len, lua_Integer *trial);

/* result.c */
void lb_push_result(lua_State *L, const moonsand_result *r);

/* host.c: functions of the module that need no loop */
extern const luaL_Reg lb_host_functions[];
/* signals.c: Ctrl-C and its like, counted */
extern const luaL_Reg lb_signal_functions[];

#endif
