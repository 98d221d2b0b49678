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
      "junk", "huge", "big", "long", "oom", "text", "quiet" } }, jobs = 2, timeout = 3, code = [[
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
if c == "big": result('{"v": 1, "x": "' + "x" * (2 << 20) + '"}')
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
    check("long", "timeout", "time limit")
    check("oom", "oom", "memory")
    assert.same({ "complete", 7 }, { by.quiet.state, by.quiet.value })
    assert.same({ "failed", nil }, { by.huge.state, by.huge.value })
    check("big", "invalid_value", "^the result is larger than the sandbox's limit")
    assert.is_true(by.huge.reason == "oom" or by.huge.reason == "error") -- the memory or the disk ends first
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

  it("takes no result of an interpreter that was made ready in another way", function()
    local seen = {}
    for i, value in ipairs { 1, 1, 2 } do
      local other <close> = engines.box(kind, { mode = "fork", workers = 1, memory = "128m", timeout = 20,
        preload_script = { code = "import builtins\nbuiltins.given = " .. value } })
      local study = assert(sweep({ code = 'result({"v": given})', space = { n = 1 }, journal = ("%s/%d"):format(dir, i),
        cache = i > 1 and { dir .. "/1" } or nil }):run(other))
      seen[i] = { study[1].value, study[1].cached }
    end
    assert.same({ { 1 }, { 1, true }, { 2 } }, seen)
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

  it("prunes a program by its reports; the worker is as good as before", function()
    local seen = {}
    local study = assert(sweep({ space = { n = { 3, 1, 4 } }, jobs = 1, pruner = { by = "score", report =
      function(_, trial, step, value)
        seen[#seen + 1] = { trial.params.n, step, value }
        return trial.params.n == 1 and step >= 3
      end }, code = [[
import moonsand, time
for step in range(1, 6 if p["n"] > 1 else 1000):
    moonsand.report(step, score=p["n"] * step, other=float("nan"), note="\x1b[31mred")
    time.sleep(0.01)
moonsand.result({"v": p["n"]})
]] }):run(box))
    assert.same({ "complete", "pruned", "complete" }, study:column "state")
    local pruned = study[2]
    assert.same({ nil, nil, nil }, { pruned.value, pruned.reason, pruned.message })
    assert.equal(3, #pruned.reports)
    assert.same({ 3, 3 }, { pruned.reports[3].step, pruned.reports[3].metrics.score })
    assert.is_true(pruned.reports[1].metrics.other ~= pruned.reports[1].metrics.other)
    assert.is_nil(pruned.reports[1].metrics.note:find "%c")
    assert.equal(5, #study[1].reports)
    assert.same({ 3, 5, 15 }, seen[5])
  end)

  it("is not led astray by hostile reports and results", function()
    local study = assert(sweep({ space = { n = { 1, 2, 3 } }, jobs = 1, pruner = "median", code = [[
with open(os.environ["MOONSAND_REPORTS"], "w") as f:
    for i in range(200):
        f.write('{"step": "x", "v": %d, "a": {"b": [1, 2]}}\n' % i)
    f.write('no json\n{"step": 1e999}\n[1]\n{"step": {"a": 1}, "v": 5}\n{}\n')
result('{"v": %d, "' % p["n"] + "\\u001b[31m" + '": 1, "params": 5, "state": "failed", "1": 2, "x": {"y": {"z": 3}}}')
]] }):run(box))
    assert.same({ "complete", "complete", "complete" }, study:column "state")
    assert.same({ 1, 2, 3 }, study:column "value")
    for name in pairs(study[1].metrics) do
      assert.is_nil(name:find "%c")
    end
    assert.equal(3, study[1].metrics["x.y.z"])
    assert.same({ n = 1 }, study[1].params)
    assert.is_true(#study[1].reports >= 200)
  end)

  it("has many data sets and many parameters in one sweep", function()
    local other <close> = engines.box(kind, { mode = "fork", workers = 2, memory = "64m", timeout = 20, data = {
      ["a.csv"] = { data = "1,2,3" }, ["b.csv"] = { data = "10,20,30" },
    } })
    local o = { space = { n = { 1, 2 } }, data = { "a.csv", "b.csv" }, code = [[
rows = open(os.environ["MOONSAND_DATA"] + "/" + p["data"]).read().split(",")
result({"v": p["n"] * sum(map(int, rows)), "equity": [int(r) for r in rows]})
]] }
    local study = assert(sweep(o):run(other))
    assert.equal(4, #study)
    for _, trial in ipairs(study:trials()) do
      assert.equal(trial.params.n * (trial.params.data == "a.csv" and 6 or 60), trial.value)
    end
    assert.same({ 10, 20, 30 }, study:best().series.equity)
    o.data = { "a.csv", "c.csv" }
    local none, err = sweep(o):run(other)
    assert.is_nil(none)
    assert.equal("not_found", err.code)
    assert.matches('has no data set "c.csv" %(it has a.csv, b.csv%)', err.message)
  end)

  --- Interrupts a sweep of 60 trials after five of them, and resumes it.
  local function interrupted(signal, check)
    local command = ("lua5.4 spec/support/sweeper_box.lua %s %s %s/j 60"):format(engines.url[kind], engines.image, dir)
    local p = assert(io.popen(("exec 2>&1; sh -c 'echo $$; exec %s'"):format(command)))
    local pid = p:read "l"
    for _ = 1, 5 do
      assert.matches("complete", p:read "l")
    end
    os.execute(("kill -%s %s"):format(signal, pid))
    local rest = p:read "a"
    assert.is_nil((p:close()))
    check(rest)
    local complete = 0
    for _, trial in ipairs(assert(journals.load(dir .. "/j")).trials) do
      complete = complete + (trial.state == "complete" and 1 or 0)
      assert.is_true(trial.state == "complete" or trial.state == "running")
    end
    assert.is_true(complete >= 5 and complete < 60)
    p = assert(io.popen(command))
    rest = p:read "a"
    p:close()
    assert.matches("done\t60\n$", rest)
    assert.equal(60 - complete + 1, select(2, rest:gsub("\n", ""))) -- none of them again
    local study = assert(moonsand.study(dir .. "/j"))
    assert.equal(60, #study)
    for _, trial in ipairs(study:trials()) do
      assert.equal(trial.params.n, trial.value)
    end
  end

  it("leaves a good journal and nothing else after Ctrl-C", function()
    local before = #engines.containers(kind)
    interrupted("INT", function(said)
      assert.matches("interrupted!", said)
      for _ = 1, 100 do
        if #engines.containers(kind) <= before then
          break
        end
        moonsand.sleep(0.1)
      end
      assert.is_true(#engines.containers(kind) <= before, "a container is left")
    end)
  end)

  it("goes on after kill -9", function()
    interrupted("KILL", function() end)
    assert(os.execute(("lua5.4 bin/moonsand clean --engine %s > /dev/null"):format(engines.url[kind])))
  end)

  it("ends with an error when the engine is gone, not with 1,000 failed trials", function()
    local path = dir .. "/engine.sock"
    local child = assert(io.popen(("lua5.4 spec/support/proxy.lua %s %s pass > /dev/null 2>&1 & echo $!"):format(path,
      engines.url[kind]:match "^unix://(.*)$")))
    local pid = child:read "l"
    child:close()
    for _ = 1, 200 do
      if os.execute("test -S " .. path) then
        break
      end
      moonsand.sleep(0.02)
    end
    local engine = assert(moonsand.connect("unix://" .. path))
    local other = assert(engine:sandbox { image = engines.image, memory = "64m", timeout = 20 })
    local n, study, err, so_far = 0, nil, nil, nil
    local ok, why = pcall(function()
      study, err, so_far = sweep({ code = 'result({"v": 1})', space = { n = moonsand.range(1, 1000) },
        journal = dir .. "/j", on_trial = function()
          n = n + 1
          if n == 4 then
            os.execute("kill -9 " .. pid)
          end
        end }):run(other)
    end)
    os.execute("kill -9 " .. pid .. " 2>/dev/null")
    other:close()
    engine:close()
    assert.is_true(ok, why)
    assert.is_nil(study)
    assert.is_table(err)
    assert.matches("so the sweep ends", err.message)
    assert.is_true(#so_far < 20)
    assert.is_true(#so_far:trials "complete" >= 4)
    assert.equal("error", so_far.meta.stopped)
    -- With the engine back, it goes on.
    study = assert(sweep({ code = 'result({"v": 1})', space = { n = moonsand.range(1, 1000) }, journal = dir .. "/j",
      resume = true, max_trials = 25 }):run(box))
    assert.same({ complete = 25 }, study.states)
    -- Whoever lost its engine cannot remove its containers there; they have ended.
    local there = engines.engine(kind)
    for _, c in ipairs(engines.containers(kind)) do
      assert(there:request { method = "DELETE", path = "/containers/" .. c.id .. "?force=1&v=1" })
    end
  end)
end)
