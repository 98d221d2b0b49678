--- The trials that no other trial beats in every objective.
local M = {}

-- Best first by the first score, then by the second, and so on; equal points by number.
local function lexicographic(a, b)
  local x, y = a.scores, b.scores
  for k = 1, #x do
    if x[k] ~= y[k] then
      return x[k] > y[k]
    end
  end
  return a.trial.number < b.trial.number
end

local function dominates(x, y)
  local better = false
  for k = 1, #x do
    if x[k] < y[k] then
      return false
    elseif x[k] > y[k] then
      better = true
    end
  end
  return better
end

local function same(x, y)
  for k = 1, #x do
    if x[k] ~= y[k] then
      return false
    end
  end
  return true
end

--- In the order of the first score. Trials with the same scores on the front are all on it.
---
--- In lexicographic order a point can only be dominated by one before it. With two objectives it is enough to know
--- the best second score so far: n log n. With more, each point is held against the front found so far.
---@param points { trial: table, scores: number[] }[] more is better in every score; sorted in place
---@return table[] trials
function M.front(points)
  table.sort(points, lexicographic)
  local front, out = {}, {}
  for _, point in ipairs(points) do
    local scores, beaten = point.scores, false
    local last = front[#front]
    if #scores <= 2 and last then
      beaten = not same(last, scores) and (#scores < 2 or scores[2] <= last[2])
    else
      for _, other in ipairs(front) do
        if dominates(other, scores) then
          beaten = true
          break
        end
      end
    end
    if not beaten then
      front[#front + 1] = scores
      out[#out + 1] = point.trial
    end
  end
  return out
end

return M
