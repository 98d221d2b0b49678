-- Is the best good, or lucky: overfitting and deflation, on cases whose answer is known.
local outcome = require "moonsand.sweep.outcome"
local overfit = require "moonsand.study.overfit"
local study_module = require "moonsand.study"

local function generator(seed)
  local state = seed
  local function uniform()
    state = state * 48271 % 2147483647
    return state / 2147483647
  end
  return uniform, function()
    return math.sqrt(-2 * math.log(uniform())) * math.cos(2 * math.pi * uniform())
  end
end

local function equity_of(list)
  local curve = { 100 }
  for i, r in ipairs(list) do
    curve[i + 1] = curve[i] * (1 + r)
  end
  return curve
end

-- A study of trials with these returns as equity curves.
local function study_of(lists, values)
  local trials = {}
  for i, list in ipairs(lists) do
    trials[i] = {
      number = i, state = "complete", params = { n = i }, value = values and values[i] or i,
      series = { equity = equity_of(list) }, metrics = {},
    }
  end
  return study_module.new { trials = trials, meta = { objective = "x", direction = "maximize" } }
end

local function noise(trials, length, seed)
  local _, normal = generator(seed)
  local lists = {}
  for i = 1, trials do
    lists[i] = {}
    for t = 1, length do
      lists[i][t] = 0.01 * normal()
    end
  end
  return lists
end

local function near(expected, got, tolerance)
  assert.truthy(math.abs(expected - got) <= tolerance, ("expected %.12g, got %.12g"):format(expected, got))
end

describe("the probability of overfitting", function()
  it("looks at every choice of half the blocks", function()
    assert.equal(2, overfit.combinations(2))
    assert.equal(70, overfit.combinations(8))
    assert.equal(12870, overfit.combinations(16))
    assert.equal(184756, overfit.combinations(20))
  end)

  it("is 1 where each trial is good in one half of the time and bad in the other", function()
    -- A trial for each way to choose 2 of 4 blocks: the winner in sample is the one made for that half, and comes last
    -- out of sample. All six logits are ln((1/7) / (6/7)).
    local lists = {}
    for a = 1, 4 do
      for b = a + 1, 4 do
        local list = {}
        for t = 0, 39 do
          local block = t // 10 + 1
          list[t + 1] = ((block == a or block == b) and 0.01 or -0.01) + (t % 2 == 0 and 0.002 or -0.002)
        end
        lists[#lists + 1] = list
      end
    end
    local result = study_of(lists):overfit_probability { blocks = 4 }
    assert.equal(1, result.probability)
    assert.equal(6, result.combinations)
    for _, logit in ipairs(result.logits) do
      near(math.log(1 / 6), logit, 1e-12)
    end
    assert.equal(1, result.loss_probability)
  end)

  it("is 0 for a trial that is better all the time", function()
    local lists = noise(9, 400, 5)
    for t, r in ipairs(lists[4]) do
      lists[4][t] = r + 0.02
    end
    local result = study_of(lists):overfit_probability { blocks = 8 }
    assert.equal(0, result.probability)
    assert.equal(70, #result.logits)
    for _, logit in ipairs(result.logits) do
      near(math.log(9), logit, 1e-12) -- rank 9 of 9: 0.9 to 0.1
    end
    assert.equal(0, result.loss_probability)
  end)

  it("is about a half for noise", function()
    local sum, times = 0, 60
    for seed = 1, times do
      sum = sum + study_of(noise(10, 120, seed * 7919)):overfit_probability({ blocks = 6 }).probability
    end
    near(0.5, sum / times, 0.06)
  end)

  it("agrees with another implementation", function()
    -- The same calculated with numpy: itertools.combinations, means and standard deviations of the rows chosen,
    -- scipy's rankdata and linregress.
    local lists = {}
    for i = 1, 6 do
      lists[i] = {}
      for t = 1, 25 do
        lists[i][t] = ((t ^ 3 + 5 * t * i + i ^ 3) % 29 - 13) / 1000
      end
    end
    local sets = {}
    for i, list in ipairs(lists) do
      sets[i] = { returns = list }
    end
    local result = overfit.cscv(sets, 6)
    assert.equal(20, result.combinations)
    near(0.6, result.probability, 1e-12)
    near(-0.18196096283347454, result.degradation.slope, 1e-9)
    near(0.2, result.loss_probability, 1e-12)
    near(-0.2876820724517809, result.median_logit, 1e-12)
  end)

  it("gives equal ones the mean of their ranks", function()
    local lists = noise(4, 80, 6)
    for t, r in ipairs(lists[2]) do
      lists[2][t] = r + 0.05
    end
    lists[3] = lists[2]
    for _, logit in ipairs(study_of(lists):overfit_probability({ blocks = 4 }).logits) do
      near(math.log(0.7 / 0.3), logit, 1e-12) -- ranks 3 and 4 of 4: 3.5 / 5
    end
  end)

  it("counts a flat trial as neither gain nor loss", function()
    local lists = noise(3, 40, 3)
    for t = 1, 40 do
      lists[2][t] = 0
      lists[1][t] = -0.01 + lists[1][t] / 100
      lists[3][t] = -0.02 + lists[3][t] / 100
    end
    local result = study_of(lists):overfit_probability { blocks = 4 }
    assert.equal(0, result.probability)
    for k, ratio in ipairs(result.inside) do
      assert.equal(0, ratio)
      assert.equal(0, result.outside[k])
    end
  end)

  it("leaves out what has no curve of the usual length", function()
    local lists = noise(6, 64, 9)
    lists[3] = { 0.01, 0.02 }
    local s = study_of(lists)
    s[5].series = nil
    s[6].series.equity[10] = 0 / 0
    local result = s:overfit_probability()
    assert.equal(3, result.trials)
    assert.equal(3, result.left_out)
    assert.equal(64, result.observations)
    assert.equal(16, result.blocks)
  end)

  it("holds only curves of the same bars against each other", function()
    local s = study_of(noise(9, 64, 12))
    for i, trial in ipairs(s) do
      local index, year = {}, i <= 5 and 2004 or 2011
      for t = 1, 65 do
        index[t] = ("%d-%03d"):format(year, t)
      end
      trial.series["equity.index"] = i < 9 and index or nil
    end
    local result = assert(s:overfit_probability())
    assert.same({ 5, 4 }, { result.trials, result.left_out })
    s[3].series["equity.index"][64] = "2009-001"
    s[4].series["equity.extremes"], s[4].series["equity.extremes.index"] = { 1, 2 }, { 1, 5000 }
    result = assert(s:overfit_probability())
    assert.same({ 3, 6 }, { result.trials, result.left_out })
    local err
    result, err = s:filter(function(trial)
      return trial.number == 3 or trial.number >= 8
    end):overfit_probability()
    assert.is_nil(result)
    assert.matches("of the same bars; there are 1", err.message, 1, true)
  end)

  it("holds only curves of one data set against each other", function()
    local s = study_of(noise(9, 64, 13))
    for i, trial in ipairs(s) do
      trial.params.data = i <= 4 and "goog" or "msft"
    end
    assert.equal(9, s:overfit_probability().trials) -- a parameter of that name, no more
    s.meta.data = { "goog", "msft" }
    local result = s:overfit_probability()
    assert.same({ 5, 4, "msft" }, { result.trials, result.left_out, result.data })
  end)

  it("says what is missing", function()
    local result, err = study_of({ { 0.01, 0.02 } }):overfit_probability()
    assert.is_nil(result)
    assert.equal("invalid", err.code)
    assert.truthy(err.message:find("there are 1", 1, true))
    result, err = study_of(noise(2, 7, 1)):overfit_probability { blocks = 4 }
    assert.is_nil(result)
    assert.truthy(err.message:find("7 returns are too short for 4 blocks", 1, true))
    for _, blocks in ipairs { 3, 0, 22, 4.5, "8" } do
      assert.has_error(function()
        study_of({}):overfit_probability { blocks = blocks }
      end)
    end
    assert.has_error(function()
      study_of({}):overfit_probability { block = 8 }
    end)
  end)
end)

describe("a study's Deflated Sharpe Ratio", function()
  it("comes from the equity curves, of the best trial", function()
    local lists = noise(20, 500, 21)
    local d = assert(study_of(lists):deflated_sharpe { periods_per_year = 252 })
    assert.equal(20, d.trial.number)
    assert.equal(20, d.trials)
    assert.equal(500, d.observations)
    near(3, d.kurtosis, 0.7)
    near(d.sharpe * math.sqrt(252), d.annual_sharpe, 1e-12)
    near(d.benchmark * math.sqrt(252), d.annual_benchmark, 1e-12)
    -- Twenty trials of noise: the best of them is what is to be expected, not more.
    local best, number = -math.huge, nil
    for i in ipairs(lists) do
      local ratio = study_of(lists):deflated_sharpe({ trial = i }).sharpe
      if ratio > best then
        best, number = ratio, i
      end
    end
    local luck = study_of(lists):deflated_sharpe { trial = number }
    assert.truthy(luck.probability > 0.2 and luck.probability < 0.9, luck.probability)
  end)

  it("knows how many bars a curve had that was too long to be kept whole", function()
    local lists = noise(6, 10000, 31)
    for t, r in ipairs(lists[6]) do
      lists[6][t] = r + 0.0004
    end
    local whole, kept = study_of(lists), study_of(lists)
    for _, trial in ipairs(kept) do
      trial.metrics, trial.series = outcome.flatten(trial.series)
      assert.equal(4096, #trial.series.equity)
    end
    local a = assert(whole:deflated_sharpe { periods_per_year = 252 })
    local b = assert(kept:deflated_sharpe { periods_per_year = 252 })
    assert.same({ 10000, 10000, 1 }, { a.observations, b.observations, a.periods })
    near(10000 / 4095, b.periods, 1e-12)
    for _, name in ipairs { "annual_sharpe", "sharpe", "probability" } do
      near(a[name], b[name], 0.05 * a[name])
    end
    near(math.sqrt(a.variance), math.sqrt(b.variance), 0.2 * math.sqrt(a.variance))
    near(b.sharpe * math.sqrt(252), b.annual_sharpe, 1e-12)
    near(b.benchmark * math.sqrt(252), b.annual_benchmark, 1e-12)
    -- The given variance is that of one period, whatever the curve.
    local given = assert(kept:deflated_sharpe { variance = a.variance })
    near(a.benchmark, given.benchmark, 1e-12)
  end)

  it("knows skill from luck", function()
    local lists = noise(20, 1000, 22)
    for t, r in ipairs(lists[7]) do
      lists[7][t] = r + 0.004
    end
    assert.truthy(study_of(lists):deflated_sharpe({ trial = 7 }).probability > 0.999)
  end)

  it("counts all complete trials, not only those with curves", function()
    local s = study_of(noise(10, 100, 2))
    s[1].series, s[2].series = nil, nil
    local d = s:deflated_sharpe()
    assert.equal(10, d.trials)
    assert.equal(3, s:deflated_sharpe({ trials = 3 }).trials)
    assert.truthy(s:deflated_sharpe({ trials = 3 }).probability > d.probability)
    near(10, s:deflated_sharpe({ trials = "independent" }).trials, 1)
  end)

  it("comes from a metric and figures: the published example", function()
    local trials = {}
    for i = 1, 100 do
      trials[i] = {
        number = i, state = "complete", params = {}, value = -i, metrics = { Sharpe = i == 1 and 2.5 or 0 },
      }
    end
    local s = study_module.new { trials = trials }
    local d = assert(s:deflated_sharpe {
      metric = "Sharpe", periods_per_year = 250, observations = 1250, skewness = -3, kurtosis = 10,
      variance = 0.5 / 250,
    })
    assert.equal("0.1132 0.9004", ("%.4f %.4f"):format(d.benchmark, d.probability))
    near(2.5, d.annual_sharpe, 1e-12)
  end)

  it("says what is missing", function()
    local s = study_of(noise(3, 50, 4))
    s[3].series = {}
    local d, err = s:deflated_sharpe()
    assert.is_nil(d)
    assert.equal("invalid", err.code)
    assert.truthy(err.message:find("trial 3 has no series", 1, true))
    s[3].series = { equity = { 100, 100, 100 } }
    d, err = s:deflated_sharpe()
    assert.is_nil(d)
    assert.truthy(err.message:find("does not move", 1, true))
    d, err = study_module.new({ trials = {} }):deflated_sharpe()
    assert.is_nil(d)
    assert.truthy(err.message:find("no trial is complete", 1, true))
    assert.has_error(function()
      s:deflated_sharpe { trial = 99 }
    end)
    assert.has_error(function()
      s:deflated_sharpe { metric = "x" }
    end)
    assert.has_error(function()
      s:deflated_sharpe { trials = -1 }
    end)
  end)
end)
