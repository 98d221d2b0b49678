/* Signals that ask a program to end, counted instead of raised.
 *
 * lua5.4 turns the first Ctrl-C into an error in the middle of whatever runs, and the second one
 * ends the process. A command that finishes what it has begun needs neither; it looks at the count
 * between two steps of the loop. The third one ends the process all the same: whoever asks so often
 * has a command that never comes to look. */
#include "lbinding.h"

#include <signal.h>
#include <string.h>

static const struct {
    int number;
    const char *name;
} asking[] = {{SIGINT, "INT"}, {SIGTERM, "TERM"}, {SIGHUP, "HUP"}};

#define COUNT (sizeof asking / sizeof *asking)
#define MOST 2 /* that are only counted */

/* Of the process, as the handlers are. */
static volatile sig_atomic_t caught, last;
static struct sigaction before[COUNT];
static const void *catcher; /* the userdata of who catches them; NULL: nobody */

/* Only what may be called in the middle of anything. */
static void note(int number)
{
    last = number;
    if (caught < MOST) {
        caught++;
        return;
    }
    struct sigaction ends;
    memset(&ends, 0, sizeof ends);
    ends.sa_handler = SIG_DFL;
    sigaction(number, &ends, NULL);
    raise(number); /* comes when this returns: until then all are blocked */
}

static void release(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        struct sigaction now;
        if (sigaction(asking[i].number, NULL, &now) == 0 && now.sa_handler == note)
            sigaction(asking[i].number, &before[i], NULL); /* else it is somebody else's by now */
    }
    catcher = NULL;
}

/* A state that is closed meanwhile takes this library with it, and so the handler. */
static int forget(lua_State *L)
{
    if (lua_touserdata(L, 1) == catcher)
        release();
    return 0;
}

static const void *push_catcher(lua_State *L)
{
    const void *made = lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, forget);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return made;
}

/* catch_signals(on) */
static int catch_signals(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    bool on = lua_toboolean(L, 1);
    if (!on && catcher)
        release();
    if (on && !catcher) {
        const void *made = push_catcher(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &catcher);
        struct sigaction ours;
        memset(&ours, 0, sizeof ours);
        ours.sa_handler = note;
        ours.sa_flags = SA_RESTART;
        sigfillset(&ours.sa_mask); /* no count gets lost */
        caught = 0;
        last = 0;
        for (size_t i = 0; i < COUNT; i++) {
            sigaction(asking[i].number, NULL, &before[i]);
            /* Who started us with nohup, or in the background of a script, wants it ignored. */
            if (before[i].sa_handler != SIG_IGN)
                sigaction(asking[i].number, &ours, NULL);
        }
        catcher = made;
    }
    return 0;
}

/* caught_signals() -> count, name of the last */
static int caught_signals(lua_State *L)
{
    int number = last;
    lua_pushinteger(L, caught);
    for (size_t i = 0; i < COUNT; i++) {
        if (asking[i].number == number) {
            lua_pushstring(L, asking[i].name);
            return 2;
        }
    }
    return 1;
}

const luaL_Reg lb_signal_functions[] = {
    {"catch_signals", catch_signals},
    {"caught_signals", caught_signals},
    {NULL, NULL},
};
