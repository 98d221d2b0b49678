--- A series that is too long to be kept as it is, an equity curve of many bars for one.
---
--- What is kept of it is even, for only then do its steps stand for equal times and have returns that can be counted.
--- But a fall of one bar is most likely between two points of that. So beside `equity` stand
---     equity.extremes         the lowest and highest of each stretch, the first and the last, in their order
---     equity.extremes.index   their places in the whole series, from 1; the last of them is its length
--- which the program's helper module writes, or outcome.lua. Of shorter series there are none.
local M = {}

local values_of, places_of = ".extremes", ".extremes.index"
local most = 1024 -- extremes

local floor, huge = math.floor, math.huge

--- Places in `values` to keep: of each stretch the lowest and the highest, so that no peak and no drawdown is lost.
---@param values number[] finite
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

--- The finite numbers of a list, and where they stand in it.
---@param list any[]
---@return number[] values, integer[] places
function M.finite(list)
  local out, at = {}, {}
  for i = 1, #list do
    local v = list[i]
    if type(v) == "number" and v == v and v ~= huge and v ~= -huge then
      out[#out + 1], at[#at + 1] = v, i
    end
  end
  return out, at
end

--- May this series have extremes: is it no index, and not itself what stands beside another?
---@param name string
---@return boolean
function M.may_have(name)
  return name:sub(-6) ~= ".index" and name:sub(-#values_of) ~= values_of
end

--- Are both there of what keep_extremes() puts there?
---@param series table<string, any[]>
---@param name string
---@return boolean
function M.has_extremes(series, name)
  return series[name .. values_of] ~= nil and series[name .. places_of] ~= nil
end

--- Puts the extremes of a whole series beside what is kept of it, unless they are there.
---@param series table<string, any[]>
---@param name string
---@param whole any[]
function M.keep_extremes(series, name, whole)
  if M.has_extremes(series, name) then
    return
  end
  local finite, at = M.finite(whole)
  local values, places = {}, {}
  for i, k in ipairs(M.thin(finite, most)) do
    values[i], places[i] = finite[k], at[k]
  end
  if places[#places] ~= #whole then
    values[#values + 1], places[#places + 1] = 0 / 0, #whole
  end
  series[name .. values_of], series[name .. places_of] = values, places
end

-- As a program may have written them: nil unless they are of a series longer than what is kept.
local function extremes_of(series, name)
  local kept, values, places = series[name], series[name .. values_of], series[name .. places_of]
  if type(values) ~= "table" or type(places) ~= "table" or #values ~= #places then
    return nil
  end
  local length = math.tointeger(places[#places])
  if not length or length <= #kept or length > 1 << 53 then
    return nil
  end
  return length, values, places
end

--- How many points the series had.
---@param series table<string, any[]>
---@param name string
---@return integer length that of what is kept when it is all
function M.length(series, name)
  return extremes_of(series, name) or #series[name]
end

--- The finite values of a series with its extremes among them, in the order of their places.
---@param series table<string, any[]>
---@param name string
---@return number[] values
---@return integer[] places in the whole series
---@return integer[] nearest the place of each in what is kept
function M.whole(series, name)
  local kept = series[name]
  local length, values, places = extremes_of(series, name)
  local ys, at = M.finite(kept)
  if not length then
    return ys, at, at
  end
  local points, step = {}, (length - 1) / math.max(1, #kept - 1)
  for i, y in ipairs(ys) do
    points[i] = { place = 1 + floor((at[i] - 1) * step + 0.5), near = at[i], y = y }
  end
  for i = 1, #values do
    local y, place = values[i], math.tointeger(places[i])
    if type(y) == "number" and y - y == 0 and place and place >= 1 and place <= length then
      points[#points + 1] = { place = place, near = 1 + floor((place - 1) / step + 0.5), y = y }
    end
  end
  table.sort(points, function(a, b)
    if a.place ~= b.place then
      return a.place < b.place
    end
    return a.y < b.y
  end)
  local out, out_places, near = {}, {}, {}
  for i, point in ipairs(points) do
    out[i], out_places[i], near[i] = point.y, point.place, point.near
  end
  return out, out_places, near
end

return M
