# Sourced by the scripts beside it: where Lua finds this tree, and where the bootstrapped bases are kept.
#   ms_env BUILD-DIRECTORY
ms_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ms_env() {
    export LUA_PATH="$ms_root/lua/?.lua;$ms_root/lua/?/init.lua;$ms_root/?.lua;${LUA_PATH_5_4:-${LUA_PATH:-}};;"
    export LUA_CPATH="$1/lua/?.so;${LUA_CPATH_5_4:-${LUA_CPATH:-}};;"
    unset LUA_PATH_5_4 LUA_CPATH_5_4
    export MOONSAND_BUILD=$1
    export XDG_CACHE_HOME=${XDG_CACHE_HOME:-$ms_root/build/cache}
}
