-- The sampler that learns from trials: it is to beat chance by far, and never to ask for a point twice.
local sampler = require "moonsand.sweep.sampler"
local space = require "moonsand.sweep.space"

local function new(given, s, more)
  local ctx = { space = s, seed = 1, direction = "maximize" }
  for k, v in pairs(more or {}) do
    ctx[k] = v
  end
  return sampler.new(given, ctx)
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

local mixed = space.new {
  rate = space.log_uniform(1e-6, 1), n = space.integers(1, 200), kind = { "a", "b", "c", "d" },
  m = space.when("kind", { "b", "c" }, space.uniform(0, 1)),
}

describe("the model-based sampler", function()
  -- The best of n trials, for some seeds; the middle one of them.
  local function best(given, s, direction, f, trials)
    local out, sign = {}, direction == "minimize" and 1 or -1
    for seed = 1, 7 do
      local one = new(given, s, { seed = seed, direction = direction })
      out[seed] = math.huge
      for i = 1, trials do
        local p = one:ask()
        local value = f(p)
        out[seed] = math.min(out[seed], sign * value)
        one:tell { number = i, state = "complete", params = p, value = value }
      end
    end
    table.sort(out)
    return out[4]
  end

  it("finds the hollow of a bowl far better than chance does", function()
    local s = space.new { x = space.uniform(-5, 5), y = space.uniform(-5, 5) }
    local function bowl(p)
      return (p.x - 2) ^ 2 + (p.y + 1) ^ 2
    end
    local model, chance = best("tpe", s, "minimize", bowl, 60), best("random", s, "minimize", bowl, 60)
    assert.is_true(model < 0.1 * chance, ("%g is not far below %g"):format(model, chance))
    model = best("tpe", s, "maximize", function(p)
      return -bowl(p)
    end, 60)
    assert.is_true(model < 0.1 * chance)
  end)

  it("finds it in a space of numbers, names, and parameters beside others", function()
    local penalty = { a = 2, b = 0, c = 1, d = 3 }
    local function f(p)
      return (math.log(p.rate, 10) + 3) ^ 2 + ((p.n - 70) / 50) ^ 2 + penalty[p.kind]
        + (p.m and 4 * (p.m - 0.3) ^ 2 or 0.5)
    end
    local model, chance = best("tpe", mixed, "minimize", f, 70), best("random", mixed, "minimize", f, 70)
    assert.is_true(model < 0.1 * chance, ("%g is not far below %g"):format(model, chance))
  end)

  it("finds it on a grid, and repeats no point of it", function()
    local s = space.new({ fast = space.range(2, 60), slow = space.range(10, 250, 2) }, function(p)
      return p.fast < p.slow
    end)
    local function f(p)
      return ((p.fast - 17) / 20) ^ 2 + ((p.slow - 120) / 60) ^ 2
    end
    local model, chance = best("tpe", s, "minimize", f, 60), best("random", s, "minimize", f, 60)
    assert.is_true(model < 0.3 * chance, ("%g is not far below %g"):format(model, chance))
    local cross = space.new({ fast = space.range(5, 25, 5), slow = space.range(10, 65, 5) }, s.where)
    local one = new("tpe", cross)
    local points = {}
    for i = 1, 60 do
      local p = one:ask()
      points[i] = p
      if p then
        one:tell { number = i, state = "complete", params = p, value = p.fast }
      end
    end
    assert.equal(50, #points)
    assert.equal(50, distinct(cross, points))
  end)

  it("keeps away from where programs fail by themselves, not from where machines did", function()
    local s = space.new { kind = { "good", "bad" }, x = space.uniform(0, 1) }
    local function share(reason)
      local one, bad = new("tpe", s), 0
      for i = 1, 60 do
        local p = one:ask()
        bad = bad + (i > 30 and p.kind == "bad" and 1 or 0)
        if p.kind == "bad" then
          one:tell { number = i, state = "failed", reason = reason, params = p }
        else
          one:tell { number = i, state = "complete", params = p, value = 1 }
        end
      end
      return bad
    end
    assert.is_true(share "oom" < share "lost")
    assert.is_true(share "oom" <= 5)
  end)

  it("spreads what is asked at once", function()
    local s = space.new { x = space.uniform(0, 1) }
    -- The places asked, put into twenty boxes: how many boxes were hit, when those asked run on, or when they are lost.
    local function boxes(lost)
      local one, hit, n = new("tpe", s), {}, 0
      for i = 1, 30 do
        local p = one:ask()
        one:tell { number = i, state = "complete", params = p, value = -(p.x - 0.5) ^ 2 }
      end
      for i = 31, 70 do
        local p = one:ask()
        local box = math.floor(p.x * 20)
        n = n + (hit[box] and 0 or 1)
        hit[box] = true
        if lost then
          one:tell { number = i, state = "failed", reason = "lost", params = p }
        end
      end
      return n
    end
    local at_once, one_by_one = boxes(false), boxes(true)
    assert.is_true(at_once >= 2 * one_by_one, ("%d are not far more than %d"):format(at_once, one_by_one))
  end)

  it("learns from trials that others asked for, and takes no harm from nonsense", function()
    local s = space.new { x = space.uniform(0, 1) }
    local one = new("tpe", s)
    for i = 1, 40 do
      one:tell { number = i, state = "complete", params = { x = i / 41 }, value = -math.abs(i / 41 - 0.8) }
    end
    one:tell { number = 41, state = "complete", params = { y = 1 }, value = 1e9 }
    one:tell { number = 42, state = "complete", params = { x = 7 }, value = 1e9 }
    one:tell { number = 43, state = "complete", params = { x = 0.1 }, value = 0 / 0 }
    one:tell { number = 44, state = "complete", params = { x = 0.2 }, value = math.huge }
    one:tell { number = 45, state = "pruned", params = { x = 0.3 } }
    one:tell { number = 46, state = "complete", params = { x = 0.8 }, values = { 0.0, 5 } }
    local near = 0
    for _ = 1, 10 do
      near = near + (math.abs(one:ask().x - 0.8) < 0.25 and 1 or 0)
    end
    assert.is_true(near >= 7)
  end)
end)

describe("the order of trials", function()
  it("is that of their values, and of telling among equals", function()
    local random = require("moonsand.sweep.random").new(1, "order")
    local list, all = require("moonsand.sweep.ordered").new(), {}
    assert.is_nil(list:at(1))
    for i = 1, 3000 do
      local value = i % 7 == 0 and math.huge or random:below(50)
      list:add(i, value)
      all[i] = { i = i, value = value }
    end
    table.sort(all, function(a, b)
      if a.value ~= b.value then
        return a.value > b.value
      end
      return a.i < b.i
    end)
    assert.equal(3000, list.count)
    for i, one in ipairs(all) do
      assert.equal(one.i, list:at(i))
    end
    assert.is_nil(list:at(3001))
    for _, block in ipairs(list.blocks) do
      assert.is_true(#block <= 512)
    end
  end)
end)
