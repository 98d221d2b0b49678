--- Every point of the grid once, in the order of nested loops over the parameters' names.
local options = require "moonsand.options"
local random = require "moonsand.sweep.random"
local sampler = require "moonsand.sweep.sampler"

local M = { options = { patience = options.count } }

-- Whoever refuses so many more in a row has a grid that is not for looking through.
local most_rounds = 100
local probes = 20000

local Grid = {}
Grid.__index = Grid

function M.new(own, ctx, level)
  local space = ctx.space
  if not space:size() then
    error(("sampler 'grid': '%s' is continuous, so there is no grid; make it a range with a step, or take the sampler "
      .. "random, latin, sobol or tpe"):format(space.continuous), (level or 1) + 1)
  end
  return setmetatable({ space = space, index = 0, admitted = 0, patience = own.patience or sampler.patience }, Grid)
end

-- A grid may well begin or end with many points that are not wanted. Whether there is any hope, random ones say.
local function is_hopeless(self, refused)
  local space, rng = self.space, random.new(refused, "probe")
  if refused >= most_rounds * self.patience then
    return true
  end
  for _ = 1, probes do
    if space:admits(space:draw(rng)) then
      return false
    end
  end
  return true
end

--- The next point that `where` wants.
---@return table? params nil when all of the grid has been asked
function Grid:ask()
  local space = self.space
  local refused, params = 0, nil
  for index = self.index, math.maxinteger - 1 do
    local next_params = space:at(index)
    if not next_params then
      self.index = index
      break
    end
    params = next_params
    if space:admits(params) then
      self.index, self.admitted = index + 1, self.admitted + 1
      return params
    end
    refused = refused + 1
    if refused % self.patience == 0 and is_hopeless(self, refused) then
      self.index = index + 1
      sampler.refused(refused, self.admitted, params)
    end
  end
  if self.admitted == 0 then
    sampler.refused(space:size(), 0, params, "all")
  end
  return nil
end

function Grid.tell() end

return M
