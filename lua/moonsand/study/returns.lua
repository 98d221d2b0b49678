--- From an equity curve to returns, Sharpe ratios and drawdowns.
---
---     local returns = require "moonsand.study.returns"
---     local r = returns.of(trial.series.equity)
---     print(returns.sharpe(r, 252))       -- a year has 252 of them
local curve = require "moonsand.sweep.curve"
local numbers = require "moonsand.study.numbers"

local M = {}

--- The simple returns e[i] / e[i - 1] - 1. A curve that comes down to 0 or below has lost all: its return is -1 there
--- and 0 from then on. To leave such trials out would make the rest look better than they were.
---@param equity number[]
---@return number[]? returns one fewer than points; nil when the curve has fewer than two points, one that is no finite
---number, or does not begin above 0
function M.of(equity)
  if type(equity) ~= "table" or #equity < 2 then
    return nil
  end
  local before, out = equity[1], {}
  if not numbers.finite(before) or before <= 0 then
    return nil
  end
  for i = 2, #equity do
    local here = equity[i]
    if not numbers.finite(here) then
      return nil
    elseif before <= 0 then
      out[i - 1] = 0.0
    else
      out[i - 1] = math.max(here, 0) / before - 1
      before = here
    end
  end
  return out
end

--- Mean over standard deviation (of a sample: n - 1).
---@param list number[] returns
---@param periods_per_year number? multiplied by its root; 1 for the ratio of one period
---@return number? sharpe nil for fewer than two returns and where they do not vary
function M.sharpe(list, periods_per_year)
  local variance = numbers.variance(list)
  if variance and variance > 0 then
    return numbers.mean(list) / math.sqrt(variance) * math.sqrt(periods_per_year or 1)
  end
  return nil
end

--- The Sharpe ratio of each window of `window` returns, the first one ending at return number `window`.
---@param list number[] returns
---@param window integer 2 or more
---@param periods_per_year number?
---@return (number|false)[] series one for each window; false where nothing varies
function M.rolling_sharpe(list, window, periods_per_year)
  if math.type(window) ~= "integer" or window < 2 then
    error(("rolling_sharpe wants a window of 2 returns or more, got %s"):format(tostring(window)), 2)
  end
  local out = {}
  for last = window, #list do
    -- Anew for each window: sums that are kept up by adding and taking away lose what a flat stretch needs.
    out[#out + 1] = M.sharpe(table.move(list, last - window + 1, last, 1, {}), periods_per_year) or false
  end
  return out
end

--- How far below its highest point so far the curve is, as a share: 0 at a peak, -0.25 a quarter below.
---@param equity number[]
---@return number[] drawdowns as many as points
---@return number deepest
function M.drawdown(equity)
  local out, peak, deepest = {}, -math.huge, 0.0
  for i = 1, #equity do
    peak = math.max(peak, equity[i])
    local down = peak > 0 and equity[i] / peak - 1 or 0.0
    out[i] = down
    deepest = math.min(deepest, down)
  end
  return out, deepest
end

--- The returns of all trials in a list that have a usable curve.
---@param trials table[]
---@param series string name of the equity curve
---@return { trial: table, returns: number[], periods: number }[] usable periods: how many of the curve one return is
---over; above 1 when the curve was too long to be kept whole
---@return integer left_out trials without one
function M.all(trials, series)
  local out, left_out = {}, 0
  for _, trial in ipairs(trials) do
    local list = trial.series and M.of(trial.series[series])
    if list then
      out[#out + 1] = { trial = trial, returns = list, periods = (curve.length(trial.series, series) - 1) / #list }
    else
      left_out = left_out + 1
    end
  end
  return out, left_out
end

-- What two curves must have in common to be of the same bars. Texts and numbers of an index, as one text: with a
-- thousand trials every pair of lists would be too much to compare.
local function bars_of(set, name)
  local series = set.trial.series
  local index, parts = series[name .. ".index"], { #set.returns, curve.length(series, name) }
  if type(index) == "table" then
    for i = 1, #index do
      parts[i + 2] = tostring(index[i])
    end
  end
  return table.concat(parts, "\n")
end

--- The most of them that are of the same bars: of one length, with the same index where there is one, and of one data
--- set. Of groups with equally many, the one with the longest curves.
---@param sets { trial: table, returns: number[] }[] of all()
---@param name string of the series
---@param by_data boolean? the trials' parameter "data" names a data set
---@return table[] sets
---@return any data of the group, when it is asked for
function M.same_bars(sets, name, by_data)
  local groups, best = {}, {}
  for _, set in ipairs(sets) do
    local data = by_data and set.trial.params.data or nil
    local key = tostring(data) .. "\n" .. bars_of(set, name)
    local group = groups[key] or { data = data }
    groups[key], group[#group + 1] = group, set
    if best[1] == nil or #group > #best or #group == #best and #set.returns > #best[1].returns then
      best = group
    end
  end
  local data = best.data
  best.data = nil
  return best, data
end

return M
