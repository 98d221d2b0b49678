/* require "moonsand.core" */
#include "lbinding.h"

/* The only symbol that the module exports. */
__attribute__((visibility("default"))) int luaopen_moonsand_core(lua_State *L);

int luaopen_moonsand_core(lua_State *L)
{
    luaL_checkversion(L);
    lb_error_open(L);
    lb_loop_open(L);
    lb_engine_open(L);
    lb_request_open(L);
    lb_sandbox_open(L);
    lb_pool_open(L);
    lb_run_open(L);
    lb_command_open(L);
    lb_pack_open(L);
    lb_untar_open(L);
    lb_journal_open(L);
    lua_newtable(L);
    luaL_setfuncs(L, lb_host_functions, 0);
    luaL_setfuncs(L, lb_signal_functions, 0);
    lua_pushcfunction(L, lb_loop_new);
    lua_setfield(L, -2, "loop");
    lua_pushcfunction(L, lb_pack_new);
    lua_setfield(L, -2, "pack");
    lua_pushcfunction(L, lb_untar);
    lua_setfield(L, -2, "untar");
    lua_pushcfunction(L, lb_journal_new);
    lua_setfield(L, -2, "journal");
    lua_pushcfunction(L, lb_json_value);
    lua_setfield(L, -2, "json_value");
    lua_pushcfunction(L, lb_json_scalars);
    lua_setfield(L, -2, "json_scalars");
    lua_pushliteral(L, MOONSAND_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
