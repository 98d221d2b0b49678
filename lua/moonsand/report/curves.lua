--- Series of chosen trials (equity curves and the like), thinned to what a chart can show.
local encode = require "moonsand.report.encode"
local text = require "moonsand.text"

local M = {}

-- Four for every pixel of a wide chart would not be seen.
local points, most_series = 1500, 12

--- Places in `values` to keep: of each stretch the lowest and the highest, so that no peak and no drawdown is lost.
---@param values number[]
---@param max integer
---@return integer[]
function M.thin(values, max)
  local n, keep = #values, {}
  if n <= max then
    for i = 1, n do
      keep[i] = i
    end
    return keep
  end
  local stretches = max // 2 - 1
  keep[1] = 1
  for s = 1, stretches do
    local from, to = 2 + (s - 1) * (n - 2) // stretches, 1 + s * (n - 2) // stretches
    local low, high = from, from
    for i = from, to do
      low = values[i] < values[low] and i or low
      high = values[i] > values[high] and i or high
    end
    keep[#keep + 1] = math.min(low, high)
    if low ~= high then
      keep[#keep + 1] = math.max(low, high)
    end
  end
  keep[#keep + 1] = n
  return keep
end

local function all_of(list, kind)
  for i = 1, #list do
    if type(list[i]) ~= kind then
      return false
    end
  end
  return #list > 0
end

local function finite(list)
  local out, at = {}, {}
  for i = 1, #list do
    local v = list[i]
    if type(v) == "number" and v == v and v ~= math.huge and v ~= -math.huge then
      out[#out + 1], at[#at + 1] = v, i
    end
  end
  return out, at
end

-- One series with its index: x as texts (dates, says the page, if they are), as numbers, or none (the place).
local function one(values, index)
  local ys, at = finite(values)
  if #ys < 2 then
    return nil
  end
  if type(index) ~= "table" or #index ~= #values or not (all_of(index, "string") or all_of(index, "number")) then
    index = nil
  end
  local keep, x, y = M.thin(ys, points), {}, {}
  for i, k in ipairs(keep) do
    local place = at[k]
    y[i] = ys[k]
    x[i] = index and index[place] or place
    if type(x[i]) == "string" then
      x[i] = text.harmless(x[i], 40)
    end
  end
  if type(x[1]) == "number" then
    x = encode.numbers(x, #x)
  end
  return { x = x, y = encode.numbers(y, #y), indexed = index ~= nil }
end

local function names_of(series)
  local names = {}
  for name, values in pairs(series) do
    if type(name) == "string" and not name:find "%.index$" and type(values) == "table" then
      names[#names + 1] = name
    end
  end
  -- The equity is what most come for.
  table.sort(names, function(a, b)
    local ea, eb = a:lower() == "equity", b:lower() == "equity"
    if ea ~= eb then
      return ea
    end
    return a < b
  end)
  return names
end

--- Whether there is anything to draw.
---@param trial table
---@return boolean
function M.has(trial)
  return type(trial.series) == "table" and next(trial.series) ~= nil
end

--- Empty when the trial has no series of at least two numbers.
---@param trial table
---@return { name: string, x: any, y: any, indexed: boolean }[]
function M.of(trial)
  local out = {}
  if not M.has(trial) then
    return out
  end
  for _, name in ipairs(names_of(trial.series)) do
    local series = one(trial.series[name], trial.series[name .. ".index"])
    if series then
      series.name = text.harmless(name, 80)
      out[#out + 1] = series
      if #out == most_series then
        break
      end
    end
  end
  return out
end

return M
