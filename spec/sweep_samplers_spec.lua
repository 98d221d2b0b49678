-- Who proposes points: each point of a grid once, even spreads; what users write themselves.
-- The same seed always means the same points.
local sampler = require "moonsand.sweep.sampler"
local sobol = require "moonsand.sweep.samplers.sobol"
local space = require "moonsand.sweep.space"

local here = "spec/sweep_samplers_spec.lua:"

local function raises(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "nothing was raised")
  return type(err) == "table" and err.message or tostring(err), err
end

local function says(message, ...)
  for _, word in ipairs { ... } do
    assert.truthy(message:find(word, 1, true), ("%q does not say %q"):format(message, word))
  end
end

local function new(given, s, more)
  local ctx = { space = s, seed = 1, direction = "maximize" }
  for k, v in pairs(more or {}) do
    ctx[k] = v
  end
  return sampler.new(given, ctx)
end

-- At most n points of it.
local function ask(one, n)
  local out = {}
  for i = 1, n do
    out[i] = one:ask()
    if not out[i] then
      break
    end
  end
  return out
end

local function distinct(s, list)
  local seen, n = {}, 0
  for _, params in ipairs(list) do
    local key = s:key(params)
    n = n + (seen[key] and 0 or 1)
    seen[key] = true
  end
  return n
end

local cross = space.new({ fast = space.range(5, 25, 5), slow = space.range(10, 65, 5) }, function(p)
  return p.fast < p.slow
end)
local huge = space.new { a = space.range(1, 1000000), b = space.range(1, 1000000) }
local never = space.new({ fast = { 1, 2, 3 }, slow = { 1, 2 } }, function()
  return false
end)
local mixed = space.new {
  rate = space.log_uniform(1e-6, 1), n = space.integers(1, 200), kind = { "a", "b", "c", "d" },
  m = space.when("kind", { "b", "c" }, space.uniform(0, 1)),
}

describe("every sampler", function()
  it("gives the same for a seed, another for another, and leaves math.random alone", function()
    for _, name in ipairs { "random", "latin", "sobol", "tpe" } do
      local function run(seed)
        local one = new(name, mixed, { seed = seed, max_trials = 30 })
        local out = {}
        for i = 1, 30 do
          out[i] = one:ask()
          one:tell { number = i, state = "complete", params = out[i], value = out[i].n + out[i].rate }
        end
        return out
      end
      math.randomseed(5)
      local expected = math.random(1 << 60)
      math.randomseed(5)
      local first = run(3)
      assert.equal(expected, math.random(1 << 60), name)
      assert.same(first, run(3), name)
      assert.not_same(first, run(4), name)
    end
  end)

  it("stops with a clear error when where refuses everything", function()
    for _, name in ipairs { "grid", "random", "latin", "sobol", "tpe" } do
      local message, err = raises(function()
        return new({ name = name, patience = 500 }, never, { max_trials = 5 }):ask()
      end)
      assert.equal("invalid", err.code, name)
      says(message, "where refused", "fast =", "slow =")
    end
    local _, err = raises(function()
      return new("grid", never):ask()
    end)
    says(err.message, "all 6 points")
  end)

  it("hands on what where raises", function()
    local broken = space.new({ a = { 1, 2 } }, function(p)
      return p.b.c
    end)
    for _, name in ipairs { "grid", "random", "latin", "sobol", "tpe" } do
      local message, err = raises(function()
        return new(name, broken, { max_trials = 5 }):ask()
      end)
      assert.equal("invalid", err.code, name)
      says(message, "where failed at { a = ")
    end
  end)

  it("gives up after a million refusals in a row, if not told otherwise", function()
    local asked = 0
    local s = space.new({ a = space.range(1, 10000000) }, function(p)
      asked = asked + 1
      return p.a == 1
    end)
    local one = new("grid", s)
    assert.same({ a = 1 }, one:ask())
    local message = raises(one.ask, one)
    says(message, "1000000 points in a row after 1", "patience")
    assert.equal(1000001 + 20000, asked)
    one = new({ name = "grid", patience = 10 }, s)
    assert.same({ a = 1 }, one:ask())
    says(raises(one.ask, one), " 10 points in a row", "a = 11 ")
    -- A grid that only begins with what is not wanted is looked through.
    s = space.new({ a = space.range(1, 1000) }, function(p)
      return p.a > 900
    end)
    assert.equal(100, #ask(new({ name = "grid", patience = 10 }, s), 1000))
  end)

  it("is not asked for what it does not know", function()
    local function made(given, s, more)
      return raises(function()
        local one = sampler.new(given, { space = s or huge, seed = 1, max_trials = more })
        return one
      end)
    end
    says(made "gird", here, "\"gird\"", "did you mean 'grid'", "tpe", "ask")
    says(made(5), here, "5")
    says(made { ask = 5 }, here, "ask is a function")
    says(made { ask = print, tell = 1 }, here, "tell is a function")
    says(made { ask = print, name = 1 }, here, "name")
    says(made { name = "tpe", startup = 5 }, here, "sampler 'tpe'", "startup_trials")
    says(made { name = "tpe", gamma = 1.5 }, here, "gamma", "share")
    says(made { name = "tpe", candidates = 0 }, here, "candidates")
    says(made { name = "sobol", scramble = "yes" }, here, "scramble", "shift")
    says(made { name = "random", gamma = 1 }, here, "has no option")
    says(made("latin"), here, "max_trials")
    says(made("grid", mixed), here, "'m' is continuous", "random")
  end)
end)

describe("the grid sampler", function()
  it("gives every point that where wants once, in the order of nested loops", function()
    local points = ask(new("grid", cross), 1000)
    assert.equal(50, #points)
    assert.equal(50, distinct(cross, points))
    assert.same({ fast = 5, slow = 10 }, points[1])
    assert.same({ fast = 5, slow = 15 }, points[2])
    assert.same({ fast = 10, slow = 15 }, points[13])
    assert.same({ fast = 25, slow = 65 }, points[50])
    local one = new("grid", cross)
    ask(one, 50)
    assert.is_nil(one:ask())
    assert.is_nil(one:ask())
  end)

  it("is taken when nothing is said and there is a grid", function()
    assert.equal("grid", new(nil, cross).name)
    assert.equal("random", new(nil, mixed).name)
  end)

  it("does not write the grid out", function()
    collectgarbage()
    local before = collectgarbage "count"
    local one = new("grid", huge)
    for _ = 1, 20000 do
      one:ask()
    end
    assert.same({ a = 1, b = 20001 }, one:ask())
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 64)
  end)
end)

describe("the random sampler", function()
  it("gives every point of a grid once", function()
    local points = ask(new("random", cross), 1000)
    assert.equal(50, #points)
    assert.equal(50, distinct(cross, points))
    assert.not_same(ask(new("grid", cross), 50), points)
  end)

  it("repeats none of 10^12, and remembers none", function()
    collectgarbage()
    local before = collectgarbage "count"
    local one, sum, seen = new("random", huge), 0, {}
    for _ = 1, 20000 do
      local p = one:ask()
      local i = p.a * 1000000 + p.b
      assert.is_nil(seen[i])
      seen[i] = true
      sum = sum + p.a
    end
    assert.is_true(math.abs(sum / 20000 - 500000) < 10000)
    seen = nil -- luacheck: ignore
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 64)
  end)

  it("repeats none of more points than can be counted", function()
    local s = space.new { a = space.integers(1, 1 << 40), b = space.integers(1, 1 << 40) }
    assert.equal(1000, distinct(s, ask(new("random", s), 1000)))
  end)

  it("repeats no point that has no continuous parameter, where others have one", function()
    local s = space.new { kind = { "a", "b", "c" }, x = space.when("kind", "a", space.uniform(0, 1)) }
    local points = ask(new("random", s), 200)
    assert.equal(200, #points)
    assert.equal(200, distinct(s, points))
  end)
end)

describe("a Latin hypercube", function()
  it("has one point in every n-th of each parameter", function()
    local s = space.new { x = space.uniform(0, 1), y = space.log_uniform(1e-3, 1e3), z = space.integers(1, 50) }
    local points = ask(new("latin", s, { max_trials = 50 }), 1000)
    assert.equal(50, #points)
    local strata = { x = {}, y = {}, z = {} }
    for _, p in ipairs(points) do
      local u = assert(s:to_unit(p))
      for name, hit in pairs(strata) do
        local k = math.floor(u[name] * 50)
        assert.is_nil(hit[k], name)
        hit[k] = true
      end
    end
  end)

  it("makes up for what where refuses and for what a grid has given", function()
    assert.equal(40, distinct(cross, ask(new("latin", cross, { max_trials = 40 }), 1000)))
    assert.equal(50, distinct(cross, ask(new("latin", cross, { max_trials = 400 }), 1000)))
    assert.equal(7, #ask(new({ name = "latin", points = 7 }, huge), 1000))
  end)
end)

describe("Sobol's sequence", function()
  local function plain(many)
    local given = {}
    for d = 1, many do
      given[("p%02d"):format(d)] = space.uniform(0, 1)
    end
    return new({ name = "sobol", scramble = false }, space.new(given))
  end

  it("is that of Joe and Kuo", function()
    local one = plain(3)
    -- The first points that their own program prints.
    for _, expected in ipairs { { 0, 0, 0 }, { 0.5, 0.5, 0.5 }, { 0.75, 0.25, 0.25 }, { 0.25, 0.75, 0.75 },
      { 0.375, 0.375, 0.625 }, { 0.875, 0.875, 0.125 }, { 0.625, 0.125, 0.875 }, { 0.125, 0.625, 0.375 },
      { 0.1875, 0.3125, 0.9375 }, { 0.6875, 0.8125, 0.4375 } } do
      assert.same(expected, one:point())
    end
    -- Points of 37 dimensions, in 1024ths, as another program (scipy 1.10.1) has them. Number 682 is made of all of
    -- the first ten direction numbers.
    local expected = {
      [9] = { 704, 832, 448, 960, 64, 832, 960, 448, 448, 832, 192, 576, 448, 448, 320, 448, 320, 320, 448, 832, 704,
        192, 704, 448, 960, 576, 64, 704, 192, 448, 960, 320, 576, 448, 64, 960, 704 },
      [127] = { 8, 680, 568, 648, 488, 344, 248, 72, 424, 552, 632, 600, 904, 264, 616, 280, 984, 216, 696, 824, 552,
        504, 424, 856, 248, 488, 552, 8, 472, 328, 440, 136, 552, 104, 984, 392, 264 },
      [682] = { 1023, 261, 749, 451, 921, 263, 753, 303, 735, 669, 333, 275, 239, 987, 677, 753, 459, 411, 237, 429,
        557, 29, 583, 499, 23, 135, 59, 989, 723, 359, 425, 731, 185, 877, 311, 215, 67 },
      [1000] = { 225, 99, 531, 693, 287, 929, 47, 921, 513, 71, 87, 261, 165, 393, 147, 379, 737, 353, 1015, 743, 535,
        563, 973, 553, 597, 929, 41, 1003, 61, 349, 151, 149, 303, 607, 821, 789, 869 },
      [1023] = { 1, 771, 627, 149, 191, 449, 143, 633, 353, 871, 695, 37, 133, 681, 371, 475, 321, 897, 599, 327, 887,
        19, 813, 201, 245, 385, 521, 779, 861, 445, 951, 629, 463, 895, 341, 885, 965 },
    }
    one = plain(37)
    for i = 0, 1023 do
      local point = one:point()
      for d, k in ipairs(expected[i] or {}) do
        assert.equal(k / 1024, point[d], ("dimension %d of point %d"):format(d, i))
      end
    end
  end)

  it("is as even when it is scrambled", function()
    for _, scramble in ipairs { true, "shift" } do
      local given = {}
      for d = 1, 37 do
        given[("p%02d"):format(d)] = space.uniform(0, 1)
      end
      local one = new({ name = "sobol", scramble = scramble }, space.new(given), { seed = 8 })
      local strata, boxes = {}, {}
      for i = 1, 256 do
        local point = one:point()
        for d = 1, 37 do
          strata[d] = strata[d] or {}
          local k = math.floor(point[d] * 256)
          assert.is_nil(strata[d][k])
          strata[d][k] = true
        end
        -- The first two dimensions fill each of 16 by 16 boxes once, too.
        local box = math.floor(point[1] * 16) * 16 + math.floor(point[2] * 16)
        assert.is_nil(boxes[box])
        boxes[box] = true
        assert.is_true(i > 1 or point[1] ~= 0)
      end
    end
  end)

  it("ends with the grid, and leaves constants out", function()
    assert.equal(50, distinct(cross, ask(new("sobol", cross), 1000)))
    local given = {}
    for d = 1, 60 do
      given["c" .. d] = d
    end
    given.x = { 1, 2, 3 }
    assert.equal(3, #ask(new("sobol", space.new(given)), 10))
    for d = 1, 37 do
      given["x" .. d] = { 1, 2 }
    end
    says(raises(function()
      local one = sampler.new("sobol", { space = space.new(given), seed = 1 })
      return one
    end), here, "38 parameters", tostring(sobol.most))
  end)
end)

describe("a sampler of the user's", function()
  it("is set up, asked and told", function()
    local told, ctx = {}, nil
    local one = new({
      name = "mine",
      setup = function(self, given)
        self.rng, self.space, ctx = given.rng, given.space, given
      end,
      ask = function(self)
        return #told < 3 and self.space:sample(self.rng) or nil
      end,
      tell = function(_, trial)
        told[#told + 1] = trial.number
      end,
    }, mixed, { seed = 5, max_trials = 9 })
    assert.equal("mine", one.name)
    assert.same({ 5, "maximize", 9 }, { ctx.seed, ctx.direction, ctx.max_trials })
    local n = 0
    for params in function() return one:ask() end do
      assert(mixed:to_unit(params))
      n = n + 1
      one:tell { number = n }
    end
    assert.same({ 1, 2, 3 }, told)
    local bare = new({ ask = function() return { n = 5 } end }, mixed)
    assert.equal("custom", bare.name)
    bare:tell { number = 1 }
    assert.same({ n = 5 }, bare:ask())
    assert.not_equal(bare:ask(), bare:ask())
  end)

  it("that proposes what is no parameter is named", function()
    for _, case in ipairs {
      { 5, "number" }, { { m2 = 1 }, "m2" }, { { n = {} }, "table" }, { { n = 0 / 0 }, "nan" },
      { { n = math.huge }, "inf" }, { { [1] = 2 }, "1" },
    } do
      local one = new({ name = "odd", ask = function() return case[1] end }, mixed)
      local message, err = raises(one.ask, one)
      assert.equal("invalid", err.code)
      says(message, "sampler 'odd'", case[2])
    end
  end)

  it("is asked again for what where refuses, a million times in a row", function()
    local asked = 0
    local s = space.new({ n = space.range(1, 2 * sampler.patience) }, function(p)
      return p.n % 10 == 0 and p.n <= 30
    end)
    local one = new({ name = "upward", ask = function()
      asked = asked + 1
      return { n = asked }
    end }, s)
    for n = 10, 30, 10 do
      assert.same({ n = n }, one:ask())
    end
    local message, err = raises(one.ask, one)
    assert.equal("invalid", err.code)
    says(message, "refused 1000000 points", "after 3", "n = 1000030")
    assert.is_nil(message:find("patience", 1, true))
    assert.is_nil(new({ ask = function() end }, s):ask())
  end)

  it("may come from a plugin, by its name", function()
    local extra = {
      hill = function(given)
        return { ask = function() return { n = given.start } end }
      end,
      none = function() end,
    }
    local one = sampler.new({ name = "hill", start = 4 }, { space = mixed, seed = 1 }, extra)
    assert.equal("hill", one.name)
    assert.same({ n = 4 }, one:ask())
    says(raises(function()
      local other = sampler.new("none", { space = mixed, seed = 1 }, extra)
      return other
    end), here, "'none'", "plugin")
    says(raises(function()
      local other = sampler.new("hil", { space = mixed, seed = 1 }, extra)
      return other
    end), here, "did you mean 'hill'")
  end)
end)
