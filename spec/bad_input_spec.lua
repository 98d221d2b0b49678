-- Bad input: one clear error that names the cause and the way out; nothing leaks.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

--- The error, raised or returned, as text.
local function failure(f, ...)
  local ok, value, err = pcall(f, ...)
  if not ok then
    return tostring(value), value
  end
  assert(value == nil, "no error came")
  return tostring(err), err
end

local function has(text, ...)
  for _, word in ipairs { ... } do
    assert(text:lower():find(word:lower(), 1, true), ("%q does not say %q"):format(text, word))
  end
end

engines.each(describe, "bad input", function(kind)
  local box, before

  setup(function()
    box = engines.box(kind)
    engines.settle(kind)
    before = #engines.containers(kind)
  end)

  it("missing script", function()
    has(failure(box.run, box, "no/such/script.py"), "no/such/script.py", "no such file")
  end)

  it("options that make no sense are the caller's line's", function()
    local engine = engines.engine(kind)
    for _, f in ipairs {
      function() assert(box:run { cod = "pass" }) end,
      function() assert(box:run { code = "pass", trust_key = ("k"):rep(257) }) end,
      function() assert(engine:sandbox { image = engines.image, pool = 0 }) end,
      function() assert(engine:sandbox { image = engines.image, workers = 2 }) end,
      function() assert(engine:sandbox {}) end,
    } do
      has(failure(f), "bad_input_spec.lua:")
    end
  end)

  it("directory instead of a file", function()
    has(failure(box.run, box, "spec"), "spec", "directory")
  end)

  it("NUL and invalid UTF-8 in a script's name", function()
    has(failure(box.run, box, "a\0b.py"), "NUL")
    local name = "/tmp/moonsand-\xff.py"
    write(name, "print(1)")
    has(failure(box.run, box, name), "UTF-8")
    os.remove(name)
  end)

  it("empty script runs and says nothing", function()
    local name = os.tmpname() .. ".py"
    write(name, "")
    local r = assert(box:run(name))
    os.remove(name)
    assert.equal("ok", r.status)
    assert.equal("", r.stdout)
  end)

  it("missing image", function()
    local engine = engines.engine(kind)
    local text, err = failure(engine.sandbox, engine, { image = "localhost/no/such:image" })
    has(text, "localhost/no/such:image", "pull")
    assert.equal("not_found", err.code)
  end)

  it("limits that make no sense", function()
    local engine = engines.engine(kind)
    local function sandbox(options)
      options.image = engines.image
      return failure(engine.sandbox, engine, options)
    end
    has(sandbox { memory = 0 }, "memory")
    has(sandbox { memory = -1 }, "memory")
    has(sandbox { memory = "12 potatoes" }, "memory", "12 potatoes")
    has(sandbox { cpus = 0 }, "cpus")
    has(sandbox { cpus = 100000 }, "cpus", "machine")
    has(sandbox { memory = "900t" }, "memory", "machine")
    has(sandbox { timeout = -5 }, "timeout")
    has(sandbox { timeout = 0 }, "timeout")
    has(sandbox { timeout = 0.001 }, "timeout")
    has(sandbox { timeout = "1ms" }, "timeout")
    has(sandbox { pids = 1.5 }, "pids")
    has(sandbox { memroy = "1g" }, "memroy", "memory")
    has(failure(box.run, box, { code = "pass", timeot = 3 }), "timeot", "timeout")
    has(sandbox { network = "host" }, "network", "none")
    has(sandbox { binds = { ["/"] = "/data" } }, "/")
    has(sandbox { binds = { ["/var/run/docker.sock"] = "/s" } }, "docker.sock")
  end)

  it("input files that do not fit", function()
    local small = engines.box(kind, { disk = "1m" })
    has(failure(small.run, small, { code = "pass", files = { big = { data = ("x"):rep(2 << 20) } } }), "disk")
  end)

  it("leaves nothing behind", function()
    engines.settle(kind)
    assert.equal(before, #engines.containers(kind))
  end)
end)

describe("no engine", function()
  it("names what was looked at and the way out", function()
    local text = failure(moonsand.connect, "unix:///no/such.sock")
    has(text, "/no/such.sock")
  end)

  it("on the whole machine: all places and what to do", function()
    local p = assert(io.popen(table.concat({
      [[env -i PATH="$PATH" HOME=/nonexistent LD_PRELOAD="$LD_PRELOAD" ASAN_OPTIONS="$ASAN_OPTIONS"]],
      ("LUA_PATH='%s' LUA_CPATH='%s'"):format(package.path, package.cpath),
      [[lua5.4 -e 'local e, err = require "moonsand".connect() print(e and "found" or err)' 2>&1]],
    }, " ")))
    local text = p:read "a"
    p:close()
    if text:find("^found") then
      pending "this machine has an engine of its own"
      return
    end
    has(text, "no_engine", "DOCKER_CONTEXT", "DOCKER_HOST", "/var/run/docker.sock", "/run/podman/podman.sock",
      "embedded", "moonsand engine start")
  end)

  it("an engine that answers 500 is reported with its words", function()
    local uv = require "luv"
    local path = os.tmpname()
    os.remove(path)
    local child = assert(io.popen(("lua5.4 spec/support/server500.lua %s & echo $!"):format(path)))
    local pid = child:read "l"
    for _ = 1, 100 do
      if uv.fs_stat(path) then
        break
      end
      uv.sleep(20)
    end
    local text, err = failure(moonsand.connect, "unix://" .. path)
    os.execute("kill " .. pid)
    child:close()
    os.remove(path)
    has(text, "potato in the exhaust")
    assert.equal(500, err.status)
  end)
end)
