-- What `make install` leaves is used from where it was put, and from nothing else.
local function output(command)
  local p = assert(io.popen(command .. " 2>&1"))
  local text = p:read "a"
  return p:close() and true or false, text
end

local C_PROGRAM = [[
#include <moonsand.h>
#include <stdio.h>

int main(void)
{
    moonsand_loop *loop;
    char *facts;
    if (moonsand_loop_new(&loop, NULL) != 0 || moonsand_host_facts(&facts, NULL) != 0)
        return 1;
    printf("%s %c\n", MOONSAND_VERSION, facts[0]);
    moonsand_free(facts);
    moonsand_loop_free(loop);
    return 0;
}
]]

describe("an installation", function()
  local build, root = os.getenv "MOONSAND_BUILD" or "build", nil
  local lib = "/usr/lib"

  setup(function()
    root = os.tmpname()
    os.remove(root)
    local ok, text = output(("DESTDIR=%s cmake --install %s --prefix /usr"):format(root, build))
    assert.is_true(ok, text)
    lib = text:match "(/usr/lib%S*)/libmoonsand%.so" or lib
  end)

  teardown(function()
    os.execute("rm -rf " .. root)
  end)

  it("runs as a command, with its own modules only", function()
    local share, system = root .. "/usr/share/lua/5.4/", "/usr/share/lua/5.4/"
    local path = ("%s?.lua;%s?/init.lua;%s?.lua;%s?/init.lua"):format(share, share, system, system)
    local ok, text = output(("cd / && env -u LUA_INIT LUA_PATH='%s' LUA_CPATH='%s/usr/lib/lua/5.4/?.so;;' "
      .. "%s/usr/bin/moonsand doctor --json --engine unix:///no/such.sock"):format(path, root, root))
    assert.is_false(ok) -- there is no such engine
    assert.matches('"name":"cgroup"', text, 1, true)
  end)

  it("has the plugins, which are found by name, and runs a sweep with them", function()
    local share, system = root .. "/usr/share/lua/5.4/", "/usr/share/lua/5.4/"
    local path = ("%s?.lua;%s?/init.lua;%s?.lua"):format(share, share, system)
    local ok, text = output(("cd / && env -u LUA_INIT -u MOONSAND_PLUGINS LUA_PATH='%s' "
      .. "LUA_CPATH='%s/usr/lib/lua/5.4/?.so;;' lua5.4 -e '%s'"):format(path, root, ([[
        local moonsand = require "moonsand"
        local study = assert(moonsand.sweep { space = { n = moonsand.range(1, 3) }, objective = "v", plugins = {
          "retry", "walkforward", { "csv", path = "ROOT/out.csv" } } }:run(moonsand.executors.noop { f = function(p)
          return { v = p.n }
        end }))
        print(#study, #study.warnings)]]):gsub("ROOT", root)))
    assert.is_true(ok, text)
    assert.equal("3\t0\n", text)
    assert.is_true((output("test -s " .. root .. "/out.csv && test -s " .. share .. "moonsand/plugins/csv.lua")))
  end)

  it("writes reports: the parts that are no Lua came along", function()
    local share, system = root .. "/usr/share/lua/5.4/", "/usr/share/lua/5.4/"
    local ok, text = output(("cd / && env -u LUA_INIT LUA_PATH='%s?.lua;%s?/init.lua;%s?.lua' "
      .. "LUA_CPATH='%s/usr/lib/lua/5.4/?.so;;' lua5.4 -e 'assert(require([[moonsand.report]]).write({ trials = {} }, "
      .. "[[%s/x.html]]))'"):format(share, share, system, root, root))
    assert.is_true(ok, text)
    local html = assert(io.open(root .. "/x.html")):read "a"
    assert.matches("</style>.*</script>.*</script>\n</body>", html)
  end)

  it("is found by pkg-config, and a C program runs with it", function()
    if (os.getenv "LD_PRELOAD" or ""):find("asan", 1, true) then
      pending "a sanitized library does not link into a plain program"
      return
    end
    local f = assert(io.open(root .. "/program.c", "w"))
    f:write(C_PROGRAM)
    f:close()
    -- It names the directories that the build was configured for, and this is another place.
    local there, headers = root .. lib, root .. "/usr/include"
    local ok, text = output(table.concat({
      "cd " .. root,
      ("sed -i 's|^libdir=.*|libdir=%s|; s|^includedir=.*|includedir=%s|' %s/pkgconfig/moonsand.pc")
        :format(there, headers, there),
      ("flags=$(PKG_CONFIG_PATH=%s/pkgconfig pkg-config --cflags --libs moonsand)"):format(there),
      "cc -std=c11 -Wall -Wextra -Wpedantic -Werror program.c $flags -o program",
      ("LD_LIBRARY_PATH=%s ./program"):format(there),
    }, " && "))
    assert.is_true(ok, text)
    assert.matches("^%d+%.%d+%.%d+ {\n$", text)
  end)

  it("exports the header's functions with a version, and no others", function()
    local header = assert(io.open "core/include/moonsand.h"):read "a"
    local said, real = {}, {}
    for name in header:gmatch "MOONSAND_EXTERN[^;]-(moonsand_[%w_]+)%(" do
      said[name] = true
    end
    local ok, text = output(("nm -D --defined-only %s%s/libmoonsand.so"):format(root, lib))
    assert.is_true(ok, text)
    for kind, name, version in text:gmatch "%x+ (%a) ([%w_.]+)(%S*)" do
      if kind ~= "A" then
        assert.matches("^@@MOONSAND_", version, name)
        real[name] = true
      end
    end
    assert.same(said, real)
    ok, text = output(("nm -D --defined-only %s/usr/lib/lua/5.4/moonsand/core.so"):format(root))
    assert.is_true(ok, text)
    assert.matches("^%x+ T luaopen_moonsand_core\n$", text)
  end)
end)
