-- What a sweep's parameters may be: ranges that end where they say, grids that are never written out, parameters
-- that exist only beside others, and what is said of a space that makes no sense. Random numbers, too.
local random = require "moonsand.sweep.random"
local sampler = require "moonsand.sweep.sampler"
local space = require "moonsand.sweep.space"

local here = "spec/sweep_space_spec.lua:"

-- The message, which blames a line of this file.
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

local function values(dimension)
  local out = {}
  for i = 1, dimension.count do
    out[i] = dimension:at(i - 1)
  end
  return out
end

local function all(s)
  local out = {}
  for i = 1, s:size() do
    out[i] = s:at(i - 1)
  end
  return out
end

describe("a range", function()
  it("of integers has both ends, when the step leads to the second", function()
    assert.same({ 5, 10, 15, 20, 25, 30 }, values(space.range(5, 30, 5)))
    assert.same({ 1, 5, 9 }, values(space.range(1, 10, 4)))
    assert.same({ 1, 2, 3 }, values(space.range(1, 3)))
    assert.same({ 7 }, values(space.range(7, 7, 3)))
    assert.same({ -3, -1, 1 }, values(space.range(-3, 2.5, 2)))
    for _, value in ipairs(values(space.range(1, 3.5))) do
      assert.equal("integer", math.type(value))
    end
  end)

  it("of floats has the numbers that one would write down", function()
    assert.same({ 0.1, 0.2, 0.3 }, values(space.range(0.1, 0.3, 0.1)))
    assert.same({ 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0 }, values(space.range(0, 1, 0.1)))
    assert.same({ -0.3, -0.2, -0.1, 0.0, 0.1 }, values(space.range(-0.3, 0.15, 0.1)))
    assert.same({ 0.001, 0.002, 0.003 }, values(space.range(1e-3, 3e-3, 1e-3)))
    assert.same({ 1.5, 1.75, 2.0 }, values(space.range(1.5, 2, 0.25)))
    local thirds = space.range(0.0, 1.0, 1 / 3)
    assert.equal(4, thirds.count)
    assert.equal(1.0, thirds.high)
    assert.equal("float", math.type(space.range(0, 1, 0.5):at(0)))
  end)

  it("knows which of its values a number is", function()
    for _, d in ipairs { space.range(5, 30, 5), space.range(0, 1, 0.1), space.range(0.0, 1.0, 1 / 3),
      space.integers(-2, 2), space.choice { "a", 1, true, false, 2.5 } } do
      for i, value in ipairs(values(d)) do
        assert.equal(i - 1, d:find(value))
        assert.equal(value, d:from_unit(d:to_unit(value)))
      end
      for _, other in ipairs { 6, 0.05, -1e9, "b", 0 / 0 } do
        assert.is_nil(d:find(other))
      end
    end
  end)

  it("that makes no sense is named, with what is wrong", function()
    for _, case in ipairs {
      { "beyond its end", space.range, 30, 5, 5 }, { "above 0", space.range, 5, 30, 0 },
      { "above 0", space.range, 30, 5, -5 }, { "above 0", space.range, 0.0, 1.0, -0.1 },
      { "nan", space.range, 0 / 0, 1 },
      { "inf", space.range, 1, math.huge }, { "number", space.range, "1", 5 }, { "number", space.range, 1 },
      { "2^53", space.range, 0, 1, 1e-300 }, { "2^53", space.range, math.mininteger, math.maxinteger, 1 },
      { "beyond its end", space.integers, 3, 2 }, { "whole number", space.integers, 1.5, 2 },
      { "number", space.integers, 1, nil }, { "beyond its end", space.uniform, 1, 0 },
      { "constant", space.uniform, 1, 1 }, { "inf", space.uniform, 0, math.huge },
      { "widest", space.uniform, -1.7e308, 1.7e308 }, { "above 0", space.log_uniform, 0, 1 },
      { "number", space.log_uniform, {}, 1 },
    } do
      local message = raises(function()
        local d = case[2](case[3], case[4], case[5])
        return d
      end)
      says(message, here, case[1] == "widest" and "wider than the largest" or case[1])
    end
  end)
end)

describe("a list", function()
  it("has each value once, and is the caller's no longer", function()
    local given = { 1, 2, 2, 1.0, "1", true }
    local s = space.new { a = given }
    given[1] = 99
    assert.equal(4, s:size())
    assert.same({ { a = 1 }, { a = 2 }, { a = "1" }, { a = true } }, all(s))
  end)

  it("that cannot be one is named", function()
    for _, case in ipairs {
      { {}, "empty" }, { { 1, nil, 3 }, "holes" }, { { a = 1 }, "holes" }, { { 1, { 2 } }, "table" },
      { { 0 / 0 }, "nan" }, { { math.huge }, "inf" }, { { print }, "function" }, { { "\xff" }, "UTF-8" },
    } do
      says(raises(function()
        local s = space.new { speed = case[1] }
        return s
      end), here, "speed", case[2])
    end
    says(raises(function()
      local d = space.choice(5)
      return d
    end), here, "list")
    says(raises(function()
      local d = space.choice {}
      return d
    end), here, "empty")
  end)
end)

describe("a space", function()
  it("of 10^12 points takes no memory and finds each of them", function()
    collectgarbage()
    local before = collectgarbage "count"
    local s = space.new { a = space.range(1, 1000000), b = space.range(1, 1000000), c = "fixed" }
    assert.equal(10 ^ 12 // 1 | 0, s:size())
    assert.same({ a = 1, b = 1, c = "fixed" }, s:at(0))
    assert.same({ a = 1, b = 2, c = "fixed" }, s:at(1))
    assert.same({ a = 123457, b = 1, c = "fixed" }, s:at(123456000000))
    assert.same({ a = 1000000, b = 1000000, c = "fixed" }, s:at(s:size() - 1))
    assert.is_nil(s:at(s:size()))
    assert.is_nil(s:at(-1))
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 64)
  end)

  it("may have more points than an integer can count", function()
    local s = space.new { a = space.integers(1, 1 << 40), b = space.integers(1, 1 << 40) }
    assert.equal(2.0 ^ 80, s:size())
    assert.same({ a = 1, b = 6 }, s:at(5))
    assert.same({ a = 2, b = 1 }, s:at(1 << 40))
    local p = s:draw(random.new(1))
    assert.is_true(p.a > 1 << 20 and p.b > 1 << 20)
    s = space.new {
      kind = { "few", "many" }, a = space.when("kind", "many", space.integers(1, 1 << 40)),
      b = space.when("kind", "many", space.integers(1, 1 << 40)), c = { 1, 2 },
    }
    assert.equal(2.0 ^ 81, s:size())
    assert.same({ kind = "few", c = 1 }, s:at(0))
    assert.same({ kind = "few", c = 2 }, s:at(1))
    assert.same({ kind = "many", a = 1, b = 1, c = 1 }, s:at(2))
    assert.equal("many", s:draw(random.new(1)).kind)
  end)

  it("of constants has one point, and so has one of nothing", function()
    assert.same({ { cash = 10000, name = "x", flag = false } },
      all(space.new { cash = 10000, name = "x", flag = false }))
    assert.same({ {} }, all(space.new {}))
  end)

  it("with a continuous parameter has no grid", function()
    local s = space.new { a = { 1, 2 }, lr = space.log_uniform(1e-5, 1) }
    assert.is_nil(s:size())
    says(raises(function()
      local p = s:at(0)
      return p
    end), here, "'lr' is continuous")
    local low = 0
    local rng = random.new(4)
    for _ = 1, 1000 do
      local p = s:sample(rng)
      assert.is_true(p.lr >= 1e-5 and p.lr <= 1)
      low = low + (p.lr < 10 ^ -2.5 and 1 or 0)
    end
    assert.is_true(low > 430 and low < 570) -- half of the orders of magnitude
  end)

  it("is the same in whatever order it was written", function()
    local a, b = {}, {}
    for i = 1, 20 do
      a["p" .. i], b["p" .. 21 - i] = { i, -i }, { 21 - i, i - 21 }
    end
    a, b = space.new(a), space.new(b)
    assert.equal(a:signature(), b:signature())
    assert.same(a:sample(random.new(9)), b:sample(random.new(9)))
    assert.same(a:at(12345), b:at(12345))
    local texts = {}
    for _, given in ipairs { { a = { 1, 2 } }, { a = { "1", 2 } }, { a = { 2, 1 } }, { a = space.range(1, 2) },
      { a = space.range(1.0, 2) }, { a = { 1, 2 }, b = 1 }, { a = { 1, 2 }, b = space.when("a", 1, 1) },
      { a = { 1, 2 }, b = space.when("a", 2, 1) }, { a = space.uniform(1, 2) }, { a = space.log_uniform(1, 2) } } do
      local text = space.new(given):signature()
      assert.is_nil(texts[text])
      texts[text] = true
    end
  end)

  it("says what it has, a long list without its values", function()
    local s = space.new {
      a = space.range(0, 1, 0.5), b = { "x", "y" }, c = 5, d = space.when("b", "x", space.log_uniform(1, 10)),
      e = space.range(1, 5000),
    }
    assert.same({
      { name = "a", kind = "range", low = 0.0, high = 1.0, step = 0.5, values = { 0.0, 0.5, 1.0 } },
      { name = "b", kind = "list", values = { "x", "y" } },
      { name = "c", kind = "constant", values = { 5 } },
      { name = "d", kind = "log_uniform", low = 1.0, high = 10.0, log = true,
        when = { { name = "b", values = { "x" } } } },
      { name = "e", kind = "range", low = 1, high = 5000, step = 1 },
    }, s:describe())
  end)

  it("knows its points from other tables", function()
    local s = space.new { kind = { "a", "b" }, n = space.when("kind", "a", space.integers(1, 3)) }
    assert.same({ kind = 0.25, n = 0.5 }, s:to_unit { kind = "a", n = 2 })
    assert.same({ kind = 0.75 }, s:to_unit { kind = "b" })
    assert.same({ kind = "b" }, s:from_unit { kind = 0.75, n = 0.1 })
    for _, case in ipairs { { { kind = "a" }, "is missing" }, { { kind = "b", n = 2 }, "does not exist" },
      { { kind = "c" }, "never is" }, { { kind = "b", x = 1 }, "no such" }, { { kind = "a", n = 4 }, "never is" } } do
      local u, err = s:to_unit(case[1])
      assert.is_nil(u)
      assert.equal("invalid", err.code)
      says(err.message, case[2])
    end
    says(raises(function()
      s:from_unit { kind = 1 }
    end), here, "kind")
    assert.not_equal(s:key { kind = "a", n = 1 }, s:key { kind = "a", n = 2 })
    assert.equal(s:key { kind = "a", n = 1 }, s:key { kind = "a", n = 1.0 })
  end)

  it("that makes no sense is refused, with the line that made it", function()
    for _, case in ipairs {
      { 5, nil, "table of parameters" }, { nil, nil, "table of parameters" }, { { 1, 2 }, nil, "name" },
      { { [""] = 1 }, nil, "name" }, { { ["a\n"] = 1 }, nil, "name" }, { { a = print }, nil, "space.a", "function" },
      { { ["a  b"] = 1 }, nil, "name", "blanks" }, { { ["a "] = 1 }, nil, "name" }, { { [" a"] = 1 }, nil, "name" },
      { { ["a\u{200b}"] = 1 }, nil, "name", "cannot be seen" },
      { { a = 0 / 0 }, nil, "space.a", "nan" }, { { a = 1 }, "a < b", "where", "string" },
      { { a = space.when("kind", "x", 1), kin = { "x" } }, nil, "space.a", "kind", "did you mean kin" },
      { { a = space.when("k", "z", 1), k = { "x", "y" } }, nil, "space.a", "never is", "z" },
      { { a = space.when("k", 0.5, 1), k = space.uniform(0, 1) }, nil, "space.a", "continuous" },
      { { a = space.when("b", 1, 1), b = space.when("a", 1, 1), c = 2 }, nil, "a, b", "circle" },
      { { a = space.when("a", 1, { 1, 2 }) }, nil, "circle" },
    } do
      says(raises(function()
        local s = space.new(case[1], case[2])
        return s
      end), here, table.unpack(case, 3))
    end
    says(raises(function()
      local w = space.when("kind", "a")
      return w
    end), here, "third argument")
    says(raises(function()
      local w = space.when("kind", {}, 1)
      return w
    end), here, "empty")
    says(raises(function()
      local w = space.when(1, 1, 1)
      return w
    end), here, "name")
  end)
end)

describe("where", function()
  local given = { fast = space.range(5, 25, 5), slow = space.range(10, 65, 5) }

  it("says no to points", function()
    local s = space.new(given, function(p)
      return p.fast < p.slow
    end)
    assert.is_true(s:admits { fast = 5, slow = 10 })
    assert.is_false(s:admits { fast = 10, slow = 10 })
    assert.equal(60, s:size())
    assert.same({ 50, true }, { s:count() })
    local estimate, exact = s:count(59)
    assert.is_false(exact)
    assert.is_true(estimate > 48 and estimate < 52)
    assert.same({ 60, true }, { space.new(given):count() })
    assert.same({ n = 2, nil, false }, table.pack(space.new({ a = space.uniform(0, 1) }, print):count()))
  end)

  it("that writes into its parameters changes no point", function()
    local s = space.new({ a = { 1, 2 }, b = { 3 } }, function(p)
      p.a, p.b, p.c = p.a * 2, nil, true
      return p.a == 4
    end)
    local one = sampler.new("grid", { space = s })
    assert.same({ a = 2, b = 3 }, one:ask())
    assert.is_nil(one:ask())
  end)

  it("that raises is an error that names the point", function()
    local s = space.new(given, function(p)
      return p.fast < p.slov
    end)
    local ok, err = pcall(s.admits, s, { fast = 5, slow = 10 })
    assert.is_false(ok)
    assert.equal("invalid", err.code)
    says(err.message, "{ fast = 5, slow = 10 }", "nil")
    s = space.new(given, function()
      error "interrupted!"
    end)
    ok, err = pcall(s.admits, s, {})
    assert.is_false(ok)
    assert.equal("string", type(err)) -- Ctrl-C stays what it is
    s = space.new({ name = { "\27[2J" } }, function()
      error "\27[1mno"
    end)
    ok, err = pcall(s.admits, s, s:at(0))
    assert.is_false(ok)
    assert.is_nil(err.message:find "%c")
  end)
end)

describe("parameters that exist beside others only", function()
  it("leave no points that differ in nothing", function()
    local s = space.new {
      kind = { "sma", "ema", "none" }, fast = { 5, 10 },
      alpha = space.when("kind", "ema", { 0.1, 0.2 }),
      length = space.when("kind", { "sma", "ema" }, space.integers(1, 3)),
    }
    assert.equal(2 * (3 + 2 * 3 + 1), s:size())
    local nested = space.new {
      a = { false, true }, b = space.when("a", true, { "x", "y" }), c = space.when("b", "y", { 1, 2, 3 }),
      d = space.when("a", false, space.when("e", 7, { 8, 9 })), e = space.range(1, 1000000),
    }
    assert.equal(1000001 + 4 * 1000000, nested:size())
    assert.is_false(nested:at(0).a)
  end)

  -- All combinations written out, with those parts taken away that do not exist.
  local function brute(given, conditions, names)
    local out = {}
    local function go(i, params)
      if i > #names then
        local changed, p = true, {}
        for k, v in pairs(params) do
          p[k] = v
        end
        while changed do
          changed = false
          for name, list in pairs(conditions) do
            for _, c in ipairs(list) do
              local holds = false
              for _, v in ipairs(c[2]) do
                holds = holds or p[c[1]] == v
              end
              if not holds and p[name] ~= nil then
                p[name], changed = nil, true
              end
            end
          end
        end
        out[p] = true
        return
      end
      for _, v in ipairs(given[names[i]]) do
        params[names[i]] = v
        go(i + 1, params)
      end
    end
    go(1, {})
    return out
  end

  it("are counted exactly, however they hang together", function()
    local rng = random.new(77)
    for _ = 1, 150 do
      local names, lists, conditions, given = {}, {}, {}, {}
      for i = 1, 1 + rng:below(6) do
        local name = string.char(96 + i)
        names[i] = name
        lists[name], conditions[name] = {}, {}
        for v = 1, 1 + rng:below(3) do
          lists[name][v] = v
        end
        given[name] = lists[name]
        if i > 1 then
          for _ = 1, rng:below(3) do
            local other = names[1 + rng:below(i - 1)]
            local wanted = { 1 + rng:below(#lists[other]), 1 + rng:below(#lists[other]) }
            table.insert(conditions[name], { other, wanted })
            given[name] = space.when(other, wanted, given[name])
          end
        end
      end
      -- Names in another order than that of what depends on what.
      local s = space.new(given)
      local expected, count = {}, 0
      for p in pairs(brute(lists, conditions, names)) do
        local key = s:key(p)
        count = count + (expected[key] and 0 or 1)
        expected[key] = true
      end
      assert.equal(count, s:size(), s:signature())
      for i = 0, count - 1 do
        local p = s:at(i)
        local key = s:key(p)
        assert.is_true(expected[key], "twice, or none of them: " .. key .. " of " .. s:signature())
        expected[key] = nil
        assert.same(p, s:from_unit(assert(s:to_unit(p))))
      end
      assert(s:to_unit(s:draw(rng)))
      assert(s:to_unit(s:sample(rng)))
    end
  end)

  it("are drawn as often as they are of the points, or kind by kind", function()
    local s = space.new { kind = { "few", "many" }, n = space.when("kind", "many", space.integers(1, 99)) }
    local rng, drawn, sampled = random.new(3), 0, 0
    for _ = 1, 2000 do
      drawn = drawn + (s:draw(rng).kind == "few" and 1 or 0)
      sampled = sampled + (s:sample(rng).kind == "few" and 1 or 0)
    end
    assert.is_true(drawn < 60 and drawn > 3)
    assert.is_true(sampled > 900 and sampled < 1100)
  end)
end)

describe("random numbers", function()
  it("are those of xoshiro256** behind splitmix64", function()
    -- From the authors' programs, for the state 1, 2, 3, 4 and for the seed 1234567.
    local rng = setmetatable({ 1, 2, 3, 4 }, getmetatable(random.new(0)))
    for _, bits in ipairs { 11520, 0, 1509978240, 1215971899390074240, 1216172134540287360, 607988272756665600 } do
      assert.equal(bits, rng:bits())
    end
    local seeded = random.new(1234567)
    assert.equal(6457827717110365317, seeded[1])
    assert.equal(3203168211198807973, seeded[2])
  end)

  it("are the same for a seed and different for another, or for another stream", function()
    local function first(...)
      return random.new(...):bits()
    end
    assert.equal(first(5), first(5))
    assert.equal(first(5, "a"), first(5, "a"))
    assert.not_equal(first(5), first(6))
    assert.not_equal(first(5), first(5, "a"))
    assert.not_equal(first(5, "a"), first(5, "b"))
    says(raises(function()
      local rng = random.new(1.5)
      return rng
    end), here, "whole number")
  end)

  it("are spread evenly, and normally", function()
    local rng = random.new(11)
    local counts, sum, squares = {}, 0, 0
    for _ = 1, 7000 do
      local k = rng:below(7)
      counts[k] = (counts[k] or 0) + 1
      local z = rng:normal()
      sum, squares = sum + z, squares + z * z
      local u = rng:float()
      assert.is_true(u >= 0 and u < 1)
    end
    for k = 0, 6 do
      assert.is_true(math.abs(counts[k] - 1000) < 150)
    end
    assert.is_true(math.abs(sum / 7000) < 0.05 and math.abs(squares / 7000 - 1) < 0.06)
  end)

  it("put any number of things in order, each once", function()
    for _, n in ipairs { 1, 2, 3, 1000, 1024, 1025, 1026, 5000, 65537 } do
      local order, seen, moved = random.permutation(n, 7), {}, 0
      for i = 0, n - 1 do
        local x = order(i)
        assert.is_true(math.type(x) == "integer" and x >= 0 and x < n and not seen[x])
        seen[x] = true
        moved = moved + (x ~= i and 1 or 0)
      end
      assert.is_true(moved >= n * 0.9 - 3)
    end
    local other, same = random.permutation(5000, 8), 0
    for i = 0, 4999 do
      same = same + (other(i) == random.permutation(5000, 7)(i) and 1 or 0)
    end
    assert.is_true(same < 20)
    for _, n in ipairs { 10 ^ 12 // 1 | 0, math.maxinteger } do
      local order, seen, sum, low = random.permutation(n, 1), {}, 0.0, 0
      for i = 0, 19999 do
        local x = order(i)
        assert.is_true(x >= 0 and x < n and not seen[x])
        seen[x] = true
        sum, low = sum + x / n, low + (x % 1000 < 500 and 1 or 0)
      end
      assert.is_true(math.abs(sum / 20000 - 0.5) < 0.01)
      assert.is_true(math.abs(low - 10000) < 400)
      assert.is_true(order(n - 1) < n)
    end
  end)
end)
