rockspec_format = "3.0"
package = "moonsand"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Runs untrusted code in containers, at the speed of a fork",
  detailed = [[Drives a Docker-compatible engine (Docker, Podman) from Lua: sandboxes with hard limits, pools of warm
workers, parameter sweeps, results that never lie.]],
  license = "MIT",
}
dependencies = { "lua ~> 5.4", "lua-cjson", "argparse" }
external_dependencies = {
  CURL = { library = "curl" },
  JANSSON = { library = "jansson" },
  ARCHIVE = { library = "archive" },
  SECCOMP = { header = "seccomp.h", library = "seccomp" },
  CRYPTO = { library = "crypto" },
}
build = {
  type = "cmake",
  variables = {
    CMAKE_C_FLAGS = "$(CFLAGS)",
    CMAKE_BUILD_TYPE = "Release",
    BUILD_TESTING = "OFF",
    LUA_INCDIR = "$(LUA_INCDIR)",
    INST_LIBDIR = "$(LIBDIR)",
    INST_LUADIR = "$(LUADIR)",
  },
  install = { bin = { moonsand = "bin/moonsand" } },
}
test = { type = "command", command = "make test" }
