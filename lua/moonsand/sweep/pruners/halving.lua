--- Successive halving, asynchronous (ASHA, Li et al. 2020): at steps min_resource, min_resource * reduction,
--- min_resource * reduction^2, ... a trial goes on only if it is among the best 1 / reduction of those that have
--- reached this rung so far. No trial waits for another.
local options = require "moonsand.options"
local pruner = require "moonsand.sweep.pruner"
local ranks = require "moonsand.sweep.ranks"

local M = {}

local function reduction(name, value, level)
  local whole = type(value) == "number" and math.tointeger(value)
  if whole and whole >= 2 then
    return whole
  end
  error(("option '%s': %s is not a whole number of at least 2, for example 4"):format(name, options.show(value)),
    (level or 1) + 1)
end

M.options = { min_resource = options.count, reduction = reduction }

local Halving = {}
Halving.__index = Halving

---@param own { min_resource: integer?, reduction: integer? } min_resource: the step of the first rung, 1; reduction: 4
---@param ctx moonsand.PrunerContext
---@return moonsand.Pruner
function M.new(own, ctx)
  local factor = own.reduction or 4
  return setmetatable({
    sign = ctx.direction == "minimize" and -1 or 1, objective = ctx.objective,
    min_resource = own.min_resource or 1, reduction = factor, rungs = {}, running = {},
    -- Of fewer than that, the best alone goes on.
    top = function(count)
      return math.max(1, count // factor)
    end,
  }, Halving)
end

-- The trial's value counts in every rung that this step has reached, and it must be good enough for each.
local function climb(self, number, step, value)
  local next_rung = self.running[number] or 0
  local needed = self.min_resource * (self.reduction + 0.0) ^ next_rung
  while step >= needed do
    if value ~= value then
      return true
    end
    local rung = self.rungs[next_rung] or ranks.new(self.top)
    self.rungs[next_rung] = rung
    rung:add(value)
    next_rung = next_rung + 1
    self.running[number] = next_rung
    if value < rung:least_of_top() then
      return true
    end
    needed = needed * self.reduction
  end
  return false
end

--- Takes a trial's report.
---@return boolean prune
function Halving:report(trial, step, value)
  if not pruner.is_step(step) or type(value) ~= "number" then
    return false
  end
  return climb(self, trial.number, step, self.sign * value)
end

--- Takes a finished trial. Of one that an earlier process ran, its reports are taken now.
---@param trial table
function Halving:tell(trial)
  local number = trial.number
  if self.running[number] == nil and trial.state ~= "running" then
    for _, report in ipairs(pruner.reports_of(trial, self.objective)) do
      if climb(self, number, report[1], self.sign * report[2]) then
        break
      end
    end
  end
  self.running[number] = nil
end

return M
