--- The running of a sweep, with an executor that runs nothing.
local errors = require "moonsand.errors"
local journals = require "moonsand.sweep.journal"
local moonsand = require "moonsand"
local noop_sweep = require "spec.support.noop_sweep"

local noop, run, numbers = moonsand.executors.noop, noop_sweep.run, noop_sweep.numbers

describe("a sweep", function()
  it("runs every point once, in order, and keeps every metric", function()
    local study = run({}, function(p)
      return { v = p.n * 2, name = "x" .. p.n, deep = { er = { a = p.n } }, good = p.n > 5, none = moonsand.null,
        curve = { 1, 2, 3 } }
    end)
    assert.equal(10, #study)
    for i, trial in ipairs(study:trials()) do
      assert.equal(i, trial.number)
      assert.same({ n = i }, trial.params)
      assert.equal("complete", trial.state)
      assert.equal(i * 2, trial.value)
      assert.same({ v = i * 2, name = "x" .. i, ["deep.er.a"] = i, good = i > 5 }, trial.metrics)
      assert.same({ curve = { 1, 2, 3 } }, trial.series)
      assert.equal(1, trial.attempts)
      assert.matches("^%x+$", trial.key)
      assert.is_nil(trial.args)
    end
    assert.equal(10, study:best().number)
    assert.equal("exhausted", study.meta.stopped)
    assert.same({ "v", "maximize" }, { study.meta.objective, study.meta.direction })
  end)

  it("does the same in tasks, several at a time", function()
    local now, most = 0, 0
    local f = function(p)
      now = now + 1
      most = math.max(most, now)
      moonsand.sleep(0.002 * (p.n % 3))
      now = now - 1
      return { v = p.n }
    end
    local study = run({}, f, 4)
    assert.equal(4, most)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, numbers(study, "complete"))
    most = 0
    study = run({ jobs = 2 }, f, 4) -- what the sweep says counts
    assert.equal(2, most)
    assert.equal(10, #study)
    -- Inside a task it yields: another one goes on meanwhile.
    local task = moonsand.spawn(function()
      return (run({}, f, 2))
    end)
    assert.is_false(task:done())
    assert.equal(10, #task:wait())
  end)

  it("minimizes, has several objectives, and takes a function for one", function()
    assert.equal(1, run({ direction = "minimize" }):best().params.n)
    local study = run { objective = { { "v", "maximize" }, { function(m)
      return -m.v
    end, "minimize" } } }
    assert.same({ 20, -20 }, study:trials()[10].values)
    assert.is_nil(study:trials()[10].value)
    study = run { objective = function(metrics, trial)
      return metrics.v + trial.number * 100
    end }
    assert.equal(1020, study:best().value)
    study = run({ objective = "a.b" }, function(p)
      return { a = { b = p.n } }
    end)
    assert.equal(10, study:best().value)
  end)

  for _, sampler in ipairs { "grid", "random", "latin", "sobol", "tpe" } do
    for _, pruner in ipairs { "median", "halving" } do
      it(("works with the sampler %s and the pruner %s"):format(sampler, pruner), function()
        local seen = {}
        local study = assert(run({
          sampler = sampler, pruner = pruner, seed = 3, max_trials = 60, jobs = 2,
          space = { x = moonsand.range(-5.0, 5.0, 0.25), y = moonsand.range(0, 9), kind = { "a", "b" },
            z = moonsand.when("kind", "b", { 1, 2, 3 }) },
          where = function(p)
            return p.y ~= 5
          end,
        }, function(p, report)
          seen[#seen + 1] = p
          local v = -(p.x - 1) ^ 2 - (p.y - 3) ^ 2 + (p.z or 0)
          for step = 1, 9 do
            if report(step, { v = v - 9 + step }) then
              return nil
            end
          end
          return { v = v }
        end))
        assert.equal(60, #study)
        assert.is_nil(study.failures.error)
        assert.is_true((study.states.pruned or 0) > 5 and study.states.complete >= 5)
        for _, p in ipairs(seen) do
          assert.is_true(p.y ~= 5 and (p.kind == "b") == (p.z ~= nil))
        end
      end)
    end
  end

  it("takes a space of 10^18 points", function()
    local space = {}
    for i = 1, 18 do
      space["p" .. i] = moonsand.range(1, 10)
    end
    for _, sampler in ipairs { "grid", "random", "tpe" } do
      local study = assert(run({ space = space, sampler = sampler, max_trials = 30 }, function(p)
        return { v = p.p1 }
      end))
      assert.equal(30, #study:trials "complete")
    end
  end)

  describe("does not run the same twice:", function()
    local asked

    local function repeating(of)
      local i = 0
      return { name = "again", ask = function()
        i = i + 1
        return of[i] and { n = of[i] } or nil
      end, tell = function(_, trial)
        asked[#asked + 1] = trial.number
      end }
    end

    before_each(function()
      asked = {}
    end)

    it("a result is taken over", function()
      local ran = {}
      local study = assert(run({ sampler = repeating { 1, 2, 1, 3, 2, 1 } }, function(p)
        ran[#ran + 1] = p.n
        if p.n == 3 then
          return nil, { status = "exit", stderr = "no" }
        end
        return { v = p.n, m = "x" .. p.n }
      end))
      assert.same({ 1, 2, 3 }, ran)
      assert.equal(6, #study)
      local trial = study[6]
      assert.same({ "complete", true, 1, "x1" }, { trial.state, trial.cached, trial.value, trial.metrics.m })
      assert.is_nil(study[1].cached)
      assert.equal(study[1].key, study[3].key)
      assert.equal(6, #asked)
    end)

    it("while the first runs, too", function()
      local ran = 0
      local study = assert(run({ sampler = repeating { 1, 1, 1, 2, 1 } }, function(p)
        ran = ran + 1
        moonsand.sleep(0.01)
        return { v = p.n }
      end, 4))
      assert.equal(2, ran)
      assert.equal(5, #study:trials "complete")
    end)

    it("though it ran into its timeout, or was pruned", function()
      for _, jobs in ipairs { 1, 3 } do
        local ran = {}
        local study = assert(run({ sampler = repeating { 1, 2, 1, 2, 1 }, pruner = { report = function()
          return true
        end } }, function(p, report)
          ran[#ran + 1] = p.n
          moonsand.sleep(0.005)
          if p.n == 2 then
            report(1, { v = 1 })
          end
          return { v = 1 }, { status = "timeout", reason = "ran for 5 s" }
        end, jobs))
        table.sort(ran)
        assert.same({ 1, 2 }, ran)
        assert.equal(5, #study)
        assert.same({ timeout = 3 }, study.failures)
        assert.same({ "failed", true, "ran for 5 s" }, { study[5].state, study[5].cached, study[5].message })
        assert.same({ "pruned", true, 1 }, { study[4].state, study[4].cached, #study[4].reports })
      end
    end)

    it("but not in another sweep, though its journal is a cache of it", function()
      local path = os.tmpname()
      os.remove(path)
      local function f()
        return { v = 1 }, { status = "timeout" }
      end
      assert(run({ journal = path, max_trials = 1 }, f))
      local study = assert(run({ cache = { path }, max_trials = 1 }))
      assert.same({ "complete", nil }, { study[1].state, study[1].cached })
      os.remove(path)
    end)

    it("but what was lost is no result", function()
      local ran = 0
      local study = assert(run({ sampler = repeating { 1, 1, 1 }, retry = 0 }, function(p)
        ran = ran + 1
        moonsand.sleep(0.005)
        return { v = p.n }, ran == 1 and { status = "lost" } or nil
      end, 2))
      assert.equal(2, ran)
      assert.same({ "failed", "complete", "complete" }, { study[1].state, study[2].state, study[3].state })
    end)

    it("nor is a twin of what was lost left out, or run beside another one", function()
      for _, jobs in ipairs { 1, 3 } do
        local of, ran, now = {}, {}, {}
        for i = 1, 120 do
          of[i] = (i - 1) // 5 % 6 + 1
        end
        local study = assert(run({ sampler = repeating(of), retry = 0, halt = { failures = 1000 } }, function(p)
          ran[p.n], now[p.n] = (ran[p.n] or 0) + 1, (now[p.n] or 0) + 1
          assert(now[p.n] == 1, "two at a time")
          moonsand.sleep(0.001 * (p.n % 3))
          now[p.n] = now[p.n] - 1
          return { v = p.n }, ran[p.n] < 4 and { status = "lost" } or nil
        end, jobs))
        assert.equal(120, #study)
        assert.same({ failed = 18, complete = 102 }, { failed = #study:trials "failed",
          complete = #study:trials "complete" })
        assert.same({ lost = 18 }, study.failures)
        assert.same({ 4, 4, 4, 4, 4, 4 }, ran)
      end
    end)

    it("unless that is wanted", function()
      local ran = 0
      local study = assert(run({ sampler = repeating { 1, 1, 1 }, cache = false }, function(p)
        ran = ran + 1
        return { v = p.n }
      end))
      assert.same({ 3, 3 }, { ran, #study })
    end)

    it("and a sampler that has nothing new to say has come to its end", function()
      local study = assert(run { sampler = { ask = function()
        return { n = 1 }
      end } })
      assert.equal("exhausted", study.meta.stopped)
    end)
  end)

  it("prunes by reports", function()
    local told = {}
    local study = assert(run({ space = { n = { 5, 1, 7 } }, pruner = {
      name = "below", report = function(_, trial, step, value)
        told[#told + 1] = { trial.number, step, value }
        return step == 2 and trial.number == 2
      end, tell = function(_, trial)
        told[#told + 1] = trial.state
      end,
    } }, function(p, report)
      for step = 1, 3 do
        if report(step, { v = p.n * step, note = "x" }) then
          return nil
        end
      end
      return { v = p.n }
    end))
    assert.same({ "complete", "pruned", "complete" }, { study[1].state, study[2].state, study[3].state })
    assert.is_nil(study[2].value)
    assert.is_nil(study[2].reason)
    assert.same({ step = 2, metrics = { v = 2, note = "x" } }, study[2].reports[2])
    assert.same({ 3, 2, 3 }, { #study[1].reports, #study[2].reports, #study[3].reports })
    assert.same({ 1, 1, 5 }, told[1])
    assert.equal("complete", told[4])
  end)

  it("does not blame the program for a pruner of the user's that raises", function()
    local good, err = pcall(run, { pruner = { report = function()
      error("oops", 0)
    end } }, function(p, report)
      pcall(report, 1, { v = p.n })
      return { v = p.n }
    end)
    assert.same({ false, "oops" }, { good, err })
  end)

  it("keeps a bounded part of a flood of reports, and counts the rest", function()
    local path, steps = os.tmpname(), {}
    os.remove(path)
    local study = assert(run({ space = { n = moonsand.range(1, 4) }, journal = path, fsync = "never", pruner = {
      name = "sees all", report = function(_, trial, step)
        steps[trial.number] = step
      end,
    } }, function(p, report)
      for i = 1, p.n == 4 and 10500 or 3000 do
        report(nil, { v = i, text = p.n < 4 and ("x"):rep(990) .. i or nil })
      end
      return { v = p.n }
    end))
    local size = require("moonsand.core").stat(path).size
    assert.is_true(size < 5.5 * 2 ^ 20, ("%d bytes"):format(size))
    for i, trial in ipairs(study:trials()) do
      local n = #trial.reports
      assert.is_true(n > 500 and n < 1100 or i == 4 and n > 5000)
      assert.equal((i == 4 and 10500 or 3000) - n, trial.dropped)
      assert.same({ n, n }, { trial.reports[n].step, trial.reports[n].metrics.v })
    end
    assert.same({ 3000, 3000, 3000, 10500 }, steps) -- the pruner has them all, each with a step of its own
    for i, trial in ipairs(assert(moonsand.study(path)):trials()) do
      assert.same({ #study[i].reports, study[i].dropped }, { #trial.reports, trial.dropped })
    end
    os.remove(path)
  end)

  it("shows its progress", function()
    local seen, sweep = {}, nil
    sweep = moonsand.sweep { space = { n = moonsand.range(1, 10) }, where = function(p)
      return p.n ~= 4
    end, objective = "v", on_trial = function()
      seen[#seen + 1] = sweep:progress()
    end }
    assert.is_nil(sweep:progress())
    assert(sweep:run(noop { f = function(p)
      return p.n ~= 2 and { v = 10 - p.n } or nil
    end }))
    assert.equal(9, #seen)
    assert.same({ 9, 1, 1, 0 }, { seen[1].total, seen[1].done, seen[1].complete, seen[1].failed })
    assert.same({ 9, 9, 8, 1, 1 }, { seen[9].total, seen[9].done, seen[9].complete, seen[9].failed,
      seen[9].best.params.n })
    assert.is_true(seen[9].rate > 0 and seen[1].eta_s > 0 and seen[9].eta_s == 0)
  end)

  it("says how many there will be only when that is known", function()
    local function total(options)
      local sweep, first
      local o = { space = { n = moonsand.range(1, 10) }, objective = "v", on_trial = function()
        first = first or { sweep:progress().total }
      end }
      for k, v in pairs(options) do
        o[k] = v
      end
      sweep = moonsand.sweep(o)
      local study = assert(sweep:run(noop { f = function(p)
        return { v = p.n }
      end }))
      return first[1], #study
    end
    local x = { x = moonsand.uniform(0, 1), n = 1 }
    for _, sampler in ipairs { "grid", "random", "sobol", "tpe" } do
      assert.same({ 10, 10 }, { total { sampler = sampler } })
      assert.same({ 4, 4 }, { total { sampler = sampler, max_trials = 4 } })
    end
    assert.same({ 5, 5 }, { total { sampler = { name = "latin", points = 5 } } })
    assert.same({ 5, 5 }, { total { sampler = { name = "latin", points = 5 }, space = x, max_trials = 100 } })
    assert.same({ 3, 3 }, { total { sampler = { name = "latin", points = 5 }, max_trials = 3 } })
    local function own()
      local i = 0
      return { ask = function()
        i = i + 1
        return i <= 3 and { n = i } or nil
      end }
    end
    assert.same({ nil, 3 }, { total { sampler = own() } })
    assert.same({ 2, 2 }, { total { sampler = own(), max_trials = 2 } })
  end)

  it("lets Ctrl-C through where others' functions are called", function()
    local calls = 0
    local good, err = pcall(run, { sampler = "random", where = function()
      calls = calls + 1
      if calls == 2 then -- while the points are counted
        error("interrupted!", 0)
      end
      return true
    end })
    assert.same({ false, "interrupted!" }, { good, err })
    good, err = pcall(require("moonsand.sweep.pruner").reports_of, { reports = { { step = 1, metrics = {} } } },
      function()
        error("interrupted!", 0)
      end)
    assert.same({ false, "interrupted!" }, { good, err })
  end)

  it("has the same best trial as its study, whichever came first", function()
    local sweep = moonsand.sweep { space = { n = moonsand.range(1, 6) }, objective = "v" }
    local study = assert(sweep:run(noop { jobs = 6, f = function(p)
      moonsand.sleep((7 - p.n) * 0.004)
      return { v = p.n > 1 and 5 or 1 }
    end }))
    assert.equal(2, study:best().number)
    assert.equal(2, sweep:progress().best.number)
  end)

  it("streams trials that are not kept", function()
    local n = 0
    local study = assert(run { keep = false, on_trial = function(trial)
      n = n + 1
      assert.equal(n, trial.number)
    end })
    assert.equal(10, n)
    assert.equal(10, study:best().params.n)
    assert.same({ done = 10, here = 10, complete = 10, failed = 0, pruned = 0, cached = 0, failures = {} },
      study.meta.counts)
  end)

  it("makes data sets a parameter", function()
    local study = assert(run({ data = { "GOOG.csv", "BTC.csv" }, space = { n = { 1, 2 } } }, function(p)
      return { v = #p.data * p.n }
    end))
    assert.equal(4, #study)
    assert.equal("GOOG.csv", study:best().params.data)
  end)

  it("takes constants, and words made of the parameters", function()
    local seen
    assert(moonsand.sweep { space = { n = 1 }, constants = { cash = 5 }, objective = "v", args = function(p)
      return { "--n", p.n, "--cash", p.cash }
    end }:run { run = function(_, trial)
      seen = trial.args
      return { status = "ok", value = { v = 1 } }
    end })
    assert.same({ "--n", 1, "--cash", 5 }, seen)
  end)

  it("raises for what makes no sense, in the caller's line", function()
    local function bad(pattern, o)
      o.objective = o.objective == nil and "v" or o.objective or nil
      o.space = o.space or { n = { 1, 2 } }
      local good, err = pcall(function()
        moonsand.sweep(o) -- the line that is to blame
      end)
      assert.is_false(good)
      assert.matches(pattern, tostring(err))
      assert.matches("^spec/sweep_run_spec.lua:%d+: ", err)
    end
    bad("has no option 'objektive'; did you mean 'objective'", { objektive = 1 })
    bad("option 'objective' is required", { objective = false })
    bad("option 'objective': 5 is not a metric's name", { objective = 5 })
    bad("one of \"maximize\"", { direction = "up" })
    bad("several objectives have one each", { objective = { { "a" }, { "b" } }, direction = "maximize" })
    bad("not both", { script = "a", code = "b" })
    bad("failures is \"3\", not", { halt = { failures = "3" } })
    bad("failures is \"0%%\"", { halt = { failures = "0%" } })
    bad("has no \"fail\"", { halt = { fail = 1 } })
    bad("this space has no end", { space = { x = moonsand.uniform(0, 1) } })
    bad("needs the journal", { resume = true })
    bad('"all" is not true, false or "failed"', { resume = "all", journal = "x" })
    bad("option 'data': the space has a parameter of that name, too", { data = { "a" }, space = { data = 1 } })
    bad("option 'constants': the space has \"n\", too", { constants = { n = 1 } })
    bad("is not a function%(trial, result, err%)", { retry = "often" })
    bad("there is no", { sampler = "gird" })
    bad("learns from one objective", { sampler = "tpe", objective = { { "a" }, { "b" } } })
    bad("empty", { space = { n = {} } })
    assert.has_error(function()
      moonsand.sweep { space = { n = 1 }, objective = "v" }:run(5)
    end, "sweep:run wants a sandbox or an executor, a table with run, got 5")
  end)

  it("says when where refuses everything, or raises", function()
    local study, err = run { where = function()
      return false
    end }
    assert.is_nil(study)
    assert.matches("where refused all 10 points", err.message)
    study, err = run { where = function(p)
      return p.nothing.there
    end }
    assert.is_nil(study)
    assert.equal("invalid", err.code)
    assert.matches("where failed at { n = 1 }", err.message)
  end)

  it("is stopped by Ctrl-C with its journal good", function()
    local path = os.tmpname()
    os.remove(path)
    local good, err = pcall(run, { journal = path }, function(p)
      if p.n == 4 then
        error("interrupted!", 0)
      end
      return { v = p.n }
    end)
    assert.is_false(good)
    assert.is_true(errors.is_interrupt(err))
    local old = assert(journals.load(path))
    assert.same({ "complete", "complete", "complete", "running" },
      { old.trials[1].state, old.trials[2].state, old.trials[3].state, old.trials[4].state })
    assert(journals.open(path, { header = old.header, resume = true })):close() -- it is not locked any more
    os.remove(path)
  end)
end)
