-- Is the best good, or lucky: overfitting, deflation, importance and plateau, on cases whose answer is known.
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

local function of_params(list, f, meta)
  local trials = {}
  for i, params in ipairs(list) do
    trials[i] = { number = i, state = "complete", params = params, value = f(params), metrics = { other = params.y } }
  end
  return study_module.new { trials = trials, meta = meta or { direction = "maximize" } }
end

local function grid(n, m)
  local out = {}
  for x = 1, n do
    for y = 1, m do
      out[#out + 1] = { x = x, y = y, c = "constant" }
    end
  end
  return out
end

describe("importance", function()
  local function sum(result)
    local total = 0
    for _, entry in ipairs(result) do
      total = total + entry.importance
    end
    return total
  end

  it("is that of the variances, and sums to 1", function()
    local result, facts = assert(of_params(grid(12, 12), function(p)
      return 3 * p.x + p.y
    end):importance())
    near(0.9, facts.shares.x, 0.03)
    near(0.1, facts.shares.y, 0.03)
    assert.equal(0, facts.shares.c)
    near(1, sum(result), 1e-12)
    assert.same({ "x", "y", "c" }, { result[1].name, result[2].name, result[3].name })
    assert.truthy(facts.explained > 0.95)
    assert.equal(144, facts.trials)
    for _, entry in pairs(result) do
      assert.equal("string", type(entry.name)) -- nothing else is in the list
    end
  end)

  it("sees two parameters that do nothing by themselves", function()
    local _, result = of_params(grid(8, 8), function(p)
      return (p.x > 4) == (p.y > 4) and 1 or 0
    end):importance()
    near(0.5, result.shares.x, 0.05)
    near(0.5, result.shares.y, 0.05)
  end)

  it("is near the known indices of Ishigami's function", function()
    local uniform = generator(99)
    local points = {}
    for i = 1, 1000 do
      points[i] = {}
      for _, name in ipairs { "a", "b", "c", "d" } do
        points[i][name] = (uniform() * 2 - 1) * math.pi
      end
    end
    local _, result = of_params(points, function(p)
      return math.sin(p.a) + 7 * math.sin(p.b) ^ 2 + 0.1 * p.c ^ 4 * math.sin(p.a)
    end):importance()
    -- Total indices 0.5576, 0.4424, 0.2437 and 0, over their sum.
    near(0.448, result.shares.a, 0.07)
    near(0.356, result.shares.b, 0.07)
    near(0.196, result.shares.c, 0.07)
    near(0, result.shares.d, 0.02)
  end)

  it("takes texts, booleans and parameters that are not always there", function()
    local uniform = generator(3)
    local points = {}
    for i = 1, 240 do
      local p = { name = ({ "a", "b", "c", "d" })[i % 4 + 1], flag = i % 3 == 0, z = uniform() }
      if p.name == "a" then
        p.window = i % 7
      end
      points[i] = p
    end
    local _, result = of_params(points, function(p)
      return ({ a = 1, b = 5, c = 2, d = 9 })[p.name] + (p.flag and 1 or 0)
    end):importance()
    near(0.978, result.shares.name, 0.02) -- variances 9.69 and 0.22
    near(0.022, result.shares.flag, 0.02)
    near(0, result.shares.z, 0.005)
    near(0, result.shares.window, 0.005)
    local _, conditional = of_params(points, function(p)
      return p.name == "a" and 10 or 0
    end):importance()
    near(1, conditional.shares.name, 1e-9) -- not the window, which is there in the same trials
  end)

  it("is the same each time, whatever math.random does", function()
    local function once(seed)
      math.randomseed(seed)
      local uniform = generator(8)
      local points = {}
      for i = 1, 60 do
        points[i] = { a = uniform(), b = uniform() }
      end
      return of_params(points, function(p)
        return p.a * p.b
      end):importance()
    end
    assert.same(once(1), once(2))
  end)

  it("is asked for any metric, and for more trials than it needs", function()
    local s = of_params(grid(50, 50), function(p)
      return p.x
    end)
    local _, result = s:importance "other"
    near(1, result.shares.y, 0.01)
    assert.equal(2000, result.trials)
  end)

  it("says why there is none", function()
    for text, s in pairs {
      ["there are 3"] = of_params(grid(1, 3), function(p)
        return p.y
      end),
      ["the same in all trials"] = of_params(grid(3, 3), function()
        return 0.1
      end),
      ["all parameters have the same value"] = of_params({ { a = 1 }, { a = 1 }, { a = 1 }, { a = 1 } }, (function()
        local n = 0
        return function()
          n = n + 1
          return n
        end
      end)()),
    } do
      local result, err = s:importance()
      assert.is_nil(result)
      assert.equal("invalid", err.code)
      assert.truthy(err.message:find(text, 1, true), err.message)
    end
  end)
end)

describe("plateau", function()
  local function hill(p)
    return 100 - (p.x - 4) ^ 2 - (p.y - 4) ^ 2
  end

  it("is one on a broad hill", function()
    local around = of_params(grid(7, 7), hill):plateau()
    assert.equal("plateau", around.kind)
    assert.same({ x = 4, y = 4, c = "constant" }, around.trial.params)
    assert.equal(4, #around.neighbours)
    assert.equal(1, around.share)
    assert.same({ 99, 99, 99, 99, 100 }, { around.mean, around.min, around.max, around.worst, around.value })
    assert.same({}, around.edge)
    assert.truthy(around.verdict:find("4 of 4 neighbours are within 0.7 of it (mean 99, worst 99)", 1, true))
    assert.equal(44 / 49, around.beaten) -- all but the five that are as good
    assert.equal(8, #of_params(grid(7, 7), hill):plateau(nil, { diagonal = true }).neighbours)
  end)

  it("is none around a lone peak", function()
    local around = of_params(grid(7, 7), function(p)
      return p.x == 3 and p.y == 3 and 100 or 10
    end):plateau()
    assert.equal("spike", around.kind)
    assert.equal(0, around.share)
  end)

  it("says so when the best is at the end of the range", function()
    local around = of_params(grid(5, 5), function(p)
      return p.x + 0.001 * (p.y - 3) ^ 2 * -1
    end):plateau()
    assert.same({ "x" }, around.edge)
    assert.equal(3, #around.neighbours)
    assert.truthy(around.verdict:find("end of the range of x", 1, true))
  end)

  it("knows minimisation and negative objectives", function()
    local function at(values, direction, index)
      local points = {}
      for i = 1, #values do
        points[i] = { x = i }
      end
      local s = of_params(points, function(p)
        return values[p.x]
      end, { direction = direction })
      return s:plateau(index)
    end
    assert.equal(0.5, at({ 14, 10, 15 }, "minimize").share) -- up to 14.3
    assert.equal(0.5, at({ -14, -10, -15 }, "maximize").share)
    assert.equal(0.5, at({ 7, 10, 6.9 }, "maximize").share)
    assert.equal(0.5, at({ -7, -10, -6.9 }, "minimize").share)
    assert.equal(15, at({ 14, 10, 15 }, "minimize").worst)
    assert.equal(14, at({ 14, 10, 15 }, "minimize").best)
    assert.equal(10, at({ 14, 10, 15 }, "minimize").value)
    assert.equal(14, at({ 14, 10, 15 }, "minimize", 1).value)
  end)

  it("steps along the grid that was asked for, and counts what failed", function()
    local trials = {}
    for i, fast in ipairs { 5, 10, 15, 25 } do
      trials[i] = { number = i, state = "complete", params = { fast = fast, kind = "sma" }, value = 10 + fast / 5 }
    end
    trials[5] = { number = 5, state = "failed", params = { fast = 20, kind = "sma" }, reason = "error" }
    trials[6] = { number = 6, state = "complete", params = { fast = 15, kind = "ema" }, value = 1 }
    local s = study_module.new {
      trials = trials,
      meta = { params = { { name = "fast", kind = "range", values = { 5, 10, 15, 20, 25 } } } },
    }
    local around = s:plateau(3)
    assert.equal(1, #around.neighbours) -- 10; the one at 20 failed, 25 is two steps away, "ema" has no order
    assert.equal(2, around.neighbours[1].number)
    assert.equal(1, around.failed)
    assert.equal("unknown", around.kind)
    assert.truthy(around.verdict:find("1 more did not complete", 1, true))
    assert.truthy(s:plateau(6).verdict:find("no neighbour", 1, true))
  end)

  it("takes what is near for a neighbour where there is no grid", function()
    local uniform = generator(17)
    local points = {}
    for i = 1, 400 do
      points[i] = { a = uniform(), b = 10 ^ (uniform() * 4) }
    end
    local meta = {
      direction = "maximize",
      params = { { name = "a", kind = "uniform", low = 0, high = 1 },
        { name = "b", kind = "log_uniform", low = 1, high = 10000 } },
    }
    local s = of_params(points, function(p)
      return 10 - (p.a - 0.5) ^ 2 - (math.log(p.b, 10) - 2) ^ 2
    end, meta)
    local around = s:plateau()
    assert.equal("plateau", around.kind)
    assert.truthy(#around.neighbours > 5, #around.neighbours)
    for _, other in ipairs(around.neighbours) do
      assert.truthy(math.abs(other.params.a - around.trial.params.a) <= 0.1)
      assert.truthy(math.abs(math.log(other.params.b / around.trial.params.b, 10)) <= 0.4 + 1e-9)
    end
    assert.truthy(#s:plateau(nil, { radius = 0.5 }).neighbours > #around.neighbours)
  end)

  it("looks around where the points of a grid are far between", function()
    local uniform = generator(23)
    local points = {}
    for i = 1, 60 do
      points[i] = { a = math.floor(uniform() * 1000), b = math.floor(uniform() * 1000) }
    end
    local around = of_params(points, function(p)
      return 1e6 - (p.a - 500) ^ 2 - (p.b - 500) ^ 2
    end):plateau(nil, { radius = 0.3 })
    assert.equal("plateau", around.kind)
    assert.equal(0.3, around.radius)
    assert.truthy(around.verdict:find("at most 0.3 of each range", 1, true), around.verdict)
    assert.is_nil(of_params(grid(5, 5), hill):plateau().radius)
  end)

  it("says what is missing, and lets no text through", function()
    local around, err = study_module.new({ trials = {} }):plateau()
    assert.is_nil(around)
    assert.truthy(err.message:find("no trial is complete", 1, true))
    local s = study_module.new { trials = {
      { number = 1, state = "failed", params = {} },
      { number = 2, state = "complete", params = { ["\27[2J"] = 1 }, value = 1 },
      { number = 3, state = "complete", params = { ["\27[2J"] = 2 }, value = 2 },
    } }
    around, err = s:plateau(1)
    assert.is_nil(around)
    assert.truthy(err.message:find("trial 1 has no objective", 1, true))
    assert.falsy(s:plateau().verdict:find "%c")
    assert.has_error(function()
      s:plateau(1, { threshold = 2 })
    end)
    assert.has_error(function()
      s:plateau "best"
    end)
  end)
end)
