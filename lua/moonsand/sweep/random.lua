--- Random numbers that are the same for the same seed on every machine, in every version and in any order of
--- tables: xoshiro256** behind splitmix64, both published by Blackman and Vigna. math.random is left alone.
local M = {}

local golden = 0x9e3779b97f4a7c15

--- 64 bits well mixed: every bit of x has a say in every bit of the answer; a bijection.
---@param x integer
---@return integer
local function mix(x)
  x = (x ~ (x >> 30)) * 0xbf58476d1ce4e5b9
  x = (x ~ (x >> 27)) * 0x94d049bb133111eb
  return x ~ (x >> 31)
end

M.mix = mix

--- One number of several: a seed and, say, a dimension and a point. Texts count byte by byte.
---@param seed integer
---@param ... integer|string
---@return integer
function M.hash(seed, ...)
  local h = mix(seed + golden)
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    if type(part) == "string" then
      for j = 1, #part do
        h = mix((h ~ part:byte(j)) + golden)
      end
      part = #part
    end
    h = mix((h ~ part) + golden)
  end
  return h
end

--- 53 of 64 random bits as a number from 0, 1 left out.
---@param bits integer
---@return number
function M.unit(bits)
  return (bits >> 11) * 0x1p-53
end

---@class moonsand.Random
local Random = {}
Random.__index = Random

--- A generator.
---@param seed integer
---@param stream string? generators of one seed and different streams have nothing in common
---@return moonsand.Random
function M.new(seed, stream)
  local at = math.tointeger(seed)
  if not at then
    error(("a seed is a whole number, got %s"):format(tostring(seed)), 2)
  end
  if stream then
    at = M.hash(at, stream)
  end
  local self = setmetatable({}, Random)
  for i = 1, 4 do
    at = at + golden
    self[i] = mix(at)
  end
  return self
end

--- 64 random bits.
---@return integer
function Random:bits()
  local a, b, c, d = self[1], self[2], self[3], self[4]
  local out = b * 5
  out = ((out << 7) | (out >> 57)) * 9
  c, d = c ~ a, d ~ b
  self[2] = b ~ c
  self[1] = a ~ d
  self[3] = c ~ (b << 17)
  self[4] = (d << 45) | (d >> 19)
  return out
end

--- From 0, 1 left out.
---@return number
function Random:float()
  return (self:bits() >> 11) * 0x1p-53
end

--- A whole number from 0 to n - 1, each as likely as the other.
---@param n integer 1 or more
---@return integer
function Random:below(n)
  if n < 1 then
    error(("there is no whole number from 0 to %d"):format(n - 1), 2)
  end
  -- What lies beyond the last whole multiple of n would favour the small ones.
  local last = math.maxinteger - math.maxinteger % n
  local x
  repeat
    x = self:bits() >> 1
  until x < last
  return x % n
end

--- From the normal distribution with mean 0 and deviation 1.
---@return number
function Random:normal()
  local u = 1 - self:float() -- never 0
  return math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * self:float())
end

--- Puts a list into a random order, in its place.
---@generic T
---@param list T[]
---@return T[] list
function Random:shuffle(list)
  for i = #list, 2, -1 do
    local j = self:below(i) + 1
    list[i], list[j] = list[j], list[i]
  end
  return list
end

-- So few numbers are shuffled as they are: rounds over a rectangle of few fields reach few of the orders.
local few = 1024
local rounds = 6

local function shuffled(n, seed)
  local list = {}
  for i = 1, n do
    list[i] = i - 1
  end
  M.new(seed, "shuffle"):shuffle(list)
  return function(i)
    return list[i + 1]
  end
end

--- A random order of the numbers 0 to n - 1 that costs no memory, however many they are: a Feistel network over a
--- rectangle of just over n fields, walked on when it leads to one of the few fields beyond n.
---@param n integer 1 or more
---@param seed integer
---@return fun(i: integer): integer at the number that stands at place i (from 0)
function M.permutation(n, seed)
  if n < 1 then
    error(("there is no order of %d numbers"):format(n), 2)
  elseif n <= few then
    return shuffled(n, seed)
  end
  local high = math.ceil(math.sqrt(n))
  local low = n // high + (n % high > 0 and 1 or 0)
  local keys = {}
  for round = 1, rounds do
    keys[round] = M.hash(seed, "order", round)
  end
  local ult = math.ult
  return function(i)
    local a, b = i // low, i % low
    repeat
      for round = 1, rounds, 2 do
        a = (a + (mix(b + keys[round]) >> 1) % high) % high
        b = (b + (mix(a + keys[round + 1]) >> 1) % low) % low
      end
      -- Near 2^63 the fields beyond n have numbers that are negative here.
      i = a * low + b
    until ult(i, n)
    return i
  end
end

return M
