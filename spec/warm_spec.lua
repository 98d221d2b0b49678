-- Warm runs as Lua sees them: options, numbers, events, waiting, sizes. What the walls hold is in fork_*_spec.
local E = require "spec.support.engines"
local moonsand = require "moonsand"

local small = { cpus = 0.5, memory = "64m", disk = "8m", shm = "1m", timeout = 30 }

local function with(options)
  local o = {}
  for name, value in pairs(small) do
    o[name] = value
  end
  for name, value in pairs(options) do
    o[name] = value
  end
  return o
end

local ready_s = E.patience(60)

local function out_of(box, code, options)
  local o = { code = code }
  for name, value in pairs(options or {}) do
    o[name] = value
  end
  local r = assert(box:run(o))
  assert.equal("", r.stderr)
  assert.equal("ok", r.status)
  return r.stdout, r
end

E.each(describe, "a pool of fresh containers", function(kind)
  it("is ready, each of them serves one run, and others take their place", function()
    local box <close> = E.box(kind, with { pool = 2 })
    assert(box.pool:wait_ready(ready_s))
    local s = box.pool:stats()
    assert.same({ "container", "none", 2, 2 }, { s.mode, s.tier, s.workers, s.ready })
    assert.same({ 0, 0, 0 }, { s.busy, s.waiting, s.runs })
    local seen = {}
    for _ = 1, 3 do
      local text, r = out_of(box, "import os; print(os.path.exists('/tmp/x')); open('/tmp/x', 'w').close()")
      assert.equal("False\n", text)
      assert.equal("container", r.isolation.mode)
      assert.is_nil(seen[r.container])
      assert.is_true(r.queue_s >= 0 and r.queue_s <= r.create_s)
      seen[r.container] = true
    end
    assert(box.pool:wait_ready(ready_s))
    s = box.pool:stats()
    assert.same({ 3, 3, 2 }, { s.runs, s.retired.used, s.ready })
    assert.equal(3, s.hand_out.count)
    assert.is_true(s.hand_out.p50_s <= s.hand_out.p99_s and s.hand_out.p99_s <= s.hand_out.max_s)
    assert.is_true(s.refill.count >= 3 and s.refill.p50_s > 0)
  end)

  it("serves more runs at once than it has containers", function()
    local box <close> = E.box(kind, with { pool = 2 })
    local results = moonsand.map({ 1, 2, 3, 4, 5 }, 5, function(i)
      return (out_of(box, "print(" .. i .. ")"))
    end)
    assert.same({ "1\n", "2\n", "3\n", "4\n", "5\n" }, results)
  end)
end)

E.each(describe, "fork mode", function(kind)
  it("runs forks of an interpreter with its modules loaded, in one container", function()
    local box <close> = E.box(kind, with {
      mode = "fork", preload = { "json", "decimal" }, preload_script = { code = "import fractions\nMARK = 5" },
    })
    local code = "import sys; print(*(m in sys.modules for m in ('json', 'decimal', 'fractions', 'sqlite3')))\n"
      .. "from __preload__ import MARK; print(MARK)"
    local text, first = out_of(box, code)
    local _, second = out_of(box, code)
    assert.equal("True True True False\n5\n", text)
    assert.equal(first.container, second.container)
    assert.equal("fork", second.isolation.mode)
    assert.truthy(({ landlock = true, namespaces = true })[second.isolation.tier])
    assert.same({ 0, 1 }, { first.isolation.worker_runs, second.isolation.worker_runs })
    assert.is_nil(second.isolation.trust_key)
    local s = box.pool:stats()
    assert.same({ "fork", second.isolation.tier, false, 1, 2 }, { s.mode, s.tier, s.fell_back, s.workers, s.runs })
  end)

  it("takes runs of two keys to two containers", function()
    local box <close> = E.box(kind, with { mode = "fork" })
    local containers = {}
    for i, key in ipairs { "a", "a", "b", "a" } do
      local _, r = out_of(box, "pass", { trust_key = key })
      containers[i] = r.container
      assert.equal(key, r.isolation.trust_key)
    end
    assert.equal(containers[1], containers[2])
    assert.are_not.equal(containers[2], containers[3])
    assert.are_not.equal(containers[1], containers[4])
    assert.equal(2, box.pool:stats().retired.key)
    for _, bad in ipairs { ("k"):rep(257), "a\nb", "\xff", "" } do
      local ok, err = pcall(box.run, box, { code = "pass", trust_key = bad })
      assert.is_false(ok)
      assert.matches("trust_key", err)
    end
  end)

  it("replaces a container after so many runs", function()
    local box <close> = E.box(kind, with { mode = "fork", max_runs = 2 })
    local containers = {}
    for i = 1, 4 do
      containers[i] = select(2, out_of(box, "pass")).container
    end
    assert.equal(containers[1], containers[2])
    assert.equal(containers[3], containers[4])
    assert.are_not.equal(containers[2], containers[3])
    assert(box.pool:wait_ready(ready_s))
    assert.is_true(box.pool:stats().retired.runs >= 1)
  end)

  it("replaces a container after so long, with runs and without", function()
    local box <close> = E.box(kind, with { mode = "fork", max_age = 1 })
    local _, first = out_of(box, "pass")
    local due = moonsand.monotonic() + ready_s
    while box.pool:stats().retired.age < 2 do -- nobody runs anything meanwhile
      assert.is_true(moonsand.monotonic() < due)
      assert(box.engine:wait(0.1))
      assert(box.engine:step())
    end
    local _, second = out_of(box, "import time; time.sleep(1.5)") -- it goes on although its container is too old
    assert.are_not.equal(first.container, second.container)
    local _, third = out_of(box, "pass")
    assert.are_not.equal(second.container, third.container)
    assert.equal(0, box.pool:stats().failed)
  end)

  it("tells of those that go after their run, because fewer are wanted", function()
    local box <close> = E.box(kind, with { mode = "fork", workers = 2 })
    assert(box.pool:wait_ready(ready_s))
    local handles = {}
    for i = 1, 2 do
      handles[i] = assert(box:start { code = "import time; time.sleep(1)" })
    end
    while box.pool:stats().busy < 2 do
      assert(box.engine:wait(1))
      assert(box.engine:step())
    end
    assert.equal(0, box.pool:stats().retiring)
    box.pool:resize(1)
    assert.equal(1, box.pool:stats().retiring)
    for i = 1, 2 do
      assert.equal("ok", assert(handles[i]:wait()).status)
    end
    assert(box.pool:wait_ready(ready_s))
    while box.pool:stats().retired.resized < 1 or box.pool:stats().ready < 1 do
      assert(box.engine:wait(1))
      assert(box.engine:step())
    end
    local s = box.pool:stats()
    assert.same({ 1, 1, 0, 0 }, { s.workers, s.ready, s.busy, s.retiring })
  end)

  it("loads modules with letters beyond ASCII in their names", function()
    local box <close> = E.box(kind, with { mode = "fork", preload = { "größe" } })
    local ok, err = box.pool:wait_ready(ready_s)
    assert.is_nil(ok) -- the image has none, which only the interpreter can tell
    assert.equal("exec", err.code)
    assert.matches("No module named 'größe'", err.message, 1, true)
  end)

  it("is had with what is required, or refused", function()
    local box <close> = E.box(kind, with { mode = "fork", require = "namespaces" })
    local r, err = box:run { code = "pass" }
    if r then
      assert.equal("namespaces", r.isolation.tier)
    else
      assert.equal("isolation", err.code)
      pending "namespaces are not to be had here"
    end
  end)

  it("says which module cannot be loaded, to runs and to those that wait", function()
    local box <close> = E.box(kind, with { mode = "fork", preload = { "no_such_module" } })
    local ok, err = box.pool:wait_ready(ready_s)
    assert.is_nil(ok)
    assert.matches("no_such_module", err.message)
    local r
    r, err = box:run { code = "pass" }
    assert.is_nil(r)
    assert.matches("no_such_module", err.message)
    assert.is_true(box.pool:stats().failed >= 1)
  end)
end)

E.each(describe, "the callback of a pool", function(kind)
  it("hears what becomes of each container", function()
    local events = {}
    local box <close> = E.box(kind, with {
      mode = "fork", max_runs = 1, on_pool = function(event)
        events[#events + 1] = event
      end,
    })
    out_of(box, "pass")
    out_of(box, "pass")
    local types, first = {}, nil
    for _, event in ipairs(events) do
      first = first or event.container
      if event.container == first then
        types[#types + 1] = event.type
      end
      assert.equal("integer", math.type(event.runs))
      assert.is_number(event.duration_s)
      assert.equal(event.type == "retired", event.reason ~= nil)
    end
    assert.same({ "starting", "ready", "handed_out", "returned", "retired" }, types)
  end)

  it("may run and wait itself", function()
    local box, seen
    box = E.box(kind, with {
      pool = 1, on_pool = function(event)
        if event.type == "ready" and not seen then
          seen = out_of(box, "print('from inside')")
        end
      end,
    })
    local _ <close> = box
    assert(box.pool:wait_ready(ready_s))
    assert.equal("from inside\n", seen)
  end)

  it("that raises is heard of by the next call, and called again", function()
    local calls = 0
    local box <close> = E.box(kind, with {
      pool = 1, on_pool = function()
        calls = calls + 1
        error({ "mine", calls }, 0)
      end,
    })
    for _, call in ipairs {
      function() return box.pool:wait_ready(ready_s) end,
      function() return box:run { code = "pass" } end,
    } do
      local before = calls
      while calls == before do
        assert(box.engine:wait(1))
        assert(box.engine:step())
      end
      local ok, err = pcall(call)
      assert.is_false(ok)
      assert.equal("mine", err[1])
      assert.equal(before + 1, err[2])
    end
  end)
end)

describe("events that nobody takes", function()
  it("are kept up to a bound, and the next one says how many were lost", function()
    local box, busy, events, missed
    events, missed = 0, 0
    box = E.box("docker", with {
      mode = "fork", cpus = 1, on_pool = function(event)
        events, missed = events + 1, missed + (event.missed or 0)
        if event.type == "ready" and not busy then
          busy = true
          for _ = 1, 520 do -- each is handed out and returned: two events
            assert(box:run { code = "" })
          end
        end
      end,
    })
    local _ <close> = box
    assert(box.pool:wait_ready(ready_s))
    out_of(box, "pass")
    while box.pool:stats().busy > 0 do
      assert(box.engine:wait(1))
      assert(box.engine:step())
    end
    assert.is_true(missed > 0)
    assert.is_true(events >= 1024 and events <= 1030, events)
    -- Each run is handed out and returned, and the worker was starting and ready.
    assert.equal(2 + 2 * box.pool:stats().runs, events + missed)
  end)
end)

E.each(describe, "waiting for a pool", function(kind)
  it("ends in time, and lets others go on meanwhile", function()
    local box <close> = E.box(kind, with { pool = 1 })
    local ok, err = box.pool:wait_ready(0.001)
    assert.is_nil(ok)
    assert.equal("timeout", err.code)
    local slept = 0
    local ticker = moonsand.spawn(function()
      for _ = 1, 3 do
        moonsand.sleep(0.01)
        slept = slept + 1
      end
    end)
    local waiter = moonsand.spawn(box.pool.wait_ready, box.pool, ready_s)
    assert.is_true(waiter:wait())
    ticker:wait()
    assert.equal(3, slept)
  end)

  it("ends with the sandbox", function()
    local box = E.box(kind, with { pool = 1 })
    local waiter = moonsand.spawn(box.pool.wait_ready, box.pool, ready_s)
    box:close()
    box:close()
    local ok, err = waiter:wait(5)
    assert.is_nil(ok)
    assert.equal("closed", err.code)
    ok, err = pcall(box.pool.stats, box.pool)
    assert.is_false(ok)
    assert.matches("closed", tostring(err))
    assert.is_false((pcall(box.pool.resize, box.pool, 2)))
  end)

  it("ends with the engine, and its containers go", function()
    local engine = assert(moonsand.connect(E.url[kind]))
    local box = assert(engine:sandbox(with { image = E.image, pool = 2 }))
    assert(box.pool:wait_ready(ready_s))
    box.pool:resize(3)
    local waiter = moonsand.spawn(box.pool.wait_ready, box.pool, ready_s)
    local before = #E.containers(kind)
    engine:close()
    local ok, err = waiter:wait(5)
    assert.is_nil(ok)
    assert.equal("closed", err.code)
    assert.is_true(#E.containers(kind) <= before - 2)
  end)
end)

E.each(describe, "a sandbox that is forgotten", function(kind)
  it("takes its pool along, and gives its share of the machine back", function()
    assert.equal(0, E.settle(kind))
    local before, cpus = #E.containers(kind), E.engine(kind):facts().cpus
    local events = 0
    do
      local box
      box = E.box(kind, with {
        pool = "auto", cpus = cpus / 2, on_pool = function()
          events = events + (box.pool and 1 or 0)
        end,
      })
      assert(box.pool:wait_ready(ready_s))
      assert.is_true(#E.containers(kind) >= before + 2)
    end
    assert.is_true(events > 0)
    collectgarbage()
    collectgarbage()
    E.settle(kind)
    assert.equal(before, #E.containers(kind))
    local other <close> = E.box(kind, with { pool = "auto", cpus = cpus / 2 })
    assert.equal(2, other.pool:stats().workers)
  end)
end)

E.each(describe, "the size of a pool", function(kind)
  it("can be changed", function()
    local box <close> = E.box(kind, with { pool = 1 })
    assert(box.pool:wait_ready(ready_s))
    box.pool:resize(2)
    assert.equal(2, box.pool:stats().workers)
    assert(box.pool:wait_ready(ready_s))
    assert.equal(2, box.pool:stats().ready)
    box.pool:resize(1)
    assert(box.engine:step())
    local s = box.pool:stats()
    assert.same({ 1, 1, 1 }, { s.workers, s.ready, s.retired.resized })
    for _, bad in ipairs { 0, -1, 1.5, 1025, "many" } do
      local ok, err = pcall(function()
        box.pool:resize(bad)
      end)
      assert.is_false(ok)
      assert.matches("warm_spec.lua.*1 to 1024", err)
    end
  end)

  it("is shared with other pools when it is \"auto\"", function()
    local cpus = E.engine(kind):facts().cpus
    local a <close> = E.box(kind, with { pool = "auto", cpus = cpus / 4 })
    assert.equal(4, a.pool:stats().workers)
    do
      local b <close> = E.box(kind, with { mode = "fork", workers = "auto", cpus = cpus / 4 })
      assert.same({ 2, 2 }, { a.pool:stats().workers, b.pool:stats().workers })
      b.pool:resize(3)
      assert.same({ 1, 3 }, { a.pool:stats().workers, b.pool:stats().workers })
    end
    assert.equal(4, a.pool:stats().workers)
    assert(a.pool:wait_ready(ready_s))
  end)
end)

E.each(describe, "the threads of a run's libraries", function(kind)
  local code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['OPENBLAS_NUM_THREADS'])"

  it("are as many as its processors, unless the caller says otherwise", function()
    for _, how in ipairs { {}, { pool = 1 }, { mode = "fork" } } do
      how.cpus = 1.5
      local box <close> = E.box(kind, with(how))
      assert.equal("2 2\n", out_of(box, code))
      assert.equal("7 2\n", out_of(box, code, { env = { OMP_NUM_THREADS = "7" } }))
    end
  end)
end)
