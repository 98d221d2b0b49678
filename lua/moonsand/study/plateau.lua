--- Is the neighbourhood of a point good too? A lone peak is luck more often than skill.
---
--- A neighbour differs from the trial in one parameter, by one step of the grid (with `diagonal`: in any number of
--- them, by one step each). A parameter with no order, such as a choice of texts, has no steps and must be equal. A
--- continuous one has no grid: there a step is anything within `radius` of its range, and since no two trials share a
--- value there, such parameters may differ together. Where a sampler has chosen points of a grid so thinly that fewer
--- than two neighbours were tried, all numbers are looked at in that way.
local numbers = require "moonsand.study.numbers"
local text = require "moonsand.text"

local M = {}

local continuous_kinds = { uniform = true, log_uniform = true }

-- An axis for each parameter: how far apart two values are. distance(a, b) is 0, 1 (a step), or more.
local function same_only(a, b)
  return a == b and 0 or 2
end

local function grid_axis(values)
  local index = {}
  for i, value in ipairs(values) do
    index[value] = i
  end
  return function(a, b)
    local i, j = index[a], index[b]
    if a == b then
      return 0
    end
    return i and j and math.abs(i - j) or 2
  end, index
end

local function smooth_axis(low, high, log, radius)
  if log and low > 0 then
    low, high = math.log(low), math.log(high)
  else
    log = false
  end
  local step = (high - low) * radius
  return function(a, b)
    if not (numbers.finite(a) and numbers.finite(b)) then
      return 2
    elseif a == b then
      return 0
    elseif log then
      if a <= 0 or b <= 0 then
        return 2
      end
      a, b = math.log(a), math.log(b)
    end
    return math.abs(a - b) <= step and 1 or 2
  end
end

-- Sorted distinct numbers, or nil when one of them is no number.
local function number_values(list)
  local seen, out = {}, {}
  for _, value in ipairs(list) do
    if not numbers.finite(value) then
      return nil
    elseif not seen[value] then
      seen[value] = true
      out[#out + 1] = value
    end
  end
  table.sort(out)
  return out
end

local function tried(study, name)
  local list = {}
  for _, trial in ipairs(study:trials()) do
    local value = trial.params[name]
    if value ~= nil then
      list[#list + 1] = value
    end
  end
  return list
end

local function axis_of(study, name, described, radius, smooth)
  local kind = described and described.kind
  local values = described and type(described.values) == "table" and described.values or tried(study, name)
  local grid = number_values(values)
  if not grid or #grid == 0 then
    return { name = name, distance = same_only }
  elseif continuous_kinds[kind] or smooth then
    described = described or {}
    local low, high = tonumber(described.low) or grid[1], tonumber(described.high) or grid[#grid]
    local log = described.log or kind == "log_uniform"
    return { name = name, distance = smooth_axis(low, high, log, radius), continuous = true }
  end
  local distance, index = grid_axis(grid)
  return { name = name, distance = distance, index = index, last = #grid }
end

local function axes_of(study, radius, smooth)
  local described, axes = {}, {}
  for _, dimension in ipairs(type(study.meta.params) == "table" and study.meta.params or {}) do
    if type(dimension) == "table" and dimension.name then
      described[dimension.name] = dimension
    end
  end
  for _, name in ipairs(study:columns().params) do
    axes[#axes + 1] = axis_of(study, name, described[name], radius, smooth)
  end
  return axes
end

local function is_neighbour(axes, here, there, diagonal)
  local steps, gridded = 0, 0
  for k = 1, #axes do
    local axis = axes[k]
    local distance = axis.distance(here[axis.name], there[axis.name])
    if distance > 1 then
      return false
    elseif distance == 1 then
      steps = steps + 1
      if not axis.continuous then
        gridded = gridded + 1
      end
    end
  end
  return steps > 0 and (diagonal or gridded <= 1)
end

-- Not more than (1 - threshold) worse, for both directions and both signs: of 10, 7 still reaches it when more is
-- better and 14.3 when less is; of a drawdown of -10, which should be large, -14.3.
local function bar(value, threshold, maximize)
  if maximize == (value >= 0) then
    return value * threshold
  end
  return value / threshold
end

-- The neighbours with a score, and how many others there are that came to an end.
local function look(trials, trial, axes, score, diagonal)
  local neighbours, failed = {}, 0
  for _, other in ipairs(trials) do
    if other ~= trial and is_neighbour(axes, trial.params, other.params, diagonal) then
      if score(other) then
        neighbours[#neighbours + 1] = other
      elseif other.state ~= "waiting" and other.state ~= "running" then
        failed = failed + 1
      end
    end
  end
  return neighbours, failed
end

local function describe(result, names)
  local n, kind = #result.neighbours
  local threshold = ("%g"):format(result.threshold)
  if n < 2 then
    kind = "unknown"
  elseif result.share >= 0.7 then
    kind = "plateau"
  else
    kind = result.share >= 0.3 and "slope" or "spike"
  end
  local parts = {}
  if n == 0 then
    parts[1] = "no neighbour of it was completed"
  else
    parts[1] = ("%d of %d %s within %s of it (mean %.6g, worst %.6g)"):format(
      result.reached, n, n == 1 and "neighbour is" or "neighbours are", threshold, result.mean, result.worst
    )
  end
  if result.radius then
    parts[1] = parts[1] .. (", neighbours being what differs by at most %g of each range"):format(result.radius)
  end
  if result.failed > 0 then
    parts[#parts + 1] = ("%d more did not complete"):format(result.failed)
  end
  if #names > 0 then
    parts[#parts + 1] = "it lies at the end of the range of " .. text.harmless(table.concat(names, ", "), 200)
      .. ", so better ones may lie beyond"
  end
  return kind, kind .. ": " .. table.concat(parts, "; ")
end

--- Looks around a trial.
---@param study moonsand.Study
---@param trial table complete, with a value
---@param score fun(trial: table): number? more is better; nil when it has no value
---@param options { threshold: number, radius: number, diagonal: boolean?, maximize: boolean }
---@return table result
---  kind: "plateau" (at least 0.7 of the neighbours reach the threshold), "slope" (at least 0.3), "spike", or
---  "unknown" (fewer than two neighbours); verdict: one line of text;
---  neighbours: the completed ones; failed: how many others were not completed; reached, share: how many and which
---  share of them is at most (1 - threshold) worse than the trial;
---  radius: set when neighbours were found by nearness, for want of tried ones on the grid;
---  mean, median, best, worst, min, max: of their objective; edge: parameters whose end of the grid it sits on;
---  beaten: share of all completed trials that the neighbours' mean is better than; trial, value, threshold.
function M.around(study, trial, score, options)
  local axes, trials = axes_of(study, options.radius), study:trials()
  local sign = options.maximize and 1 or -1
  local result = {
    trial = trial, value = sign * score(trial), threshold = options.threshold,
    reached = 0, edge = {},
  }
  result.neighbours, result.failed = look(trials, trial, axes, score, options.diagonal)
  if #result.neighbours + result.failed < 2 then
    local near, failed = look(trials, trial, axes_of(study, options.radius, true), score, options.diagonal)
    if #near >= 2 then
      result.neighbours, result.failed, result.radius = near, failed, options.radius
    end
  end
  local limit = sign * bar(result.value, options.threshold, options.maximize)
  local values = {}
  for i, other in ipairs(result.neighbours) do
    values[i] = sign * score(other)
    result.reached = result.reached + (score(other) >= limit and 1 or 0)
  end
  for _, axis in ipairs(axes) do
    local at = axis.index and axis.index[trial.params[axis.name]]
    if at and axis.last > 1 and (at == 1 or at == axis.last) then
      result.edge[#result.edge + 1] = axis.name
    end
  end
  if #values > 0 then
    table.sort(values)
    result.share = result.reached / #values
    result.mean, result.median = numbers.mean(values), numbers.median(values)
    result.min, result.max = values[1], values[#values]
    result.best = options.maximize and result.max or result.min
    result.worst = options.maximize and result.min or result.max
    local beaten, all = 0, 0
    for _, other in ipairs(trials) do
      local s = score(other)
      if s then
        all = all + 1
        beaten = beaten + (sign * result.mean > s and 1 or 0)
      end
    end
    result.beaten = beaten / all
  end
  result.kind, result.verdict = describe(result, result.edge)
  return result
end

return M
