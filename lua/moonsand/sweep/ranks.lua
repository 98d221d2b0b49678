--- Numbers of which the n largest are kept apart from the others, n being a function of how many there are: the
--- median and the top quarter without sorting again for each of them. Two heaps, 16 bytes a number.
local M = {}

---@class moonsand.Ranks
---@field count integer
local Ranks = {}
Ranks.__index = Ranks

-- Heaps whose first is the smallest; that of the others holds the numbers' negatives.
local function push(heap, x)
  local i = #heap + 1
  while i > 1 do
    local up = i // 2
    if heap[up] <= x then
      break
    end
    heap[i], i = heap[up], up
  end
  heap[i] = x
end

local function pop(heap)
  local first, n = heap[1], #heap
  local x = heap[n]
  heap[n] = nil
  n = n - 1
  if n == 0 then
    return first
  end
  local i = 1
  while true do
    local down = 2 * i
    if down > n then
      break
    elseif down < n and heap[down + 1] < heap[down] then
      down = down + 1
    end
    if heap[down] >= x then
      break
    end
    heap[i], i = heap[down], down
  end
  heap[i] = x
  return first
end

---@param top fun(count: integer): integer how many of so many are the largest; it never shrinks
---@return moonsand.Ranks
function M.new(top)
  return setmetatable({ top = top, count = 0, high = {}, low = {} }, Ranks)
end

---@param x number not NaN
function Ranks:add(x)
  local high, low = self.high, self.low
  self.count = self.count + 1
  if #high > 0 and x > high[1] then
    push(high, x)
  else
    push(low, -x)
  end
  local wanted = self.top(self.count)
  while #high < wanted do
    push(high, -pop(low))
  end
  while #high > wanted do
    push(low, -pop(high))
  end
end

--- The smallest of the largest.
---@return number?
function Ranks:least_of_top()
  return self.high[1]
end

--- The largest of the others.
---@return number?
function Ranks:most_of_rest()
  return self.low[1] and -self.low[1]
end

return M
