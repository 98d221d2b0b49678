--- Latin hypercube: n points, and in each parameter one in every n-th of its values. Points that `where` refuses, or
--- that a grid has already given, are made up for by points of further hypercubes.
local options = require "moonsand.options"
local random = require "moonsand.sweep.random"
local sampler = require "moonsand.sweep.sampler"

local M = { options = { points = options.count, patience = options.count } }

local Latin = {}
Latin.__index = Latin

---@param own { points: integer?, patience: integer? } points: max_trials, if not given
---@param ctx moonsand.SamplerContext
---@param level integer?
function M.new(own, ctx, level)
  local points = own.points or ctx.max_trials
  if not points then
    error("sampler 'latin': it must know how many points to spread; give max_trials, or { name = \"latin\", "
      .. "points = N }", (level or 1) + 1)
  end
  return setmetatable({
    space = ctx.space, seed = ctx.seed, points = points, round = 0, place = points, admitted = 0,
    patience = own.patience or sampler.patience, seen = ctx.space:size() and {} or nil,
  }, Latin)
end

-- Nothing of a hypercube is kept but the orders of its parameters, which cost nothing.
local function next_round(self)
  self.round, self.place, self.orders = self.round + 1, 0, {}
  for _, name in ipairs(self.space.names) do
    self.orders[name] = random.permutation(self.points, random.hash(self.seed, "latin", name, self.round))
  end
end

local function propose(self)
  if self.place == self.points then
    next_round(self)
  end
  local u, place = {}, self.place
  self.place = place + 1
  for name, order in pairs(self.orders) do
    local inside = random.unit(random.hash(self.seed, "within", name, self.round, place))
    u[name] = math.min((order(place) + inside) / self.points, 1 - 0x1p-53)
  end
  return self.space:from_unit(u)
end

--- The next point.
---@return table? params nil when all were asked
function Latin:ask()
  if self.admitted >= self.points then
    return nil
  end
  return sampler.next_admitted(self, propose)
end

function Latin.tell() end

return M
