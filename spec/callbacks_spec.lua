-- Callbacks that wait for something themselves: the loop is driven inside the loop, and nobody's news get lost.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"
local sched = require "moonsand.sched"

--- Drives until all are in their phase, then stands still, so that what happens next comes in one step.
local function stand_still(engine, runs, phase, seconds)
  for _, run in ipairs(runs) do
    while run:phase() ~= phase do
      engine:wait(1)
      engine:step()
    end
  end
  os.execute("sleep " .. seconds)
end

engines.each(describe, "a callback", function(kind)
  local box, engine

  before_each(function()
    box, engine = engines.box(kind, { timeout = 30 }), engines.engine(kind)
  end)

  it("may wait for another run whose end came in the same step", function()
    local code = "import time\ntime.sleep(1)\nprint('x', flush=True)"
    local runs, waited = {}, 0
    for i = 1, 2 do
      runs[i] = assert(box:start {
        code = code,
        on_stdout = function()
          local other = runs[3 - i]
          if not other:done() and not other._busy then
            assert(other:wait(10))
            waited = waited + 1
          end
        end,
      })
    end
    stand_still(engine, runs, "running", 3)
    for i = 1, 2 do
      assert.equal("ok", assert(runs[i]:wait(10)).status)
    end
    assert.equal(1, waited)
  end)

  it("gets what came while it was busy, without waiting for more", function()
    local pieces, first = {}, nil
    local run = assert(box:start {
      code = "import os, time\nos.write(1, b'1\\n')\ntime.sleep(0.7)\nos.write(1, b'2\\n')\ntime.sleep(4)",
      on_stdout = function(piece)
        pieces[#pieces + 1] = piece
        if #pieces == 1 then
          moonsand.sleep(1.5)
          first = moonsand.monotonic()
        elseif #pieces == 2 then
          first = moonsand.monotonic() - first
        end
      end,
    })
    assert(run:wait())
    assert.same({ "1\n", "2\n" }, pieces)
    assert.is_true(first < 1, "the second piece waited for " .. first)
  end)

  it("that waits for its own run is told so", function()
    local run
    run = assert(box:start {
      code = "print(1, flush=True)\nimport time; time.sleep(30)",
      on_stdout = function()
        run:wait()
      end,
    })
    local ok, err = pcall(run.wait, run)
    assert.is_false(ok)
    assert.matches("own callback", tostring(err))
  end)
end)

describe("the scheduler", function()
  it("resumes, inside a task that drives the loop, the tasks that stand behind it", function()
    local second
    local first = moonsand.spawn(function()
      coroutine.yield()
      -- not a task: it drives the loop
      return coroutine.wrap(function()
        return second:wait(5)
      end)()
    end)
    second = moonsand.spawn(function()
      coroutine.yield()
      return "second"
    end)
    assert.equal("second", first:wait(10))
  end)

  it("keeps the news that an interrupt kept from being told", function()
    local told, handle = 0, { finished = false }
    function handle:_news()
      told = told + 1
      if told == 1 then
        error("interrupted!", 0)
      end
      self.finished = true
      sched.wake(self)
    end
    local loop = sched.loop()
    local raw = assert(loop:engine { endpoint = "unix:///no/such.sock" })
    sched.register(raw, handle)
    local ok, err = pcall(sched.wait, handle)
    assert.is_false(ok)
    assert.equal("interrupted!", err)
    assert.is_true(sched.wait(handle, 5))
    assert.equal(2, told)
    raw:close()
  end)

  it("keeps no more of a handle that is polled often than of one that is waited for", function()
    local handle = { finished = false }
    local task = moonsand.spawn(function()
      for _ = 1, 300 do
        sched.wait(handle, 0.0001)
      end
      collectgarbage()
      return collectgarbage "count"
    end)
    collectgarbage()
    local before = collectgarbage "count"
    assert.is_true(task:wait() - before < 20)
  end)
end)
