--- Sweeps through a real sandbox: forks of a warm interpreter, on both engines.
local engines = require "spec.support.engines"
local journals = require "moonsand.sweep.journal"
local moonsand = require "moonsand"

local head = [[
import json, os, sys
p = json.load(open(os.environ["MOONSAND_PARAMS"]))
def result(value):
    with open(os.environ["MOONSAND_RESULT"], "w") as f:
        f.write(value if isinstance(value, str) else json.dumps(value))
]]

engines.each(describe, "a sweep in a sandbox", function(kind)
  local box, dir

  setup(function()
    box = engines.box(kind, { mode = "fork", workers = 2, preload = { "json" }, memory = "128m", timeout = 20 })
    assert(box.pool:wait_ready(60))
  end)

  teardown(function()
    box:close()
    assert.equal(0, engines.settle(kind))
  end)

  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    os.execute("mkdir -p " .. dir)
  end)

  after_each(function()
    os.execute("rm -rf " .. dir)
  end)

  local function sweep(options)
    local o = { objective = "v", fsync = "never" }
    for k, v in pairs(options) do
      o[k] = v
    end
    o.code = head .. o.code
    return moonsand.sweep(o)
  end

  it("gives 1,000 parameter sets 1,000 right results", function()
    local made = sweep {
      code = 'result({"v": p["a"] * 1000 + p["b"], "echo": p, "text": p["word"], "pid": os.getpid()})',
      space = { a = moonsand.range(1, 50), b = moonsand.range(1, 20), word = "äöü \"x\"", rate = 0.1, flag = true },
      journal = dir .. "/journal.jsonl",
    }
    local study = assert(made:run(box))
    assert.equal(2, study.meta.jobs) -- as many as the box has workers
    assert.equal(box.image, study.meta.image)
    for _, of in ipairs { study, assert(moonsand.study(dir .. "/journal.jsonl")) } do
      assert.equal(1000, #of)
      local seen, keys = {}, {}
      for number, trial in ipairs(of:trials()) do
        assert.equal("complete", trial.state)
        assert.equal(number, trial.number)
        local value = trial.params.a * 1000 + trial.params.b
        assert.equal(value, trial.value)
        assert.is_nil(seen[value])
        assert.is_nil(keys[trial.key])
        seen[value], keys[trial.key] = true, true
        local m = trial.metrics
        assert.same({ trial.params.a, trial.params.b, 0.1, true, "äöü \"x\"" },
          { m["echo.a"], m["echo.b"], m["echo.rate"], m["echo.flag"], m.text })
        assert.is_true(trial.wall_s > 0 and trial.cpu_s >= 0 and trial.queue_s >= 0)
      end
    end
    assert.equal(50020, study:best().value)
  end)

  it("says what went wrong, trial by trial, and goes on", function()
    local study = assert(sweep({ space = { case = { "good", "exit", "late", "signal", "none", "nan", "inf", "list",
      "junk", "huge", "long", "oom", "text", "quiet" } }, jobs = 2, timeout = 3, code = [[
c = p["case"]
if c == "good": result({"v": 1, "other": float("nan"), "big": float("inf")})
if c == "exit": sys.stderr.write("first\nValueError: \x1b[31mred\n\n"); sys.exit(3)
if c == "late": result({"v": 99}); print('{"v": 99}'); raise RuntimeError("after all")
if c == "signal": result({"v": 99}); os.kill(os.getpid(), 11)
if c == "nan": result({"v": float("nan"), "m": 5})
if c == "inf": result({"v": float("-inf")})
if c == "list": result([1, 2])
if c == "junk": result('{"v": 1')
if c == "huge": result('{"v": 1, "x": "' + "x" * (100 << 20) + '"}')
if c == "long": import time; result({"v": 99}); time.sleep(60)
if c == "oom": result({"v": 99}); x = bytearray(b"1") * (400 << 20)
if c == "text": result({"v": "12"})
if c == "quiet": print("hello"); print('{"v": 7}')
]] }):run(box))
    local by = {}
    for _, trial in ipairs(study:trials()) do
      by[trial.params.case] = trial
      assert.is_true(trial.message == nil or trial.message:find "%c" == nil)
    end
    local function check(case, reason, pattern)
      local trial = by[case]
      assert.same({ case, "failed", reason, nil, 1 }, { case, trial.state, trial.reason, trial.value, trial.attempts })
      assert.matches(pattern, trial.message)
    end
    assert.same({ "complete", 1 }, { by.good.state, by.good.value })
    assert.is_true(by.good.metrics.other ~= by.good.metrics.other)
    assert.equal(math.huge, by.good.metrics.big)
    check("exit", "error", "^ValueError: %[31mred$")
    check("late", "error", "^RuntimeError: after all$")
    check("signal", "error", "signal 11")
    check("none", "invalid_value", "^the program wrote no result")
    check("nan", "invalid_value", "^'v' is not a number %(NaN%)$")
    assert.equal(5, by.nan.metrics.m)
    check("inf", "invalid_value", "^'v' is infinite$")
    check("list", "invalid_value", "^the result is a list, not a JSON object$")
    check("junk", "invalid_value", "not JSON")
    check("text", "invalid_value", '^\'v\' is "12", not a number$')
    check("long", "timeout", "3 s")
    check("oom", "oom", "memory")
    assert.same({ "complete", 7 }, { by.quiet.state, by.quiet.value })
    assert.same({ "failed", nil }, { by.huge.state, by.huge.value })
    assert.is_true(by.huge.reason == "invalid_value" or by.huge.reason == "oom" or by.huge.reason == "error")
  end)

  it("does what the program was when it began, and runs no duplicates", function()
    local path = dir .. "/script.py"
    local function write(value)
      local f <close> = assert(io.open(path, "w"))
      f:write(head, ('result({"v": %d, "argv": " ".join(sys.argv)})'):format(value))
    end
    write(1)
    local asked, n = { 5, 6, 5, 6, 7 }, 0
    local study = assert(moonsand.sweep({ script = path, objective = "v", space = { n = moonsand.range(1, 9) },
      args = function(p)
        return { "--n", p.n }
      end, sampler = { ask = function()
        n = n + 1
        return asked[n] and { n = asked[n] } or nil
      end }, on_trial = function()
        write(2)
      end }):run(box))
    assert.same({ 1, 1, 1, 1, 1 }, study:column "v")
    assert.equal("script.py --n 7", study[5].metrics.argv)
    local cached = 0
    for _, trial in ipairs(study:trials()) do
      cached = cached + (trial.cached and 1 or 0)
    end
    assert.equal(2, cached)
    local none, err = moonsand.sweep({ script = dir .. "/no.py", objective = "v", space = { n = 1 } }):run(box)
    assert.is_nil(none)
    assert.equal("not_found", err.code)
    assert.has_error(function()
      moonsand.sweep({ objective = "v", space = { n = 1 } }):run(box)
    end, "moonsand.sweep: a sandbox runs a program: give script or code")
  end)

  it("finishes what runs when it is stopped, and kills it when it is cancelled", function()
    for _, how in ipairs { "stop", "cancel" } do
      local made
      made = sweep { code = 'import time; time.sleep(p["n"] > 2 and 60 or 0.4); result({"v": 1})',
        space = { n = how == "stop" and { 1, 2 } or moonsand.range(3, 9) }, journal = dir .. "/" .. how }
      local begun = moonsand.monotonic()
      moonsand.spawn(function()
        while not made:progress() or made:progress().running < 2 do
          moonsand.sleep(0.02)
        end
        made[how](made)
      end)
      local study = assert(made:run(box))
      assert.is_true(moonsand.monotonic() - begun < engines.patience(30))
      assert.equal(how, study.meta.stopped)
      assert.same(how == "stop" and { complete = 2 } or { failed = 2 }, study.states)
      if how == "cancel" then
        assert.same({ cancelled = 2 }, study.failures)
        local journal = assert(journals.open(dir .. "/cancel", { header = { signature = study.meta.signature },
          resume = true }))
        assert.equal(2, #journal:again(true))
        journal:close()
      end
    end
  end)

  it("ends with an error when the sandbox is gone, not with 1,000 failed trials", function()
    local other = engines.box(kind, { mode = "fork", workers = 2, memory = "64m", timeout = 20 })
    local n = 0
    local study, err, so_far = sweep({ code = 'result({"v": 1})', space = { n = moonsand.range(1, 1000) },
      on_trial = function()
        n = n + 1
        if n == 4 then
          other:close()
        end
      end }):run(other)
    assert.is_nil(study)
    assert.is_table(err)
    assert.matches("so the sweep ends", err.message)
    assert.is_true(#so_far < 10)
    assert.is_true(#so_far:trials "complete" >= 4)
  end)
end)
