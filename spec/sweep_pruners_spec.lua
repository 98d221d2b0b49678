-- Who stops a trial before its end: the median of the others, successive halving, what users write.
local pruner = require "moonsand.sweep.pruner"
local random = require "moonsand.sweep.random"
local ranks = require "moonsand.sweep.ranks"

local here = "spec/sweep_pruners_spec.lua:"

local function raises(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "nothing was raised")
  return tostring(err)
end

local function says(message, ...)
  for _, word in ipairs { ... } do
    assert.truthy(message:find(word, 1, true), ("%q does not say %q"):format(message, word))
  end
end

-- Runs a trial that reports these values at steps 1, 2, ...; the step at which it was pruned, or nil.
local function run(one, number, values, state)
  local trial = { number = number, state = "running" }
  for step, value in ipairs(values) do
    if one:report(trial, step, value) then
      trial.state = "pruned"
      one:tell(trial)
      return step
    end
  end
  trial.state = state or "complete"
  one:tell(trial)
  return nil
end

describe("the largest numbers", function()
  it("are kept apart from the others without sorting", function()
    local rng = random.new(2)
    for _, top in ipairs { function(n) return (n + 1) // 2 end, function(n) return math.max(1, n // 4) end } do
      local kept, list = ranks.new(top), {}
      for n = 1, 300 do
        local x = rng:below(100) - 50
        kept:add(x)
        list[n] = x
        table.sort(list, function(a, b) return a > b end)
        assert.equal(list[top(n)], kept:least_of_top())
        assert.equal(list[top(n) + 1], kept:most_of_rest())
      end
    end
  end)
end)

describe("the median pruner", function()
  it("stops what is worse than the median of completed trials at that step", function()
    local one = pruner.new({ name = "median", startup_trials = 3 }, { direction = "maximize" })
    assert.is_nil(run(one, 1, { 1, 10, 100 }))
    assert.is_nil(run(one, 2, { 2, 20, 200 }))
    assert.is_nil(run(one, 3, { 3, 30, 300 }))
    assert.equal(1, run(one, 4, { 1.9, 50, 500 }))
    assert.is_nil(run(one, 5, { 2, 20, 200 })) -- as good is good enough
    assert.equal(3, run(one, 6, { 2.5, 25, 199 }))
    -- Of 1, 2, 2, 3 and of 10, 20, 20, 30; those that were pruned do not count.
    assert.equal(2, run(one, 7, { 4, 1, 1, 1 }))
    assert.equal(2, run(one, 8, { 2, 19.5 }))
  end)

  it("takes the best value so far, not the last, and the mean of the middle two", function()
    local one = pruner.new({ name = "median", startup_trials = 2 }, { direction = "maximize" })
    run(one, 1, { 1, 10 })
    run(one, 2, { 2, 20 })
    assert.is_nil(run(one, 3, { 15, 0 }, "failed"))
    assert.equal(2, run(one, 4, { 14.9, 0 }))
  end)

  it("knows that less may be better", function()
    local one = pruner.new({ name = "median", startup_trials = 3 }, { direction = "minimize" })
    run(one, 1, { 1 })
    run(one, 2, { 2 })
    run(one, 3, { 3 })
    assert.is_nil(run(one, 4, { 1.5 }, "failed"))
    assert.is_nil(run(one, 5, { 2 }, "failed"))
    assert.equal(1, run(one, 6, { 2.1 }))
  end)

  it("waits for five complete trials, if not told otherwise, and for the end of the warm-up", function()
    local one = pruner.new("median", { direction = "maximize" })
    for number = 1, 4 do
      assert.is_nil(run(one, number, { 10, 10 }))
    end
    assert.is_nil(run(one, 5, { 1, 1 }, "failed"))
    assert.is_nil(run(one, 6, { 10, 10 }))
    assert.equal(1, run(one, 7, { 1 }))
    one = pruner.new({ name = "median", startup_trials = 0, warmup_steps = 3 }, { direction = "maximize" })
    run(one, 1, { 10, 10, 10, 10 })
    assert.equal(3, run(one, 2, { 1, 1, 1, 1 }))
  end)

  it("judges at every n-th step, or at the first report after it", function()
    local one = pruner.new({ name = "median", startup_trials = 1, warmup_steps = 2, interval = 5 }, {})
    local trial = { number = 1 }
    for step = 1, 20 do
      one:report(trial, step, 10)
    end
    trial.state = "complete"
    one:tell(trial)
    local judged = {}
    for step = 1, 20 do
      judged[#judged + 1] = one:report({ number = 2 }, step, 1) and step or nil
    end
    assert.same({ 2, 7, 12, 17 }, judged)
    assert.is_false(one:report({ number = 3 }, 1, 1))
    assert.is_true(one:report({ number = 3 }, 4, 1))
    assert.is_false(one:report({ number = 3 }, 5, 1))
    assert.is_true(one:report({ number = 3 }, 13, 1))
  end)

  it("stops what reports nothing but NaN, and takes no harm from nonsense", function()
    local one = pruner.new({ name = "median", startup_trials = 1 }, { direction = "maximize" })
    run(one, 1, { 1, 0 / 0, 3 })
    assert.equal(1, run(one, 2, { 0 / 0 }))
    for _, step in ipairs { 0 / 0, math.huge, -math.huge, "1", {} } do
      assert.is_false(one:report({ number = 3 }, step, -100))
    end
    assert.is_false(one:report({ number = 3 }, 1, nil))
    assert.is_false(one:report({ number = 3 }, 1, "x"))
    assert.is_false(one:report({ number = 3 }, -5, -100))
    assert.is_false(one:report({ number = 3 }, 2, -100)) -- there is nothing to compare with
    assert.is_true(one:report({ number = 3 }, 3, -100))
  end)

  it("learns from reports of trials that it did not see run", function()
    local one = pruner.new({ name = "median", startup_trials = 3 }, { direction = "maximize", objective = "Sharpe" })
    for number = 1, 3 do
      one:tell { number = number, state = "complete", reports = {
        { step = 1, metrics = { Sharpe = number } }, { step = 2, metrics = { other = 1 } },
        { step = 0 / 0, metrics = {} },
        { step = 3, metrics = { Sharpe = "x" } }, { step = 4 },
      } }
    end
    assert.is_true(one:report({ number = 4 }, 1, 1.5))
    assert.is_false(one:report({ number = 5 }, 1, 2))
    assert.is_false(one:report({ number = 5 }, 3, 0))
    one = pruner.new({ name = "median", startup_trials = 1 }, { direction = "minimize", objective = function(metrics)
      return metrics.a + metrics.b
    end })
    one:tell { number = 1, state = "complete", reports = {
      { step = 1, metrics = { a = 2, b = 3 } }, { step = 2, metrics = { a = 2 } },
    } }
    assert.is_true(one:report({ number = 2 }, 1, 5.5))
    assert.is_false(one:report({ number = 3 }, 1, 4.5))
  end)
end)

describe("the halving pruner", function()
  it("lets the best part go on at each rung", function()
    local one = pruner.new({ name = "halving", min_resource = 1, reduction = 2 }, { direction = "maximize" })
    local function at(number, step, value)
      return one:report({ number = number }, step, value)
    end
    assert.is_false(at(1, 1, 5)) -- there is no other yet
    assert.is_true(at(2, 1, 4)) -- one of two goes on
    assert.is_false(at(3, 1, 6))
    assert.is_false(at(4, 1, 5.5)) -- the best two of 6, 5.5, 5, 4
    assert.is_true(at(5, 1, 5.2))
    -- The next rung is at step 2, and knows those that came so far.
    assert.is_false(at(1, 2, 1))
    assert.is_true(at(3, 2, 0.5))
    assert.is_false(at(4, 2, 2))
    -- Then at 4: nothing is asked in between.
    assert.is_false(at(4, 3, -100))
    assert.is_false(at(4, 4, 2))
    assert.is_true(at(1, 4, 1))
  end)

  it("passes all the rungs that a late first report has reached", function()
    local one = pruner.new({ name = "halving", min_resource = 2, reduction = 3 }, { direction = "minimize" })
    assert.is_false(one:report({ number = 1 }, 1, 100))
    assert.is_false(one:report({ number = 1 }, 2, 10))
    assert.is_false(one:report({ number = 1 }, 6, 9))
    assert.is_false(one:report({ number = 1 }, 18, 8))
    assert.is_false(one:report({ number = 2 }, 18, 7))
    assert.is_true(one:report({ number = 3 }, 18, 7.5))
    assert.is_true(one:report({ number = 4 }, 2, 0 / 0))
    assert.is_false(one:report({ number = 5 }, 1e308, 1))
    assert.is_false(one:report({ number = 6 }, math.huge, 100))
    assert.is_false(one:report({ number = 6 }, 0 / 0, 100))
    assert.is_false(one:report({ number = 6 }, 5, "x"))
  end)

  it("spends most steps on the best quarter, whatever the order", function()
    local rng = random.new(5)
    local one = pruner.new("halving", { direction = "maximize" })
    local order, steps, finished = {}, 0, {}
    for i = 1, 200 do
      order[i] = i
    end
    for number, quality in ipairs(rng:shuffle(order)) do
      local values = {}
      for step = 1, 64 do
        values[step] = quality * step
      end
      local stop = run(one, number, values)
      steps = steps + (stop or 64)
      finished[#finished + 1] = not stop and quality or nil
    end
    assert.is_true(steps < 0.25 * 200 * 64)
    table.sort(finished)
    assert.equal(200, finished[#finished])
  end)

  it("does not count a retry twice, and learns from reports of earlier processes", function()
    local one = pruner.new({ name = "halving", reduction = 2 }, { direction = "maximize", objective = "v" })
    assert.is_false(one:report({ number = 1 }, 1, 5))
    assert.is_false(one:report({ number = 1 }, 1, 1))
    assert.is_true(one:report({ number = 2 }, 1, 4))
    one:tell { number = 3, state = "pruned", reports = { { step = 1, metrics = { v = 9 } } } }
    one:tell { number = 4, state = "complete", reports = { { step = 1, metrics = { v = 8 } } } }
    assert.is_true(one:report({ number = 5 }, 1, 7))
    assert.is_false(one:report({ number = 6 }, 1, 8.5))
  end)
end)

describe("a pruner", function()
  it("of the user's is asked and told", function()
    local told = {}
    local one = pruner.new({
      report = function(self, trial, step, value)
        self.last = trial.number
        return value < step and 1
      end,
      tell = function(self, trial)
        told = { self.last, trial.number }
      end,
    }, {})
    assert.equal("custom", one.name)
    assert.is_true(one:report({ number = 7 }, 3, 2))
    assert.is_false(one:report({ number = 8 }, 3, 4))
    one:tell { number = 9 }
    assert.same({ 8, 9 }, told)
    one = pruner.new({ name = "x", report = function() end }, {})
    one:tell { number = 1 }
    assert.is_false(one:report({ number = 1 }, 1, 1))
    one = pruner.new({ name = "plug", least = 3 }, {}, {
      plug = function(given)
        return { report = function(_, _, _, value) return value < given.least end }
      end,
    })
    assert.equal("plug", one.name)
    assert.is_true(one:report({ number = 1 }, 1, 2))
  end)

  it("that makes no sense is refused", function()
    for _, case in ipairs {
      { "medain", "did you mean 'median'", "halving" }, { 5, "5" }, { {}, "nil" }, { { report = 1 }, "report" },
      { { report = print, tell = 2 }, "tell" },
      { { name = "median", warmup = 1 }, "pruner 'median'", "warmup_steps" },
      { { name = "median", warmup_steps = -1 }, "warmup_steps", "-1" },
      { { name = "median", startup_trials = "x" }, "startup_trials" },
      { { name = "median", interval = 0 }, "interval" },
      { { name = "halving", reduction = 1 }, "reduction", "at least 2" },
      { { name = "halving", min_resource = 0 }, "min_resource" }, { "mute", "plugin" },
      { { name = 5, report = print }, "name is a text" },
    } do
      says(raises(function()
        local one = pruner.new(case[1], {}, { mute = function() end })
        return one
      end), here, table.unpack(case, 2))
    end
  end)
end)
