-- Which parameters matter, and whether the best stands alone, on functions whose answer is known.
local study_module = require "moonsand.study"

local function generator(seed)
  local state = seed
  return function()
    state = state * 48271 % 2147483647
    return state / 2147483647
  end
end

local function near(expected, got, tolerance)
  assert.truthy(math.abs(expected - got) <= tolerance, ("expected %.12g, got %.12g"):format(expected, got))
end

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
