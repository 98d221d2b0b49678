-- One poll descriptor is enough for a host with a loop of its own.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

describe("a host's own loop", function()
  it("luv: polls the descriptor, steps, and its timer goes on ticking", function()
    local uv = require "luv"
    local engine = engines.engine "docker"
    local box = engines.box "docker"
    local runs = {}
    for i = 1, 3 do
      runs[i] = assert(box:start { code = "import time; time.sleep(0.3); print(" .. i .. ")" })
    end
    local ticks = 0
    local timer, poll = uv.new_timer(), uv.new_poll(engine:pollfd())
    timer:start(20, 20, function()
      ticks = ticks + 1
    end)
    poll:start("r", function()
      engine:step()
      for _, h in ipairs(runs) do
        if not h:done() then
          return
        end
      end
      poll:stop()
      timer:stop()
    end)
    uv.run()
    poll:close()
    timer:close()
    uv.run()
    for i, h in ipairs(runs) do
      local r = assert(h:wait())
      assert.equal(i .. "\n", r.stdout)
    end
    assert.is_true(ticks >= 10, "only " .. ticks .. " ticks")
  end)

  it("cqueues: the engine is an object to poll", function()
    local cqueues = require "cqueues"
    local engine = engines.engine "podman"
    local box = engines.box "podman"
    local ticks, result = 0, nil
    local cq = cqueues.new()
    cq:wrap(function()
      local h = assert(box:start { code = "import time; time.sleep(0.3); print('cq')" })
      while not h:done() do
        cqueues.poll(engine)
        engine:step()
      end
      result = assert(h:wait())
    end)
    cq:wrap(function()
      while not result do
        cqueues.sleep(0.02)
        ticks = ticks + 1
      end
    end)
    assert(cq:loop())
    assert.equal("cq\n", result.stdout)
    assert.is_true(ticks >= 10, "only " .. ticks .. " ticks")
  end)
end)

engines.each(describe, "a host that does not drive the loop for a while", function(kind)
  it("does not make a run late that ended in time", function()
    local engine, box = engines.engine(kind), engines.box(kind, { timeout = 1 })
    assert(box:run { code = "pass" })
    local h = assert(box:start { code = "import sys; sys.stdout.write('x' * 200000); sys.stderr.write('y' * 150000)" })
    while h:phase() ~= "running" do
      engine:wait(1)
      engine:step()
    end
    os.execute "sleep 4.5"
    local r = assert(h:wait())
    assert.equal("ok", r.status, r.reason)
    assert.equal(200000, #r.stdout)
    assert.equal(150000, #r.stderr)
  end)
end)

describe("spawn and map", function()
  it("runs go side by side and results keep their order", function()
    local box = engines.box("docker", { cpus = 1 })
    local began = moonsand.monotonic()
    local results = moonsand.map({ 1, 2, 3, 4 }, 4, function(i)
      return assert(box:run { code = "import time; time.sleep(1); print(" .. i .. ")" })
    end)
    local took = moonsand.monotonic() - began
    for i, r in ipairs(results) do
      assert.equal(i .. "\n", r.stdout)
    end
    assert.is_true(took < engines.patience(3.5), "took " .. took)
  end)

  it("an error in a task comes out where it is waited for", function()
    local task = moonsand.spawn(function()
      error("in the task", 0)
    end)
    assert.has_error(function()
      task:wait()
    end, "in the task")
  end)
end)
