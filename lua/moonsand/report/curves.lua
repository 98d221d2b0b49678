--- Series of chosen trials (equity curves and the like), thinned to what a chart can show.
local curve = require "moonsand.sweep.curve"
local encode = require "moonsand.report.encode"
local text = require "moonsand.text"

local M = {}

-- Four for every pixel of a wide chart would not be seen.
local points, most_series = 1500, 12

local function all_of(list, kind)
  for i = 1, #list do
    if type(list[i]) ~= kind then
      return false
    end
  end
  return #list > 0
end

-- One series with its index: x as texts (dates, says the page, if they are), as numbers, or none (the place).
local function one(all, name)
  local index = all[name .. ".index"]
  local ys, places, near = curve.whole(all, name)
  if #ys < 2 then
    return nil
  end
  if type(index) ~= "table" or #index ~= #all[name] or not (all_of(index, "string") or all_of(index, "number")) then
    index = nil
  end
  local keep, x, y = curve.thin(ys, points), {}, {}
  for i, k in ipairs(keep) do
    y[i] = ys[k]
    x[i] = index and index[near[k]] or places[k]
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
    if type(name) == "string" and not name:find "%.index$" and type(values) == "table"
      and not (name:find "%.extremes$" and series[name:sub(1, -10)]) then
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
    local series = one(trial.series, name)
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
