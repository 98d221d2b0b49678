/* Signals that ask a program to end, counted instead of raised.
 *
 * lua5.4 turns the first Ctrl-C into an error in the middle of whatever runs, and the second one
 * ends the process. A command that finishes what it has begun needs neither; it looks at the count
 * between two steps of the loop. */
#include "lbinding.h"

#include <signal.h>
#include <string.h>

static const struct {
    int number;
    const char *name;
} asking[] = {{SIGINT, "INT"}, {SIGTERM, "TERM"}, {SIGHUP, "HUP"}};

#define COUNT (sizeof asking / sizeof *asking)

/* Of the process, as the handlers are. */
static volatile sig_atomic_t caught, last;
static struct sigaction before[COUNT];
static bool catching;

static void note(int number)
{
    caught++;
    last = number;
}

static void release(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        struct sigaction now;
        if (sigaction(asking[i].number, NULL, &now) == 0 && now.sa_handler == note)
            sigaction(asking[i].number, &before[i], NULL); /* else it is somebody else's by now */
    }
    catching = false;
}

/* catch_signals(on) */
static int catch_signals(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    bool on = lua_toboolean(L, 1);
    if (!on && catching)
        release();
    if (on && !catching) {
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
        catching = true;
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
