-- A study as a table: filter, sort, best, top, group, pivot, front, correlation, and print().
local study_module = require "moonsand.study"

local nan = 0 / 0

local function trial(number, params, value, more)
  local t = { number = number, state = "complete", params = params, value = value, metrics = { Sharpe = value } }
  for k, v in pairs(more or {}) do
    t[k] = v
  end
  return t
end

local function study(trials, meta)
  return study_module.new { trials = trials, meta = meta or { objective = "Sharpe", direction = "maximize" } }
end

local function numbers_of(list)
  local out = {}
  for i, t in ipairs(list) do
    out[i] = t.number
  end
  return out
end

local function raises(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "nothing was raised")
  return tostring(err)
end

local function small()
  return study {
    trial(1, { fast = 5, kind = "sma" }, 1.5),
    trial(2, { fast = 10, kind = "ema" }, 2.5),
    trial(3, { fast = 10, kind = "sma" }, nil, { state = "failed", reason = "timeout", metrics = {} }),
    trial(4, { fast = 5, kind = "ema" }, 2.5),
    trial(5, { fast = 15, kind = "sma" }, nan),
    trial(6, { fast = 15 }, 0.5, { state = "pruned" }),
  }
end

describe("a study", function()
  it("is read as a list", function()
    local s = small()
    assert.equal(6, #s)
    assert.equal(3, s[3].number)
    assert.is_nil(s[7])
    assert.same({ 1, 2, 3, 4, 5, 6 }, numbers_of(s))
    assert.equal(4, s:trial(4).number)
    assert.is_nil(s:trial(99))
    assert.equal(3, s:filter("failed"):trial(3).number)
  end)

  it("gives out lists that may be changed without harm", function()
    local s = small()
    local list = s:trials()
    table.remove(list, 1)
    assert.equal(6, #s)
  end)

  it("counts states, and failures by reason", function()
    local s = small()
    assert.same({ complete = 4, failed = 1, pruned = 1 }, s.states)
    assert.same({ timeout = 1 }, s.failures)
    assert.same({}, s:filter("complete").failures)
  end)

  it("keeps what else the sweep says of itself", function()
    local s = study_module.new { trials = {}, header = { script = "x.py" }, warnings = { "w" }, halted = "target" }
    assert.equal("x.py", s.meta.script)
    assert.same({ "w" }, s.warnings)
    assert.equal("target", s:filter("complete").halted)
    assert.same({ { name = "value", direction = "maximize" } }, s.objectives)
  end)

  it("refuses what is no list of trials", function()
    for _, case in ipairs {
      { nil, "list of trials" },
      { { trials = { 5 } }, "not a table" },
      { { trials = { { number = 1 } } }, "no number, params or state" },
      { { trials = { trial(1, {}, 1, { metrics = 5 }) } }, "metrics of trial 1" },
      { { trials = {}, meta = { direction = "up" } }, '"up"' },
      { { trials = {}, meta = 5 }, "meta must be a table" },
      { { trials = {}, meta = { objective = {} } }, "no objective" },
    } do
      local message = raises(study_module.new, case[1])
      assert.truthy(message:find(case[2], 1, true), message)
    end
  end)

  it("knows its columns", function()
    local s = small()
    assert.same({ params = { "fast", "kind" }, metrics = { "Sharpe" }, series = {} }, s:columns())
    local column = s:column "kind"
    assert.same({ "sma", "ema", "sma", "ema", "sma" }, column)
  end)
end)

describe("names", function()
  it("mean parameters first, then fields, then metrics", function()
    local s = study {
      trial(1, { wall_s = 7 }, 1, { wall_s = 3, metrics = { number = 99, fast = 4, ["params.x"] = 8 } }),
    }
    assert.same({ 7 }, s:column "wall_s")
    assert.same({ 3 }, s:column "trial.wall_s")
    assert.same({ 1 }, s:column "number")
    assert.same({ 99 }, s:column "metrics.number")
    assert.same({ 4 }, s:column "fast")
    assert.same({ 8 }, s:column "params.x")
  end)

  it("that do not exist raise at the caller's line, with the nearest that does", function()
    local s = small()
    local line = debug.getinfo(1, "l").currentline + 1
    local message = raises(function() local _ = s:sort "Sharp" end)
    assert.truthy(message:find('did you mean "Sharpe"', 1, true), message)
    assert.truthy(message:find("study_table_spec.lua:" .. line, 1, true), message)
    for name, f in pairs {
      filter = function() local _ = s:filter { nothing = 1 } end,
      trials = function() local _ = s:trials { nothing = 1 } end,
      group = function() local _ = s:group "nothing" end,
      top = function() local _ = s:top(1, "nothing") end,
      pivot = function() local _ = s:pivot("fast", "kind", "nothing") end,
      column = function() local _ = s:column "nothing" end,
      correlation = function() local _ = s:correlation("nothing", "fast") end,
      pareto = function() local _ = s:pareto { { "nothing", "maximize" } } end,
      importance = function() local _ = s:importance "nothing" end,
    } do
      message = raises(f)
      assert.truthy(message:find("study_table_spec.lua", 1, true), name .. ": " .. message)
      assert.truthy(message:find('"nothing"', 1, true), message)
    end
  end)

  it("raise nothing where no trial got as far as to have metrics", function()
    local s = study { trial(1, { fast = 1 }, nil, { state = "failed", metrics = {} }) }
    assert.equal(1, #s:sort "Return [%]")
    local other = study({ trial(1, {}, 1, { metrics = { x = 1 } }) }, { objective = "Sharpe" })
    assert.equal(1, #other:sort "Sharpe") -- the objective's own name is no mistake either
  end)
end)

describe("filter", function()
  it("takes a function, a state, or conditions", function()
    local s = small()
    assert.same({ 2, 4 }, numbers_of(s:filter(function(t)
      return t.value and t.value > 2
    end)))
    assert.same({ 6 }, numbers_of(s:filter "pruned"))
    assert.same({ 1, 3 }, numbers_of(s:filter { kind = "sma", fast = function(v)
      return v < 15
    end }))
    assert.same({ 2, 4 }, numbers_of(s:trials { Sharpe = 2.5 }))
    assert.truthy(raises(s.filter, s, 5):find("a function, a state or a table", 1, true))
  end)

  it("gives a study that answers for its own trials only", function()
    local s = small()
    assert.same({ "fast", "kind" }, s:columns().params)
    assert.same({ "fast" }, s:filter("pruned"):columns().params)
    assert.equal(1, s:filter({ kind = "sma" }):best().number)
  end)
end)

describe("sort", function()
  it("is stable, with NaN and nothing last in both directions", function()
    local s = small()
    assert.same({ 6, 1, 2, 4, 5, 3 }, numbers_of(s:sort "value"))
    assert.same({ 2, 4, 1, 6, 5, 3 }, numbers_of(s:sort("value", "desc")))
    assert.same({ 1, 4, 2, 3, 5, 6 }, numbers_of(s:sort "fast"))
    assert.same({ 5, 6, 2, 3, 1, 4 }, numbers_of(s:sort("fast", "desc")))
    assert.same({ 2, 4, 1, 3, 5, 6 }, numbers_of(s:sort "kind"))
    assert.same({ 1, 2, 3, 4, 5, 6 }, numbers_of(s)) -- unchanged
  end)

  it("puts numbers before texts before booleans, and does not fail for tables", function()
    local s = study {
      trial(1, { x = "b" }), trial(2, { x = true }), trial(3, { x = 2 }), trial(4, { x = false }),
      trial(5, { x = {} }), trial(6, { x = "a" }), trial(7, { x = -0.5 }), trial(8, { x = 2.0 }),
      trial(9, { x = math.huge }), trial(10, { x = -math.huge }),
    }
    assert.same({ 10, 7, 3, 8, 9, 6, 1, 4, 2, 5 }, numbers_of(s:sort "x"))
  end)

  it("takes a function for the key", function()
    assert.same({ 6, 5, 4, 3, 2, 1 }, numbers_of(small():sort(function(t)
      return -t.number
    end)))
  end)

  it("refuses another direction", function()
    assert.truthy(raises(small().sort, small(), "value", "down"):find('"down"', 1, true))
  end)
end)

describe("best and top", function()
  it("look at complete trials with a finite value, equal ones by number", function()
    local s = study {
      trial(4, {}, 3), trial(2, {}, 3), trial(1, {}, 9, { state = "pruned" }), trial(3, {}, math.huge),
      trial(5, {}, nan), trial(6, {}, 1), trial(7, {}, nil),
    }
    assert.equal(2, s:best().number)
    assert.same({ 2, 4, 6 }, numbers_of(s:top(10)))
    assert.same({ 2, 4 }, numbers_of(s:top(2)))
    assert.same({}, s:top(0))
  end)

  it("know the direction", function()
    local s = study({ trial(1, {}, 3), trial(2, {}, -3), trial(3, {}, -3) }, { direction = "minimize" })
    assert.same({ 2, 3, 1 }, numbers_of(s:top(5)))
  end)

  it("are nothing where nothing is complete", function()
    local s = study { trial(1, {}, nil, { state = "failed" }) }
    assert.is_nil(s:best())
    assert.same({}, s:top(3))
  end)

  it("by another column", function()
    local s = study {
      trial(1, { n = 5 }, 3), trial(2, { n = 8 }, 1), trial(3, { n = 8 }, 2), trial(4, {}, 2), trial(5, { n = nan }, 1),
    }
    assert.same({ 2, 3, 1 }, numbers_of(s:top(9, "n")))
    assert.same({ 1, 2 }, numbers_of(s:top(2, "n", "asc")))
  end)

  it("agree with sorting, for every n", function()
    local trials, seed = {}, 1
    for i = 1, 500 do
      seed = seed * 48271 % 2147483647
      trials[i] = trial(i, {}, seed % 50)
    end
    local s = study(trials)
    local sorted = numbers_of(s:sort("value", "desc"))
    for _, n in ipairs { 1, 2, 3, 7, 64, 499, 500, 1000 } do
      assert.same({ table.unpack(sorted, 1, math.min(n, 500)) }, numbers_of(s:top(n)))
    end
  end)

  it("with several objectives go by the first, then by the others", function()
    local meta = { objective = { { "a", "maximize" }, { "b", "minimize" } } }
    local s = study({
      trial(1, {}, nil, { values = { 2, 5 } }), trial(2, {}, nil, { values = { 2, 4 } }),
      trial(3, {}, nil, { values = { 1, 0 } }),
    }, meta)
    assert.same({ 2, 1, 3 }, numbers_of(s:top(3)))
    assert.equal(4, s:value(s[2], 2))
    assert.same({ 5, 4, 0 }, s:column "values.2")
  end)
end)

describe("group", function()
  it("makes a study for each value, in order, and the rest last", function()
    local groups = small():group "kind"
    assert.equal(3, #groups)
    assert.same({ "ema", "sma" }, { groups[1].value, groups[2].value })
    assert.is_nil(groups[3].value)
    assert.same({ 2, 4 }, numbers_of(groups[1].study))
    assert.same({ 1, 3, 5 }, numbers_of(groups[2].study))
    assert.same({ 6 }, numbers_of(groups[3].study))
    assert.equal(2, groups[1].study:best().number)
  end)
end)

describe("pivot", function()
  local function grid()
    local trials = {}
    for i, x in ipairs { 3, 1, 2 } do
      for j, y in ipairs { "b", "a" } do
        trials[#trials + 1] = trial(#trials + 1, { x = x, y = y, again = 1 }, i * 10 + j)
        trials[#trials + 1] = trial(#trials + 1, { x = x, y = y, again = 2 }, i * 10 + j + 4)
      end
    end
    return trials
  end

  it("has rows and columns in order and one number in each cell", function()
    local s = study(grid())
    local map = s:pivot("x", "y")
    assert.same({ 1, 2, 3 }, map.rows)
    assert.same({ "a", "b" }, map.columns)
    assert.same({ { 24, 23 }, { 34, 33 }, { 14, 13 } }, map.cells)
    assert.same({ { 2, 2 }, { 2, 2 }, { 2, 2 } }, map.counts)
    assert.same({ 13, 34, 0 }, { map.min, map.max, map.left_out })
    assert.same({ 22, 21 }, s:pivot("x", "y", "Sharpe", "min").cells[1])
    assert.same({ 26, 25 }, s:pivot("x", "y", "Sharpe", "max").cells[1])
    assert.same({ 24, 23 }, s:pivot("x", "y", "Sharpe", "median").cells[1])
    assert.same({ 2, 2 }, s:pivot("x", "y", "Sharpe", "count").cells[1])
    assert.same({ 22, 21 }, s:pivot("x", "y", "Sharpe", "first").cells[1])
    assert.same({ 48, 46 }, s:pivot("x", "y", "Sharpe", function(list)
      return list[1] + list[2]
    end).cells[1])
    assert.truthy(raises(s.pivot, s, "x", "y", "Sharpe", "sum"):find('"sum"', 1, true))
  end)

  it("leaves out NaN, failures, and trials without the row or the column", function()
    local s = study {
      trial(1, { x = 1, y = 1 }, 5), trial(2, { x = 1, y = 1 }, nan), trial(3, { x = 1 }, 9),
      trial(4, { x = 2, y = 2 }, 7), trial(5, { x = 2, y = 1 }, 100, { state = "failed" }), trial(6, { y = 2 }, 1),
    }
    local map = s:pivot("x", "y")
    assert.equal(5, map.cells[1][1])
    assert.is_nil(map.cells[1][2])
    assert.is_nil(map.cells[2][1])
    assert.equal(7, map.cells[2][2])
    assert.equal(3, map.left_out)
  end)

  it("has room for a great many trials in one cell", function()
    local trials = {}
    for i = 1, 300000 do
      trials[i] = { number = i, state = "complete", params = { x = 1, y = 1 }, value = i }
    end
    assert.equal(300000, study(trials):pivot("x", "y", nil, "max").cells[1][1])
  end)
end)

describe("the Pareto front", function()
  local function points(list)
    local trials = {}
    for i, p in ipairs(list) do
      trials[i] = trial(i, {}, 0, { metrics = { a = p[1], b = p[2], c = p[3] } })
    end
    return study(trials)
  end

  it("of two objectives, with equal points kept", function()
    local s = points { { 1, 9 }, { 5, 5 }, { 5, 5 }, { 4, 5 }, { 9, 1 }, { 9, 0 }, { 3, 7 }, { nan, 99 }, { 2, 7 } }
    assert.same({ 5, 2, 3, 7, 1 }, numbers_of(s:pareto { { "a", "maximize" }, { "b", "maximize" } }))
    assert.same({ 6 }, numbers_of(s:pareto { { "b", "minimize" }, { "a", "maximize" } }))
  end)

  it("agrees with trying all pairs, for two and three objectives", function()
    local list, seed = {}, 7
    for i = 1, 300 do
      list[i] = {}
      for k = 1, 3 do
        seed = seed * 48271 % 2147483647
        list[i][k] = seed % 12
      end
    end
    local s = points(list)
    for _, names in ipairs { { "a", "b" }, { "a", "b", "c" } } do
      local objectives, expected = {}, {}
      for k, name in ipairs(names) do
        objectives[k] = { name, k == 2 and "minimize" or "maximize" }
      end
      for i = 1, #list do
        local beaten = false
        for j = 1, #list do
          local as_good, better = true, false
          for k = 1, #names do
            local sign = k == 2 and -1 or 1
            as_good = as_good and sign * list[j][k] >= sign * list[i][k]
            better = better or sign * list[j][k] > sign * list[i][k]
          end
          beaten = beaten or as_good and better
        end
        if not beaten then
          expected[#expected + 1] = i
        end
      end
      local got = numbers_of(s:pareto(objectives))
      table.sort(got)
      assert.same(expected, got)
    end
  end)

  it("takes the sweep's own objectives", function()
    local s = study({
      trial(1, {}, nil, { values = { 2, 5 } }), trial(2, {}, nil, { values = { 2, 4 } }),
      trial(3, {}, nil, { values = { 1, 0 } }), trial(4, {}, nil, { values = { 1 } }),
    }, { objective = { { "a", "maximize" }, { "b", "minimize" } } })
    assert.same({ 2, 3 }, numbers_of(s:pareto()))
    assert.truthy(raises(s.pareto, s, { "a" }):find("objective 1", 1, true))
  end)
end)

describe("correlation", function()
  -- From scipy.stats.pearsonr and spearmanr.
  it("is Pearson's and Spearman's", function()
    local xs, ys = { 1, 2, 3, 4, 5, 6 }, { 2, 1, 4, 3, 7, 50 }
    local trials = {}
    for i = 1, 6 do
      trials[i] = trial(i, { x = xs[i] }, ys[i])
    end
    local r, rho, n = study(trials):correlation("x", "Sharpe")
    assert.truthy(math.abs(r - 0.71789296567330240784) < 1e-12, r)
    assert.truthy(math.abs(rho - 0.8857142857142857) < 1e-12, rho)
    assert.equal(6, n)
  end)

  it("leaves out pairs that are not two finite numbers", function()
    local s = study {
      trial(1, { x = 1 }, 1), trial(2, { x = 2 }, 2), trial(3, { x = "3" }, -9), trial(4, { x = nan }, -9),
      trial(5, {}, -9), trial(6, { x = 6 }, math.huge), trial(7, { x = 7 }, -9, { state = "pruned" }),
    }
    local r, rho, n = s:correlation("x", "Sharpe")
    assert.truthy(math.abs(r - 1) < 1e-12 and math.abs(rho - 1) < 1e-12)
    assert.equal(2, n)
  end)

  it("is nothing where one side does not vary", function()
    local r, rho, n = study({ trial(1, { x = 1 }, 1), trial(2, { x = 1 }, 2) }):correlation("x", "value")
    assert.is_nil(r)
    assert.is_nil(rho)
    assert.equal(2, n)
  end)
end)

describe("print(study)", function()
  it("shows states, reasons, and the best with their parameters", function()
    local shown = tostring(small())
    assert.equal([[
moonsand.Study: 6 trials: 4 complete, 1 pruned, 1 failed (1 timeout)
maximize Sharpe
  trial  Sharpe  fast  kind
      2     2.5    10  ema
      4     2.5     5  ema
      1     1.5     5  sma]], shown)
  end)

  it("lets nothing through to the terminal", function()
    local s = study({
      trial(1, { ["a\27[2Jb"] = "x\27]0;title\7\n" .. ("y"):rep(100) }, 1),
      trial(2, { ["a\27[2Jb"] = "z" }, nil, { state = "failed", reason = "\27[31m" }),
    }, { objective = "evil\r\27[A", direction = "maximize" })
    local shown = tostring(s)
    assert.falsy(shown:gsub("\n", ""):find "%c")
    for line in shown:gmatch "[^\n]+" do
      assert.truthy(#line < 120, line)
    end
  end)

  it("says so when there is nothing to show", function()
    assert.truthy(tostring(study {}):find("0 trials", 1, true))
    assert.truthy(tostring(study { trial(1, {}, nil, { state = "failed" }) }):find("no trial has a value", 1, true))
  end)
end)
