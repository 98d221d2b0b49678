--- Random points, without repeats. Over a grid it walks all points in a random order that is computed, not stored;
--- each point is as likely as the others. In a continuous space each parameter is drawn by itself.
local options = require "moonsand.options"
local random = require "moonsand.sweep.random"
local sampler = require "moonsand.sweep.sampler"

local M = { options = { patience = options.count } }

local Random = {}
Random.__index = Random

---@param own { patience: integer? }
---@param ctx moonsand.SamplerContext
function M.new(own, ctx)
  local space = ctx.space
  local self = setmetatable({
    space = space, admitted = 0, next = 0, patience = own.patience or sampler.patience,
    rng = random.new(ctx.seed, "random"),
  }, Random)
  local size = space:size()
  if math.type(size) == "integer" then
    self.size = size
    self.order = random.permutation(size, ctx.seed)
  elseif not size then
    self.finite = {}
  end
  return self
end

-- In a continuous space only the points without any continuous parameter can come twice.
local function is_new(self, params)
  for name, dimension in pairs(self.space.dimensions) do
    if not dimension.count and params[name] ~= nil then
      return true
    end
  end
  local key = self.space:key(params)
  local known = self.finite[key]
  self.finite[key] = true
  return not known
end

local function ask_order(self)
  local space, refused, params = self.space, 0, nil
  while self.next < self.size do
    params = space:at(self.order(self.next))
    self.next = self.next + 1
    if space:admits(params) then
      self.admitted = self.admitted + 1
      return params
    end
    refused = refused + 1
    if refused >= self.patience then
      sampler.refused(refused, self.admitted, params)
    end
  end
  if self.admitted == 0 then
    sampler.refused(self.size, 0, params, "all")
  end
  return nil
end

--- The next point that `where` wants.
---@return table? params nil when all of the grid has been asked
function Random:ask()
  if self.order then
    return ask_order(self)
  end
  local space, refused, params = self.space, 0, nil
  for _ = 1, self.patience do
    -- Two of more than 2^63 points are never the same one, for all that a sweep can run.
    params = self.finite and space:sample(self.rng) or space:draw(self.rng)
    if not space:admits(params) then
      refused = refused + 1
    elseif not self.finite or is_new(self, params) then
      self.admitted = self.admitted + 1
      return params
    else
      space:refuse()
    end
  end
  if refused == self.patience then
    sampler.refused(refused, self.admitted, params)
  end
  return nil
end

function Random.tell() end

return M
