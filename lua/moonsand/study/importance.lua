--- How much of the objective's variation each parameter is answerable for.
---
--- Method: a random forest of 64 regression trees learns the objective from the parameters of the completed trials.
--- A parameter's importance is its total Sobol index in the forest, by Jansen's estimator: half the mean square of
--- the change in the forest's answer when this parameter alone takes the value that another trial had. That counts
--- what it does by itself and together with others (f = x * y has two important parameters, though neither does
--- anything by itself). The indices are divided by their sum, so that the importances sum to 1.
---
--- Deterministic: the same trials in the same order give the same numbers. Numbers, texts and booleans alike; of
--- numbers only the order counts, not the scale. A conditional parameter is varied only in the trials that have it,
--- so it gets little when it is seldom active. A parameter with one value only gets 0.
---
--- `explained` says how well the forest predicts trials that it has not seen (R2, out of the bag): near 0 or below,
--- the objective does not depend on the parameters in a way that these trials show, and the numbers mean nothing.
local errors = require "moonsand.errors"
local forest = require "moonsand.study.forest"
local numbers = require "moonsand.study.numbers"

local M = {}

local most_trials = 2000 -- more do not make the picture clearer, and the trees are grown in plain Lua
local most_points = 500 -- at which the answer's change is looked at
local donors = 4 -- other values tried at each

-- Every k-th trial in an order shuffled by a fixed seed: the first 2,000 of a grid would be a corner of it.
local function thin(trials)
  local n = #trials
  local out = table.move(trials, 1, n, 1, {})
  if n <= most_trials then
    return out
  end
  local draw = forest.generator(1)
  for i = 1, most_trials do
    local j = i - 1 + draw(n - i + 1)
    out[i], out[j] = out[j], out[i]
  end
  return table.move(out, 1, most_trials, 1, {})
end

local function varies(column)
  local bins = column.bins
  for i = 2, #bins do
    if bins[i] ~= bins[1] then
      return true
    end
  end
  return false
end

-- The columns that vary, and where each parameter's is. Those that all trials have come first, for the first of equals
-- wins in a tree: where "kind is sma" and "the window of sma is there" part the trials alike, the kind did it.
local function columns_of(trials, names)
  local columns, at = {}, {}
  local binned, always = {}, {}
  for _, name in ipairs(names) do
    local values = {}
    always[name] = true
    for i, trial in ipairs(trials) do
      values[i] = trial.params[name]
      always[name] = always[name] and values[i] ~= nil
    end
    binned[name] = forest.bin(values, #trials)
  end
  for _, wanted in ipairs { true, false } do
    for _, name in ipairs(names) do
      if always[name] == wanted and varies(binned[name]) then
        columns[#columns + 1] = binned[name]
        at[name] = #columns
      end
    end
  end
  return columns, at
end

local function explained(trees, drawn, columns, y)
  local mean, error_sum, total, seen_by_some = numbers.mean(y), 0.0, 0.0, 0
  local point = {}
  for i = 1, #y do
    for k, column in ipairs(columns) do
      point[k] = column.bins[i]
    end
    local sum, n = 0.0, 0
    for t, tree in ipairs(trees) do
      if not drawn[t][i] then
        sum, n = sum + forest.predict(tree, point), n + 1
      end
    end
    if n > 0 then
      seen_by_some = seen_by_some + 1
      error_sum = error_sum + (y[i] - sum / n) ^ 2
      total = total + (y[i] - mean) ^ 2
    end
  end
  return seen_by_some > 0 and total > 0 and 1 - error_sum / total or nil
end

local function answer(trees, point)
  local sum = 0.0
  for t = 1, #trees do
    sum = sum + forest.predict(trees[t], point)
  end
  return sum / #trees
end

-- The total index of each parameter, not yet divided by their sum.
local function indices(trees, columns, n)
  local step = math.max(1, n // most_points)
  local draw, effects, points = forest.generator(2), {}, 0
  local active = {}
  for k, column in ipairs(columns) do
    effects[k], active[k] = 0.0, {}
    for i = 1, n do
      if column.present[i] then
        table.insert(active[k], i)
      end
    end
  end
  local point = {}
  for i = 1, n, step do
    points = points + 1
    for k, column in ipairs(columns) do
      point[k] = column.bins[i]
    end
    local base = answer(trees, point)
    for k, column in ipairs(columns) do
      if column.present[i] then
        local own = column.bins[i]
        for _ = 1, donors do
          point[k] = column.bins[active[k][draw(#active[k])]]
          if point[k] ~= own then
            effects[k] = effects[k] + (answer(trees, point) - base) ^ 2 / 2
          end
        end
        point[k] = own
      end
    end
  end
  for k = 1, #columns do
    effects[k] = effects[k] / (points * donors)
  end
  return effects
end

--- The shares of all parameters.
---@param study moonsand.Study
---@param trials table[] completed, each with a score
---@param score fun(trial: table): number
---@return { name: string, importance: number }[]? list largest first
---@return table|moonsand.Error facts shares (name -> importance), explained (may be nil), trials; or why there is no
---list: fewer than 4 trials, an objective or parameters that never change
function M.of(study, trials, score)
  local names = study:columns().params
  if #trials < 4 then
    return errors.fail("invalid", ("importance needs 4 completed trials or more, and there are %d"):format(#trials))
  end
  local some = thin(trials)
  local n, y = #some, {}
  for i, trial in ipairs(some) do
    y[i] = score(trial) + 0.0
  end
  local moments = numbers.moments(y)
  if not (moments.m2 > 1e-24 * moments.mean * moments.mean and moments.m2 < math.huge) then
    return errors.fail("invalid", "the objective is the same in all trials: no parameter makes a difference")
  end
  local scale = math.sqrt(moments.m2)
  for i = 1, n do
    y[i] = (y[i] - moments.mean) / scale
  end
  local columns, at = columns_of(some, names)
  if #columns == 0 then
    return errors.fail("invalid", "all parameters have the same value in all trials")
  end

  local min_leaf = n < 40 and 1 or math.max(2, n // 200)
  local trees, drawn = forest.grow(columns, y, { trees = 64, min_leaf = min_leaf, seed = 0 })
  local effects = indices(trees, columns, n)
  local sum = 0.0
  for _, effect in ipairs(effects) do
    sum = sum + effect
  end
  if sum == 0 then
    return errors.fail("invalid", "these trials do not show which parameter makes a difference; more are needed")
  end
  -- Beside the list, not in it: who goes through the list with pairs() is to find parameters and nothing else.
  local result, facts = {}, { explained = explained(trees, drawn, columns, y), trials = n, shares = {} }
  for _, name in ipairs(names) do
    local share = at[name] and effects[at[name]] / sum or 0.0
    facts.shares[name] = share
    result[#result + 1] = { name = name, importance = share }
  end
  table.sort(result, function(a, b)
    if a.importance ~= b.importance then
      return a.importance > b.importance
    end
    return a.name < b.name
  end)
  return result, facts
end

return M
