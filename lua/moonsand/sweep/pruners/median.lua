--- Stops a trial whose best value so far is worse than the median of what completed trials reported at the same step.
local options = require "moonsand.options"
local pruner = require "moonsand.sweep.pruner"
local ranks = require "moonsand.sweep.ranks"

local M = {}

local function whole_or_0(name, value, level)
  local whole = type(value) == "number" and math.tointeger(value)
  if whole and whole >= 0 then
    return whole
  end
  error(("option '%s': %s is not a whole number of at least 0"):format(name, options.show(value)), (level or 1) + 1)
end

M.options = { startup_trials = whole_or_0, warmup_steps = whole_or_0, interval = options.count }

local Median = {}
Median.__index = Median

---@param own { startup_trials: integer?, warmup_steps: integer?, interval: integer? } startup_trials: that must be
--- complete before any is pruned, 5; warmup_steps: no trial is pruned before this step, 0; interval: steps from one
--- judgement to the next, 1
---@param ctx moonsand.PrunerContext
---@return moonsand.Pruner
function M.new(own, ctx)
  return setmetatable({
    sign = ctx.direction == "minimize" and -1 or 1, objective = ctx.objective,
    startup = own.startup_trials or 5, warmup = own.warmup_steps or 0, interval = own.interval or 1,
    running = {}, complete = 0, steps = {},
  }, Median)
end

-- Whether this step is the first after one of those at which trials are judged.
local function is_due(self, last, step)
  if step < self.warmup then
    return false
  end
  local due = (step - self.warmup) // self.interval * self.interval + self.warmup
  return last == nil or last < due
end

local function half(count)
  return (count + 1) // 2
end

--- The median of the completed trials at a step.
local function median(at)
  if at.count % 2 == 1 then
    return at:least_of_top()
  end
  return (at:least_of_top() + at:most_of_rest()) / 2
end

-- Values are turned around when the smallest is the best, so that larger is better below.
local function note(self, trial, step, value)
  local run = self.running[trial.number]
  if not run then
    run = { values = {} }
    self.running[trial.number] = run
  end
  local last = run.last
  run.last = math.max(step, last or step)
  if run.values[step] ~= nil then -- a retry reports its steps again
    return run, nil
  end
  run.values[step] = value
  if value == value and (run.best == nil or value > run.best) then
    run.best = value
  end
  return run, is_due(self, last, step)
end

--- Takes a trial's report.
---@return boolean prune
function Median:report(trial, step, value)
  if not pruner.is_step(step) or type(value) ~= "number" then
    return false
  end
  local run, due = note(self, trial, step, self.sign * value)
  if not due or self.complete < self.startup then
    return false
  end
  local at = self.steps[step]
  if not at then
    return false
  end
  return run.best == nil or run.best < median(at)
end

--- Takes a finished trial: the values of complete ones are what later ones are measured by.
---@param trial table
function Median:tell(trial)
  local run = self.running[trial.number]
  self.running[trial.number] = nil
  if trial.state ~= "complete" then
    return
  end
  self.complete = self.complete + 1
  local values = run and run.values
  if not values then
    values = {}
    for _, report in ipairs(pruner.reports_of(trial, self.objective)) do
      if values[report[1]] == nil then
        values[report[1]] = self.sign * report[2]
      end
    end
  end
  for step, value in pairs(values) do -- in any order: each step has a heap of its own
    if value == value then
      self.steps[step] = self.steps[step] or ranks.new(half)
      self.steps[step]:add(value)
    end
  end
end

return M
