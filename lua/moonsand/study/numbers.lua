--- Sums, moments, ranks and the normal distribution, as the rest of the study needs them.
---
--- Lists are plain Lua lists of finite numbers. Nothing here raises for data; what cannot be said is nil.
local M = {}

--- False for NaN, both infinities and what is no number at all.
---@param value any
---@return boolean
function M.finite(value)
  return type(value) == "number" and value - value == 0
end

---@param list number[]
---@return number? mean nil for an empty list
function M.mean(list)
  local n, sum = #list, 0.0
  for i = 1, n do
    sum = sum + list[i]
  end
  return n > 0 and sum / n or nil
end

--- The middle one, or the mean of the two in the middle. The list stays as it is.
---@param list number[]
---@return number?
function M.median(list)
  local n = #list
  if n == 0 then
    return nil
  end
  local sorted = table.move(list, 1, n, 1, {})
  table.sort(sorted)
  local half = n // 2
  return n % 2 == 1 and sorted[half + 1] or (sorted[half] + sorted[half + 1]) / 2
end

--- Mean and the central moments, in two passes: one pass over large numbers close together loses all digits.
---@param list number[]
---@return { n: integer, mean: number, m2: number, m3: number, m4: number }? moments each divided by n
function M.moments(list)
  local n, mean = #list, M.mean(list)
  if not mean then
    return nil
  end
  local m2, m3, m4 = 0.0, 0.0, 0.0
  for i = 1, n do
    local d = list[i] - mean
    local square = d * d
    m2, m3, m4 = m2 + square, m3 + square * d, m4 + square * square
  end
  return { n = n, mean = mean, m2 = m2 / n, m3 = m3 / n, m4 = m4 / n }
end

--- Of a sample: divided by n - 1.
---@param list number[]
---@return number? variance nil for fewer than two
function M.variance(list)
  local moments = #list > 1 and M.moments(list)
  return moments and moments.m2 * moments.n / (moments.n - 1) or nil
end

--- Ranks from 1; equal values share the mean of their ranks.
---@param list number[]
---@return number[]
function M.ranks(list)
  local n, order, ranks = #list, {}, {}
  for i = 1, n do
    order[i] = i
  end
  table.sort(order, function(a, b)
    return list[a] < list[b]
  end)
  local i = 1
  while i <= n do
    local j = i
    while j < n and list[order[j + 1]] == list[order[i]] do
      j = j + 1
    end
    for k = i, j do
      ranks[order[k]] = (i + j) / 2
    end
    i = j + 1
  end
  return ranks
end

--- Pearson's coefficient of two lists of one length.
---@param a number[]
---@param b number[]
---@return number? r nil for fewer than two pairs, and where one side does not vary
function M.pearson(a, b)
  local n, mean_a, mean_b = #a, M.mean(a), M.mean(b)
  if n < 2 then
    return nil
  end
  local aa, bb, ab = 0.0, 0.0, 0.0
  for i = 1, n do
    local x, y = a[i] - mean_a, b[i] - mean_b
    aa, bb, ab = aa + x * x, bb + y * y, ab + x * y
  end
  local scale = math.sqrt(aa) * math.sqrt(bb)
  if not (scale > 0 and scale < math.huge) then
    return nil
  end
  return math.max(-1.0, math.min(1.0, ab / scale))
end

-- Two forms, each where it is exact: a series of positive terms near 0, a continued fraction in the tail, so that
-- no two large numbers are ever subtracted.
local function erfc(x)
  if x < 0 then
    return 2.0 - erfc(-x)
  elseif x < 1.5 then
    local term, sum, n = x, x, 0
    repeat
      n = n + 1
      term = term * 2 * x * x / (2 * n + 1)
      sum = sum + term
    until term <= sum * 1e-17
    return 1.0 - 2 / math.sqrt(math.pi) * math.exp(-x * x) * sum
  elseif x > 27.5 then
    return 0.0
  end
  -- From the far end backwards: 120 steps are enough for 16 digits at 1.5, and more than that beyond.
  local fraction = x
  for k = 120, 1, -1 do
    fraction = x + k / 2 / fraction
  end
  return math.exp(-x * x) / math.sqrt(math.pi) / fraction
end

--- The probability that a standard normal number is at most x.
---@param x number
---@return number
function M.normal(x)
  return erfc(-x / math.sqrt(2)) / 2
end

--- The x with normal(x) = p, to the precision of a double, by Newton's method and without a table of constants.
---
--- For p up to 1/2, ln normal(x) is concave and -sqrt(-2 ln p) lies left of the answer, so that each step comes
--- closer from the left and none leaves the region. The other half is its mirror.
---@param p number 0 to 1; at the ends the answer is infinite
---@return number x NaN outside of 0 to 1
function M.normal_inverse(p)
  if not (p >= 0 and p <= 1) then
    return 0 / 0
  elseif p > 0.5 then
    return -M.normal_inverse(1 - p)
  elseif p == 0 then
    return -math.huge
  end
  local wanted = math.log(p)
  local x = -math.sqrt(-2 * wanted)
  for _ = 1, 100 do
    local below = M.normal(x)
    local slope = math.exp(-x * x / 2) / math.sqrt(2 * math.pi) / below
    local step = (wanted - math.log(below)) / slope
    x = x + step
    if math.abs(step) <= 1e-15 * math.max(1, math.abs(x)) or step < 0 then
      break
    end
  end
  return x
end

return M
