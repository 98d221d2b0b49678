/* A fuzzer for a parser that is written in Lua: a Lua state under libFuzzer, or under
 * core/fuzz/standalone.c, which runs the corpus.
 *
 * To add a target NAME takes one file and one directory; CMake, `make test` and `make fuzz` find
 * them: lua/fuzz/NAME.lua       returns function(bytes), which raises when an invariant is broken
 *   lua/fuzz/corpus/NAME/   at least one input, the ones that once found something among them
 *
 * The state is made once and kept, so a target must leave nothing behind. Three invariants are kept
 * here for all targets: one input takes at most CPU_LIMIT_S seconds of processor time, at most
 * MEMORY_LIMIT bytes, and raises nothing. Inputs of libFuzzer are short: a target that can be slow
 * on long input stretches it by itself (support/stretch.lua). */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#define CPU_LIMIT_S 2 /* times MOONSAND_TEST_SLOWDOWN: valgrind and the like are slower */
#define MEMORY_LIMIT ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lua_State *state;
static size_t in_use;

#ifdef MS_FUZZ_COVERAGE
/* libFuzzer sees the C that it has instrumented; these are the Lua lines. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t lines[1 << 14];

static void on_line(lua_State *L, lua_Debug *ar)
{
    lua_getinfo(L, "S", ar);
    uint32_t hash = (uint32_t)ar->currentline * 2654435761u;
    for (const char *p = ar->short_src; *p; p++)
        hash = hash * 31 + (uint8_t)*p;
    lines[hash % sizeof lines]++;
}
#endif

/* Lua hands every byte that it holds through here. */
static void *limited(void *arg, void *p, size_t old, size_t size)
{
    (void)arg;
    old = p ? old : 0; /* for a new block it is the kind of object */
    if (size > old && size - old > MEMORY_LIMIT - in_use)
        return NULL;
    if (size == 0) {
        in_use -= old;
        free(p);
        return NULL;
    }
    void *q = realloc(p, size);
    if (q)
        in_use += size - old;
    return q;
}

/* From a signal handler, and while C may be deep in a pattern: nothing but the message is safe. */
static void too_slow(int sig)
{
    (void)sig;
    fputs("lua/fuzz/" MS_FUZZ_TARGET ".lua: an input takes too long\n", stderr);
    abort();
}

static void limit_time(time_t seconds)
{
    struct itimerval t = {.it_value.tv_sec = seconds};
    setitimer(ITIMER_PROF, &t, NULL);
}

static time_t slowdown(void)
{
    const char *text = getenv("MOONSAND_TEST_SLOWDOWN");
    long n = text ? strtol(text, NULL, 10) : 1;
    return n > 0 ? n : 1;
}

static int traceback(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static void demand(int status)
{
    if (status == LUA_OK)
        return;
    fprintf(stderr, "lua/fuzz/" MS_FUZZ_TARGET ".lua: %s\n", lua_tostring(state, -1));
    abort();
}

/* Leaves the traceback handler at 1 and the target's function at 2. */
static void begin(void)
{
    static const char load[] =
        "local source, build, name = ...\n"
        "package.path = ('%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;%s'):format(\n"
        "  source, source, source, package.path)\n"
        "package.cpath = ('%s/lua/?.so;%s'):format(build, package.cpath)\n"
        "return require('lua.fuzz.' .. name)";
    state = lua_newstate(limited, NULL);
    if (!state)
        abort();
    luaL_openlibs(state);
    lua_pushcfunction(state, traceback);
    demand(luaL_loadstring(state, load));
    lua_pushliteral(state, MS_SOURCE_DIR);
    lua_pushliteral(state, MS_BUILD_DIR);
    lua_pushliteral(state, MS_FUZZ_TARGET);
    demand(lua_pcall(state, 3, 1, 1));
    if (lua_type(state, 2) != LUA_TFUNCTION)
        abort();
    struct sigaction act = {.sa_handler = too_slow};
    sigaction(SIGPROF, &act, NULL);
#ifdef MS_FUZZ_COVERAGE
    lua_sethook(state, on_line, LUA_MASKLINE, 0);
#endif
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!state)
        begin();
    lua_pushvalue(state, 2);
    lua_pushlstring(state, (const char *)data, size);
    limit_time(CPU_LIMIT_S * slowdown());
    demand(lua_pcall(state, 1, 0, 1));
    limit_time(0);
    lua_gc(state, LUA_GCSTEP, 0);
    return 0;
}
