--- When a trial is tried again, and when a sweep ends before its space does.
local errors = require "moonsand.errors"
local moonsand = require "moonsand"
local noop_sweep = require "spec.support.noop_sweep"
local sched = require "moonsand.sched"

local noop, run, numbers = moonsand.executors.noop, noop_sweep.run, noop_sweep.numbers

describe("a sweep", function()
  describe("tries again", function()
    local calls

    local function flaky(status, times)
      calls = 0
      return function(p)
        if p.n == 3 then
          calls = calls + 1
          if calls <= times then
            if status == "engine" then
              return nil, errors.new("engine", "the engine coughed")
            end
            return { v = 1 }, { status = status, reason = "x" }
          end
        end
        return { v = p.n }
      end
    end

    it("what was lost, and the engine's faults, but no failing program", function()
      for _, status in ipairs { "lost", "engine" } do
        local study = assert(run({ retry = 2 }, flaky(status, 1)))
        assert.equal(2, calls)
        assert.equal(10, #study:trials "complete")
        assert.equal(2, study:trials()[3].attempts)
        assert.is_nil(study:trials()[3].reason)
      end
      for _, status in ipairs { "exit", "signal", "timeout", "oom", "output_limit", "tampered" } do
        local study = assert(run({}, flaky(status, 1)))
        assert.equal(1, calls)
        assert.same({ 3 }, numbers(study, "failed"))
      end
    end)

    it("at most three times by default", function()
      local study = assert(run({}, flaky("lost", 100)))
      assert.equal(3, calls)
      assert.same({ "failed", "lost", 3 }, { study[3].state, study[3].reason, study[3].attempts })
      assert.equal(9, #study:trials "complete") -- one that is lost does not end the sweep
    end)

    it("as a function says", function()
      local seen = {}
      local study = assert(run({ retry = function(trial, result)
        seen[#seen + 1] = { trial.reason, trial.attempts, result.status }
        return trial.attempts < 2 and 0.001
      end }, flaky("exit", 100)))
      assert.same({ { "error", 1, "exit" }, { "error", 2, "exit" } }, seen)
      assert.equal(2, study[3].attempts)
      assert.has_error(function()
        run({ retry = function()
          return "perhaps"
        end }, flaky("exit", 1))
      end, 'a retry policy says true, false or a number of seconds, not "perhaps"')
    end)

    it("as plugins say, where the caller's function or number has no answer", function()
      local plugins = { { "retry", times = 3, on = { "timeout", "lost" } } }
      local function attempts(retry, status)
        return assert(run({ retry = retry, plugins = plugins }, flaky(status, 100)))[3].attempts
      end
      local function mine(trial)
        if trial.reason == "error" then
          return trial.attempts < 2
        elseif trial.reason == "lost" then
          return false
        end
      end
      assert.same({ 2, 1, 4, 1 }, { attempts(mine, "exit"), attempts(mine, "lost"), attempts(mine, "timeout"),
        attempts(mine, "oom") })
      -- A number is of faults only.
      assert.same({ 1, 4, 1 }, { attempts(0, "lost"), attempts(0, "timeout"), attempts(0, "exit") })
      plugins = nil
      assert.same({ 3, 1 }, { attempts(function() end, "lost"), attempts(function() end, "timeout") })
    end)

    it("and ends the sweep when an engine's fault will not go away", function()
      for _, jobs in ipairs { 1, 3 } do
        local ran = 0
        local study, err, so_far = moonsand.sweep {
          space = { n = moonsand.range(1, 10000) }, objective = "v", retry = 1,
        }:run(noop { jobs = jobs, f = function(p)
          ran = ran + 1
          if p.n > 5 then
            return nil, errors.new("not_found", "no such image")
          end
          return { v = 1 }
        end })
        assert.is_nil(study)
        assert.same({ "not_found", "sweep" }, { err.code, err.op })
        assert.matches("trial %d+ could not be run %(attempt 2%), so the sweep ends: no such image", err.message)
        assert.equal("no such image", err.cause.message)
        assert.equal(5, #so_far:trials "complete")
        assert.equal("error", so_far.meta.stopped)
        assert.is_true(ran <= 5 + 2 * jobs)
      end
    end)
  end)

  describe("ends", function()
    local function failing(p)
      return p.n % 2 == 0 and { v = p.n } or nil, p.n % 2 == 1 and { status = "exit" } or nil
    end

    local function big(options)
      options.space = { n = moonsand.range(1, 1000) }
      return options
    end

    it("after so many trials", function()
      local study = run(big { max_trials = 7 })
      assert.same({ 7, "max_trials" }, { #study, study.meta.stopped })
      study = run { max_trials = 100 }
      assert.same({ 10, "exhausted" }, { #study, study.meta.stopped })
    end)

    it("after so many failures, or a share of them", function()
      local study = run(big { halt = { failures = 3 } }, failing)
      assert.same({ 5, 3, "failures" }, { #study, #study:trials "failed", study.meta.stopped })
      study = run(big { halt = { failures = "50%" } }, failing)
      assert.same({ 21, "failures" }, { #study, study.meta.stopped }) -- not at the first, which is 100 % of one
      study = run(big { halt = { failures = "60%" } }, failing)
      assert.same({ 1000, "exhausted" }, { #study, study.meta.stopped })
      study = run(big { halt = { failures = "3%" } }, function(p)
        return p.n % 25 > 0 and { v = p.n } or nil
      end)
      assert.same({ 50, "failures" }, { #study, study.meta.stopped })
    end)

    it("at the first failure", function()
      local study = run(big { fail_fast = true }, failing)
      assert.same({ 1, "fail_fast" }, { #study, study.meta.stopped })
    end)

    it("when the target is reached", function()
      local study = run(big { target = 84 })
      assert.same({ 42, "target" }, { #study, study.meta.stopped })
      study = run(big { target = -84, direction = "minimize" }, function(p)
        return { v = -2 * p.n }
      end)
      assert.same({ 42, "target" }, { #study, study.meta.stopped })
    end)

    it("when its time is over", function()
      local study = run(big { max_time = 0.05 }, function(p)
        moonsand.sleep(0.02)
        return { v = p.n }
      end)
      assert.equal("max_time", study.meta.stopped)
      assert.is_true(#study >= 1 and #study < 1000)
      assert.equal(#study, #study:trials "complete")
    end)

    it("when its time is over, though a trial would wait longer to be tried again", function()
      for _, jobs in ipairs { 1, 2 } do
        local path = os.tmpname()
        os.remove(path)
        local study = assert(run({ max_time = 0.1, journal = path, max_trials = 1, retry = function()
          return 1
        end }, function()
          return nil, { status = "exit" }
        end, jobs))
        assert.same({ "max_time", 1, "waiting" }, { study.meta.stopped, #study, study[1].state })
        -- A later run goes on with it.
        study = assert(run { journal = path, resume = true, max_trials = 1 })
        assert.same({ "complete", 2 }, { study[1].state, study[1].attempts })
        os.remove(path)
      end
    end)

    it("when it is stopped: what runs is finished", function()
      local begun, done = 0, 0
      local sweep = moonsand.sweep { space = { n = moonsand.range(1, 1000) }, objective = "v" }
      local study = assert(sweep:run(noop { jobs = 3, f = function(p)
        begun = begun + 1
        if p.n == 6 then
          sweep:stop()
        end
        moonsand.sleep(0.005)
        done = done + 1
        return { v = p.n }
      end }))
      assert.equal(begun, done)
      assert.equal(done, #study:trials "complete")
      assert.is_true(done >= 6 and done <= 9)
      assert.equal("stop", study.meta.stopped)
    end)

    it("when it is cancelled: what runs is killed, and what waits to try again does not", function()
      local sweep = moonsand.sweep { space = { n = moonsand.range(1, 1000) }, objective = "v", retry = function()
        return 600
      end }
      local study = assert(sweep:run { jobs = 2, run = function(_, trial, hooks)
        if trial.number == 1 then
          moonsand.spawn(function()
            moonsand.sleep(0.02)
            sweep:cancel()
          end)
          return { status = "exit", exit_code = 9 }
        end
        local gate = { finished = false }
        hooks.started { cancel = function()
          gate.finished = true
          sched.wake(gate)
        end }
        sched.wait(gate, 60)
        return { status = gate.finished and "cancelled" or "ok" }
      end })
      assert.equal("cancel", study.meta.stopped)
      assert.same({ cancelled = 1 }, study.failures)
      assert.same({ "waiting", "failed" }, study:column "state")
    end)

    it("with what a callback raised", function()
      for _, jobs in ipairs { 1, 3 } do
        local n = 0
        local good, err = pcall(run, { on_trial = function()
          n = n + 1
          if n == 4 then
            error "enough"
          end
        end }, function(p)
          if jobs > 1 then
            moonsand.sleep(0.001)
          end
          return { v = p.n }
        end, jobs)
        assert.is_false(good)
        assert.matches("enough", err)
        assert.is_true(n >= 4 and n < 4 + jobs) -- no further ones are begun
      end
    end)
  end)
end)
