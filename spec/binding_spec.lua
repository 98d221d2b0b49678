-- The C binding alone: closed handles, wrong types, lifetimes under an eager collector.
local core = require "moonsand.core"

local endpoint = os.getenv "MOONSAND_TEST_DOCKER"
local image = os.getenv "MOONSAND_TEST_IMAGE"

local function raises(pattern, f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "nothing was raised")
  assert.matches(pattern, tostring(err))
end

--- Steps until cond() or 20 s have passed.
local function pump(loop, cond)
  local due = core.monotonic() + 20
  while not cond() do
    assert(core.monotonic() < due, "nothing came in 20 s")
    assert(loop:wait(0.5))
    assert(loop:step())
  end
end

local function ready(loop)
  local engine = assert(loop:engine { endpoint = endpoint })
  pump(loop, function()
    return engine:state() ~= "connecting"
  end)
  assert.equal("ready", (engine:state()))
  return engine
end

describe("errors", function()
  it("are tables that print code and message", function()
    local err = core.error { code = "timeout", message = "too slow", status = 7 }
    assert.equal("timeout: too slow", tostring(err))
    assert.equal(7, err.status)
    assert.equal("moonsand.Error", getmetatable(err).__name)
    raises("code", core.error, {})
    raises("table", core.error, 5)
    raises("timeout: too slow", error, err)
  end)

  it("of the core come with code, message and no raise", function()
    local loop <close> = core.loop()
    local engine, err = loop:engine { endpoint = "potato://x" }
    assert.is_nil(engine)
    assert.equal("invalid", err.code)
    assert.matches("potato", err.message)
    local ok
    ok, err = core.stat "/no/such/file"
    assert.is_nil(ok)
    assert.equal("not_found", err.code)
    assert.equal(2, err.errno)
  end)
end)

describe("the little of POSIX", function()
  it("makes directories with all above them", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(core.make_dirs(dir .. "/a//b/c/"))
    assert(core.make_dirs(dir .. "/a/b/c"))
    local facts = assert(core.stat(dir .. "/a/b/c"))
    assert.same({ "directory", 448 }, { facts.type, facts.mode })
    local ok, err = core.make_dirs "/proc/no/such"
    assert.is_nil(ok)
    assert.is_string(err.code)
    raises("not a path", core.make_dirs, "")
    raises("not a path", core.make_dirs, "a\0b")
    raises("not a path", core.make_dirs, ("x"):rep(5000))
    os.execute("rm -r " .. dir)
  end)

  it("locks a file until that is closed", function()
    local path = os.tmpname()
    local file = assert(core.lock(path))
    assert.is_false((core.lock(path)))
    assert.is_true(file:close())
    local again <close> = assert(core.lock(path))
    assert.equal("file", io.type(again))
    os.execute(("ln -s '%s' '%s.link'"):format(path, path))
    local ok, err = core.lock(path .. ".link") -- somebody else's choice of file
    assert.is_nil(ok)
    assert.is_string(err.code)
    assert.is_nil((core.lock "/no/such/dir/lock"))
    os.remove(path .. ".link")
    os.remove(path)
  end)

  it("knows that a file is no terminal", function()
    assert.is_nil((core.terminal_size(0x7ffffff0)))
    raises("descriptor", core.terminal_size, -1)
  end)
end)

describe("wrong arguments raise and name the field", function()
  local loop = core.loop()

  it("of the module", function()
    raises("string", core.owner_alive, {})
    raises("number", core.owner_alive, "x", "y")
    raises("NUL", core.owner_alive, "x\0y", 1)
    raises("descriptor", core.isatty, -1)
    raises("descriptor", core.isatty, 1 << 40)
    raises("number", core.isatty, 0.5)
    raises("16 MiB", core.read, 0, 0)
  end)

  it("of a loop", function()
    raises("Loop", loop.step, {})
    raises("Loop", loop.step)
    raises("Loop", loop.step, io.stdout)
    raises("number", loop.wait, loop, "x")
    raises("not a number", loop.wait, loop, 0 / 0)
    raises("table", loop.engine, loop, 5)
    raises("'endpoint' must be a string, got table", loop.engine, loop, { endpoint = {} })
    raises("'endpoint' holds a NUL", loop.engine, loop, { endpoint = "unix:///x\0y" })
    raises("'call_timeout' must be a number, got string", loop.engine, loop, { call_timeout = "5" })
    for _, n in ipairs { -1, 0 / 0, math.mininteger } do
      raises("'call_timeout' must not be negative", loop.engine, loop, { call_timeout = n })
    end
    raises("'call_timeout' is too large", loop.engine, loop, { call_timeout = math.huge })
  end)
end)

describe("a loop", function()
  it("waits no longer than told and has a descriptor", function()
    local loop <close> = core.loop()
    local began = core.monotonic()
    assert.is_true(loop:wait(0.02))
    assert.is_true(core.monotonic() - began >= 0.015)
    assert.is_true(loop:wait(-5))
    assert.is_true(loop:pollfd() > 2)
    assert.equal("r", loop:events())
    assert.is_nil(loop:timeout())
    assert.same({}, loop:step())
    assert.matches("open", tostring(loop))
  end)

  it("closes twice, and is then closed", function()
    local loop = core.loop()
    loop:close()
    loop:close()
    assert.matches("closed", tostring(loop))
    for _, method in ipairs { "pollfd", "events", "timeout", "step", "wait", "engine" } do
      raises("attempt to use a closed loop", loop[method], loop)
    end
  end)
end)

describe("on a real engine", function()
  local loop, engine

  setup(function()
    assert(endpoint, "MOONSAND_TEST_DOCKER is not set; run the specs with `make test`")
  end)

  before_each(function()
    loop = core.loop()
    engine = ready(loop)
  end)

  after_each(function()
    loop:close()
  end)

  it("gives facts", function()
    local f = engine:facts()
    for _, name in ipairs { "endpoint", "found_by", "kind", "engine_version", "api_version", "os", "arch", "kernel",
      "components" } do
      assert.is_string(f[name], name)
    end
    assert.equal("integer", math.type(f.memory_bytes))
    assert.equal(0, engine:pending())
  end)

  it("answers requests, whole or in pieces", function()
    local whole = assert(engine:request { method = "GET", path = "/version" })
    local pieces = assert(engine:request { method = "GET", path = "/version", stream = true })
    raises("not done", whole.result, whole)
    local got = {}
    pump(loop, function()
      got[#got + 1] = pieces:take()
      return whole:done() and pieces:done()
    end)
    got[#got + 1] = pieces:take()
    local status, body = whole:result()
    assert.equal(200, status)
    assert.equal(body, table.concat(got))
    assert.equal(body, select(2, whole:result()))
    whole:close()
    whole:close()
    raises("closed request", whole.result, whole)
  end)

  it("checks requests", function()
    raises("'method' is required", engine.request, engine, {})
    raises("'path' must be a string", engine.request, engine, { method = "GET", path = 5 })
    raises("'stream' must be true or false", engine.request, engine, { method = "GET", path = "/", stream = 1 })
    local r, err = engine:request { method = "POST", path = "/x", body_file = "/no/such/file" }
    assert.is_nil(r)
    assert.equal("not_found", err.code)
  end)

  it("takes the body of a request in pieces, as much as there is room for", function()
    local r = assert(engine:request { method = "POST", path = "/images/load", body_stream = true })
    local piece, sent = ("x"):rep(1 << 20), 0
    assert.equal(262144, r:write(piece))
    assert.equal(0, r:write(piece))
    pump(loop, function()
      local taken = r:write(piece)
      assert.is_true(taken <= 262144)
      sent = sent + taken
      return sent > 3 << 20 or r:done()
    end)
    r:write_end()
    pump(loop, function()
      return r:done()
    end)
    local status, body = r:result()
    assert.is_true(status == 200 or status == 500)
    assert.matches("tar", body) -- that it is none
    raises("has ended", r.write, r, "x")
    raises("string", r.write, r, {})
    r:close()
    raises("closed request", r.write, r, "x")
    raises("closed request", r.write_end, r)
    r = assert(engine:request { method = "POST", path = "/images/load", body_stream = true })
    r:write "never finished"
    r:close()
    local none, err = engine:request { method = "POST", path = "/x", body_stream = true, body = "x" }
    assert.is_nil(none)
    assert.equal("invalid", err.code)
  end)

  it("checks the options of a sandbox", function()
    local function sandbox(o)
      return engine.sandbox, engine, o
    end
    raises("'image' is required", sandbox {})
    for _, field in ipairs { "memory_bytes", "pids", "disk_bytes", "disk_inodes", "shm_bytes", "file_bytes",
      "open_files", "stdout_bytes", "stderr_bytes", "artefact_bytes", "artefact_count", "value_bytes" } do
      raises(field .. "' must not be negative", sandbox { image = image, [field] = -1 })
      raises(field .. "' must be a whole number, got 1.5", sandbox { image = image, [field] = 1.5 })
      raises(field .. "' must be a whole number", sandbox { image = image, [field] = 0 / 0 })
      raises(field .. "' must be a whole number", sandbox { image = image, [field] = 1e300 })
      raises(field .. "' must be a whole number, got string", sandbox { image = image, [field] = "5" })
    end
    raises("'pids' is too large", sandbox { image = image, pids = 1 << 32 })
    raises("'cpus' must not be negative", sandbox { image = image, cpus = -0.5 })
    raises("'network' must be", sandbox { image = image, network = "host" })
    raises("binds%[1%] must be a table", sandbox { image = image, binds = { "x" } })
    raises("'target' is required", sandbox { image = image, binds = { { source = "/x" } } })
    raises("'exec_tmp' must be true or false", sandbox { image = image, exec_tmp = 1 })
    raises("'mode' has no value \"forks\"", sandbox { image = image, mode = "forks" })
    raises("'require' has no value", sandbox { image = image, require = "all" })
    raises("'workers' is too large", sandbox { image = image, workers = 1025 })
    raises("'preload' must be a list", sandbox { image = image, preload = "x" })
    raises("preload%[1%] must be a string", sandbox { image = image, preload = { 5 } })
    raises("'preload_script' holds a NUL", sandbox { image = image, preload_script = "a\0b" })
    raises("'max_age' must not be negative", sandbox { image = image, max_age = -1 })
    raises("'pool_events' must be true or false", sandbox { image = image, pool_events = 1 })
  end)

  it("has pools, whose events wait until they are taken", function()
    local box = assert(engine:sandbox {
      image = image, memory_bytes = 64 << 20, disk_bytes = 8 << 20, workers = 1, pool_events = true,
    })
    assert.is_true(box:is_open())
    local stats = box:pool_stats()
    assert.equal(1, stats.workers)
    assert.equal("container", stats.mode)
    assert.equal(0, stats.retired.used)
    local told = false
    pump(loop, function()
      stats = box:pool_stats()
      return stats.ready == 1
    end)
    assert.is_true(box:pool_resize(2))
    assert.equal(2, box:pool_stats().workers)
    raises("not a number of workers", box.pool_resize, box, 0)
    raises("not a number of workers", box.pool_resize, box, 1025)
    raises("number", box.pool_resize, box, {})
    local event = box:pool_event()
    assert.equal("starting", event.type)
    repeat
      told = told or event.type == "ready" and event.container and event.duration_s > 0
      event = box:pool_event()
    until not event
    assert.is_truthy(told)
    box:close()
    assert.is_false(box:is_open())
    for _, method in ipairs { "pool_stats", "pool_event", "pool_resize" } do
      raises("attempt to use a closed sandbox", box[method], box, 1)
    end
    local none = assert(engine:sandbox { image = image })
    assert.equal(0, none:pool_stats().workers)
    local ok, err = none:pool_resize(1)
    assert.is_nil(ok)
    assert.equal("invalid", err.code)
  end)

  it("checks the options of a run", function()
    local box = assert(engine:sandbox { image = image })
    local function run(o)
      return box.run, box, o
    end
    raises("argv", run {})
    raises("argv%[2%] must be a string, got number", run { argv = { "x", 5 } })
    raises("argv%[1%] holds a NUL", run { argv = { "a\0b" } })
    raises("env%[1%]", run { argv = { "x" }, env = { {} } })
    raises("'files' must be a list", run { argv = { "x" }, files = "x" })
    raises("files%[1%] must be a table", run { argv = { "x" }, files = { "x" } })
    raises("files%[1%].data is required", run { argv = { "x" }, files = { { path = "x" } } })
    raises("'mode' is too large", run { argv = { "x" }, files = { { path = "x", data = "", mode = 4095 } } })
    raises("'stdin' must be", run { argv = { "x" }, stdin = 5 })
    box:close()
    box:close()
    raises("attempt to use a closed sandbox", run { argv = { "x" } })
  end)

  it("a parent may be closed first", function()
    local box = assert(engine:sandbox { image = image })
    local run = assert(box:run { argv = { "sleep", "60" } })
    local request = assert(engine:request { method = "GET", path = "/version" })
    engine:close()
    engine:close()
    assert.equal("closed", (engine:state()))
    raises("attempt to use a closed engine", engine.facts, engine)
    raises("attempt to use a closed engine", engine.request, engine, {})
    raises("attempt to use a closed sandbox", box.run, box, { argv = { "x" } })
    for _, child in ipairs { run, request } do
      assert.is_true(child:done())
      local value, err = child:result()
      assert.is_nil(value)
      assert.equal("closed", err.code)
    end
    assert.equal("done", run:phase())
    run:cancel()
    run:close_stdin()
    assert.equal(0, loop:timeout()) -- news wait although no descriptor is readable
    local news = {}
    for _, handle in ipairs(loop:step()) do
      news[handle] = true
    end
    assert.is_true(news[run] and news[request] and news[engine])
    loop:close()
    run:close()
    raises("attempt to use a closed run", run.done, run)
  end)

  it("everything may be dropped without a close", function()
    do
      local box = assert(engine:sandbox { image = image })
      assert(box:run { argv = { "sleep", "60" } })
      assert(engine:request { method = "GET", path = "/version" })
    end
    engine = nil
    collectgarbage()
    collectgarbage()
    assert(loop:step())
  end)

  it("lives with an eager collector", function()
    local function work()
      local box <close> = assert(engine:sandbox { image = image })
      for i = 1, 3 do
        local files = {}
        for j = 1, 20 do
          files[j] = { path = ("f%d/%d"):format(i, j), data = ("x"):rep(j * 100) }
        end
        local run = assert(box:run { argv = { "echo", ("y"):rep(i) }, env = { "A=" .. i }, files = files,
          stream_stdout = true })
        local out = {}
        pump(loop, function()
          out[#out + 1] = run:take()
          local _ <close> = assert(engine:request { method = "GET", path = "/version" })
          return run:done()
        end)
        out[#out + 1] = run:take()
        local r = assert(run:result())
        assert.equal("ok", r.status)
        assert.equal(("y"):rep(i) .. "\n", table.concat(out))
      end
    end
    collectgarbage "generational"
    work()
    collectgarbage("incremental", 50, 1000, 4)
    work()
    collectgarbage "stop"
    work()
    collectgarbage "restart"
    collectgarbage("incremental", 200, 100, 13)
  end)

  it("a run that goes on writing may be closed", function()
    local box = assert(engine:sandbox { image = image })
    local code = "import time\nwhile True:\n print('x' * 200, flush=True); time.sleep(0.0005)"
    for _, seconds in ipairs { 0.5, 0.01, 0.1 } do
      local run = assert(box:run { argv = { "python3", "-c", code }, stream_stdout = true })
      pump(loop, function()
        return run:take() ~= nil
      end)
      loop:wait(seconds)
      run:close()
      pump(loop, function()
        return engine:pending() == 0
      end)
    end
  end)

  it("works from coroutines that are then collected", function()
    local run
    do
      local co = coroutine.wrap(function()
        local box = assert(engine:sandbox { image = image })
        return assert(box:run { argv = { "true" } })
      end)
      run = co()
    end
    collectgarbage()
    pump(loop, function()
      return run:done()
    end)
    assert.equal("ok", run:result().status)
  end)

  it("closes on the way out of a scope", function()
    local kept
    do
      local box <close> = assert(engine:sandbox { image = image })
      local run <close> = assert(box:run { argv = { "sleep", "60" } })
      kept = run
    end
    raises("closed run", kept.done, kept)
  end)
end)
