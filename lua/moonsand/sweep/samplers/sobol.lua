--- Sobol's sequence: points that fill the space evenly from the first on, so that it can be stopped at any time; best
--- after a power of two. The direction numbers are those of Joe and Kuo (2008), "Constructing Sobol sequences with
--- better two-dimensional projections", their file new-joe-kuo-6.
local options = require "moonsand.options"
local random = require "moonsand.sweep.random"
local sampler = require "moonsand.sweep.sampler"

local M = {}

local bits = 52

-- For the second dimension and those after it: the coefficients of a primitive polynomial as a number, and the
-- first direction numbers, as many as its degree.
local table_of_joe_and_kuo = {
  { 0, 1 },
  { 1, 1, 3 },
  { 1, 1, 3, 1 },
  { 2, 1, 1, 1 },
  { 1, 1, 1, 3, 3 },
  { 4, 1, 3, 5, 13 },
  { 2, 1, 1, 5, 5, 17 },
  { 4, 1, 1, 5, 5, 5 },
  { 7, 1, 1, 7, 11, 19 },
  { 11, 1, 1, 5, 1, 1 },
  { 13, 1, 1, 1, 3, 11 },
  { 14, 1, 3, 5, 5, 31 },
  { 1, 1, 3, 3, 9, 7, 49 },
  { 13, 1, 1, 1, 15, 21, 21 },
  { 16, 1, 3, 1, 13, 27, 49 },
  { 19, 1, 1, 1, 15, 7, 5 },
  { 22, 1, 3, 1, 15, 13, 25 },
  { 25, 1, 1, 5, 5, 19, 61 },
  { 1, 1, 3, 7, 11, 23, 15, 103 },
  { 4, 1, 3, 7, 13, 13, 15, 69 },
  { 7, 1, 1, 3, 13, 7, 35, 63 },
  { 8, 1, 3, 5, 9, 1, 25, 53 },
  { 14, 1, 3, 1, 13, 9, 35, 107 },
  { 19, 1, 3, 1, 5, 27, 61, 31 },
  { 21, 1, 1, 5, 11, 19, 41, 61 },
  { 28, 1, 3, 5, 3, 3, 13, 69 },
  { 31, 1, 1, 7, 13, 1, 19, 1 },
  { 32, 1, 3, 7, 5, 13, 19, 59 },
  { 37, 1, 1, 3, 9, 25, 29, 41 },
  { 41, 1, 3, 5, 13, 23, 1, 55 },
  { 42, 1, 3, 7, 3, 13, 59, 17 },
  { 50, 1, 3, 1, 3, 5, 53, 69 },
  { 55, 1, 1, 5, 5, 23, 33, 13 },
  { 56, 1, 1, 7, 7, 1, 61, 123 },
  { 59, 1, 1, 7, 9, 13, 61, 49 },
  { 62, 1, 3, 3, 5, 3, 55, 33 },
}

--- Parameters that a space may have, at most.
M.most = #table_of_joe_and_kuo + 1

local function scramble_option(name, value, level)
  if type(value) == "boolean" or value == "shift" then
    return value
  end
  error(("option '%s': %s is not true (random matrices and a shift), \"shift\" or false"):format(name,
    options.show(value)), (level or 1) + 1)
end

M.options = { scramble = scramble_option, patience = options.count }

--- The direction numbers of a dimension: 52 fractions as numbers of 52 bits.
---@param dimension integer from 1
---@return integer[]
function M.directions(dimension)
  local v = {}
  if dimension == 1 then
    for j = 1, bits do
      v[j] = 1 << (bits - j)
    end
    return v
  end
  local row = table_of_joe_and_kuo[dimension - 1]
  local coefficients, degree = row[1], #row - 1
  for j = 1, math.min(degree, bits) do
    v[j] = row[j + 1] << (bits - j)
  end
  for j = degree + 1, bits do
    local x = v[j - degree] ~ (v[j - degree] >> degree)
    for k = 1, degree - 1 do
      if (coefficients >> (degree - 1 - k)) & 1 == 1 then
        x = x ~ v[j - k]
      end
    end
    v[j] = x
  end
  return v
end

local function parity(x)
  for _, step in ipairs { 32, 16, 8, 4, 2, 1 } do
    x = x ~ (x >> step)
  end
  return x & 1
end

-- A random lower triangular matrix over the bits (Matousek): points stay as even as they were, and their errors
-- become independent from seed to seed.
local function scrambled(v, rng)
  local rows = {}
  for r = 1, bits do
    local place = bits - r
    rows[r] = (1 << place) | (rng:bits() & ((1 << bits) - 1) & ~((1 << (place + 1)) - 1))
  end
  local out = {}
  for j = 1, bits do
    local x = 0
    for r = 1, bits do
      x = x << 1 | parity(rows[r] & v[j])
    end
    out[j] = x
  end
  return out
end

local Sobol = {}
Sobol.__index = Sobol

---@param own { scramble: boolean|"shift"|nil, patience: integer? } scramble: true; false is the plain sequence, whose
--- first point is the corner of all the smallest values
---@param ctx moonsand.SamplerContext
---@param level integer?
function M.new(own, ctx, level)
  local space = ctx.space
  local scramble = own.scramble == nil or own.scramble
  local self = setmetatable({
    space = space, index = 0, admitted = 0, patience = own.patience or sampler.patience, state = {}, directions = {},
    names = {}, seen = space:size() and {} or nil,
  }, Sobol)
  for _, name in ipairs(space.names) do
    if space.dimensions[name].count ~= 1 then -- a constant needs no dimension of the sequence
      self.names[#self.names + 1] = name
    end
  end
  if #self.names > M.most then
    error(("sampler 'sobol': the space has %d parameters, and it can do %d; take latin or random"):format(#self.names,
      M.most), (level or 1) + 1)
  end
  for d = 1, #self.names do
    local rng = random.new(random.hash(ctx.seed, "sobol", d))
    self.directions[d] = M.directions(d)
    if scramble == true then
      self.directions[d] = scrambled(self.directions[d], rng)
    end
    self.state[d] = scramble and rng:bits() >> (64 - bits) or 0
  end
  return self
end

--- The next point of the sequence, as numbers from 0 to 1.
---@return number[]
function Sobol:point()
  local u, state = {}, self.state
  for d = 1, #self.names do
    u[d] = state[d] * 0x1p-52
  end
  -- In the order of Gray's code, one direction number makes the next point from this one.
  local index, flipped = self.index, 1
  while index & 1 == 1 do
    index, flipped = index >> 1, flipped + 1
  end
  self.index = self.index + 1
  for d = 1, #self.names do
    state[d] = state[d] ~ self.directions[d][flipped]
  end
  return u
end

local function propose(self)
  local point, u = self:point(), {}
  for _, name in ipairs(self.space.names) do
    u[name] = 0.0 -- constants
  end
  for d, name in ipairs(self.names) do
    u[name] = point[d]
  end
  return self.space:from_unit(u)
end

--- The next point that `where` wants; on a grid, one that was not there before.
---@return table? params nil when the grid has no other
function Sobol:ask()
  return sampler.next_admitted(self, propose)
end

function Sobol.tell() end

return M
