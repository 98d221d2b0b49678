--- Pools of fresh containers: made ahead of time, used once each, and gone with the one that wanted them.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

engines.each(describe, "a pool of fresh containers", function(kind)
  local engine, boxes, events

  before_each(function()
    engine, boxes, events = engines.engine(kind), {}, {}
  end)

  after_each(function()
    for _, box in ipairs(boxes) do
      box:close()
    end
    assert.equal(0, engines.settle(kind))
  end)

  local function pool(options)
    local o = {
      pool = 2, memory = "128m", disk = "16m", timeout = 20,
      on_pool = function(event)
        events[#events + 1] = event
      end,
    }
    for k, v in pairs(options or {}) do
      o[k] = v
    end
    local box = engines.box(kind, o)
    boxes[#boxes + 1] = box
    return box
  end

  local function seen(type, reason)
    local n = 0
    for _, event in ipairs(events) do
      n = n + (event.type == type and (not reason or event.reason == reason) and 1 or 0)
    end
    return n
  end

  --- Lets the loop go round until f says so.
  local function until_(f, seconds)
    local due = moonsand.monotonic() + engines.patience(seconds or 20)
    while not f() do
      assert(moonsand.monotonic() < due, "it did not come to that")
      engine:wait(0.05)
      engine:step()
    end
  end

  local function running()
    local out = {}
    for _, c in ipairs(engines.containers(kind)) do
      if c.state == "running" or c.state == "paused" then
        out[#out + 1] = c
      end
    end
    return out
  end

  --- The engine says "running" a little after the agent has answered from inside.
  local function ready(box, count)
    assert(box.pool:wait_ready(60))
    local list
    until_(function()
      list = running()
      return #list == count
    end)
    return list
  end

  it("gives each run a container that nobody had, and fills up behind", function()
    local box, of = pool(), {}
    ready(box, 2)
    local look = [[
import os
print(sorted(os.listdir("/tmp")), os.listdir("/dev/shm"), len([p for p in os.listdir("/proc") if p.isdigit()]))
open("/tmp/planted", "w").close(); open("/dev/shm/planted", "w").close()
if os.fork() == 0:
    import time; time.sleep(60)
]]
    for i = 1, 6 do
      local r = assert(box:run { code = look })
      assert.equal("ok", r.status)
      assert.equal("['out', 'work'] [] 2\n", r.stdout)
      assert.is_nil(of[r.container], "used twice")
      of[r.container] = i
      assert.equal("container", r.isolation.mode)
      assert.is_true(#running() <= 4) -- two, one that ends and one that begins
    end
    ready(box, 2)
    engines.settle(kind)
    local stats = box.pool:stats()
    assert.same({ 2, 0, 0, 0, 6, 6 },
      { stats.ready, stats.busy, stats.starting, stats.waiting, stats.runs, stats.retired.used })
    assert.is_true(stats.hand_out.p50_s >= 0 and stats.hand_out.max_s >= stats.hand_out.p50_s)
    assert.is_true(stats.refill.p50_s > 0 and stats.refill.max_s < 60)
    assert.same({ 8, 8, 6, 6, 0, 0 }, { seen "starting", seen "ready", seen "handed_out", seen("retired", "used"),
      seen "failed", seen "fell_back" })
  end)

  it("gives the results that a container on demand gives", function()
    local box, fresh = pool(), engines.box(kind, { memory = "128m", disk = "16m", timeout = 20 })
    for _, what in ipairs {
      { code = "print(2+2)" }, { code = "import sys; print(sys.stdin.read()); sys.exit(3)", stdin = "in" },
      { code = "import os; os.kill(os.getpid(), 11)" }, { argv = { "sh", "-c", "echo x > $MOONSAND_OUTPUT/a" } },
      { code = "x = bytearray(b'1' * (300 << 20))" }, { code = "import time; time.sleep(9)", timeout = 0.5 },
    } do
      local a, b = assert(box:run(what)), assert(fresh:run(what))
      for _, name in ipairs { "status", "exit_code", "signal", "stdout", "stderr", "artefacts" } do
        assert.same(b[name], a[name], name)
      end
      local i, j = a.isolation, b.isolation
      i.uid, j.uid = nil, nil
      assert.same(j, i)
    end
  end)

  it("takes a waiting container only when it is well: one is killed, one does not answer", function()
    local box = pool()
    local two = ready(box, 2)
    assert(engine:request { method = "POST", path = "/containers/" .. two[1].id .. "/kill" })
    assert(engine:request { method = "POST", path = "/containers/" .. two[2].id .. "/pause" })
    os.execute "sleep 2.5" -- nobody steps: whether they are well is asked when they are wanted
    local r = assert(box:run { code = "print('on')" })
    assert.equal("on\n", r.stdout)
    assert.is_true(r.container ~= two[1].name and r.container ~= two[2].name)
    until_(function()
      return seen("retired", "health") == 2
    end)
    assert(box.pool:wait_ready(60))
    engines.settle(kind)
    for _, c in ipairs(engines.containers(kind)) do
      assert.is_true(c.id ~= two[1].id and c.id ~= two[2].id, "still there, " .. c.state)
    end
  end)

  it("replaces what has waited too long, and keeps as many", function()
    local box = pool { max_age = 1 }
    local before = {}
    for _, c in ipairs(ready(box, 2)) do
      before[c.id] = true
    end
    until_(function()
      local now, old = running(), 0
      assert.is_true(#now <= 4)
      for _, c in ipairs(now) do
        old = old + (before[c.id] and 1 or 0)
      end
      return seen("retired", "age") >= 2 and old == 0
    end)
    assert.equal("on\n", assert(box:run { code = "print('on')" }).stdout)
  end)

  it("gets larger and smaller", function()
    local box = pool { pool = 1 }
    ready(box, 1)
    box.pool:resize(3)
    ready(box, 3)
    box.pool:resize(1)
    until_(function()
      return #running() == 1
    end)
    assert.equal(1, box.pool:stats().ready)
    assert.equal(2, seen("retired", "resized"))
  end)

  it("serves more runs than it has containers, in their order", function()
    local box = pool()
    local done = moonsand.map({ 1, 2, 3, 4, 5, 6, 7 }, 7, function(i)
      return assert(box:run { code = "print(" .. i .. ")" }).stdout
    end)
    assert.same({ "1\n", "2\n", "3\n", "4\n", "5\n", "6\n", "7\n" }, done)
    assert.equal(7, box.pool:stats().runs)
  end)

  it("says why containers cannot be had, and does not try for ever in haste", function()
    local box = pool { preload = { "not_there" } }
    local r, err = box:run { code = "print(1)" }
    assert.is_nil(r)
    assert.matches("No module named 'not_there'", tostring(err), 1, true)
    local ok, why = box.pool:wait_ready(20)
    assert.is_nil(ok)
    assert.matches("No module named 'not_there'", tostring(why), 1, true)
    local later = moonsand.monotonic() + 1
    until_(function()
      return moonsand.monotonic() > later
    end)
    assert.is_true(seen "failed" >= 1 and seen "failed" <= 12, seen "failed" .. " attempts")
  end)

  it("ends what waits when the sandbox is closed, and not the run that goes on", function()
    local box = pool()
    assert(box.pool:wait_ready(60))
    local up
    local h = assert(box:start { code = "import time; print('up', flush=True); time.sleep(1.5); print('end')",
      on_stdout = function()
        up = true
      end })
    until_(function()
      return up
    end)
    box:close()
    until_(function()
      return #running() <= 1
    end)
    assert.equal("ok", assert(h:wait()).status)
    engines.settle(kind)
    assert.equal(0, #running())
  end)

  it("with its imports done: a container for one run, and an interpreter that waits in it", function()
    local box, of = pool { preload = { "decimal" } }, {}
    assert(box.pool:wait_ready(60))
    for _ = 1, 3 do
      local r = assert(box:run { code = "import sys; print('decimal' in sys.modules)" })
      assert.equal("True\n", r.stdout)
      assert.equal("container", r.isolation.mode)
      assert.is_true(r.isolation.preloaded)
      assert.is_nil(of[r.container])
      of[r.container] = true
    end
  end)

  for _, mode in ipairs { "container", "fork" } do
    it("dies with its controller, mode " .. mode, function()
      local child = assert(io.popen(("lua5.4 spec/support/pooled.lua %s %s %s & echo $!"):format(
        engines.url[kind], engines.image, mode)))
      local pid = child:read "l"
      assert.equal("ready", child:read "l")
      assert.is_true(#running() >= 2)
      os.execute("kill -9 " .. pid)
      child:close()
      until_(function()
        return #running() == 0
      end, 2)
      -- A container that the engine was about to start comes up late; it dies as well.
      local later = moonsand.monotonic() + 1
      until_(function()
        return moonsand.monotonic() > later
      end)
      assert.equal(0, #running())
      assert(os.execute(("lua5.4 bin/moonsand clean --engine %s > /dev/null"):format(engines.url[kind])))
      assert.equal(0, #engines.containers(kind))
    end)
  end
end)
