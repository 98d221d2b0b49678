--- One trial's way: its attempts, its reports, and what the policy and the pruner say to them.
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local outcome = require "moonsand.sweep.outcome"
local policy = require "moonsand.sweep.policy"
local records = require "moonsand.sweep.trial"
local sched = require "moonsand.sched"

local M = {}

-- Kept of one trial's reports, about: a program may say 16 MiB in a run, and a sweep may keep 100,000 trials.
local most_bytes = 1 << 20

-- About what it costs to keep it.
local function size_of(flat)
  local bytes = 128
  for name, value in pairs(flat) do
    bytes = bytes + 48 + #name + (type(value) == "string" and #value or 0)
  end
  return bytes
end

local function reported(self, hooks, step, metrics)
  local trial = hooks.trial
  local flat = type(metrics) == "table" and outcome.flatten(metrics) or {}
  local reports = trial.reports or {}
  trial.reports = reports
  hooks.reports = hooks.reports + 1
  if type(step) ~= "number" or step - step ~= 0 then
    step = hooks.reports -- what a program says is its own business
  end
  local bytes = hooks.bytes + size_of(flat)
  if #reports >= records.max.reports or bytes > most_bytes then
    trial.dropped = (trial.dropped or 0) + 1
  else
    hooks.bytes = bytes
    reports[#reports + 1] = { step = step, metrics = flat }
    self:append { type = "report", number = trial.number, attempts = trial.attempts, step = step, metrics = flat }
  end
  self.registry:fire("report", trial, step, flat)
  local pruner = self.pruner
  if not pruner or hooks.pruned then
    return hooks.pruned
  end
  local value = outcome.reported(self.goals[1], flat, self.o.prune_by, trial)
  if value and pruner:report(trial, step, value) then
    hooks.pruned = true
  end
  return hooks.pruned
end

--- What an executor is given, for one trial after the other.
---@param self moonsand.sweep.Runner
---@return table
function M.hooks(self)
  local hooks = { pruned = false, reports = 0, bytes = 0 } -- how many of the attempt, and what those kept cost
  function hooks.report(step, metrics)
    return reported(self, hooks, step, metrics)
  end
  function hooks.started(handle)
    self.handles[hooks.trial] = handle
    if self.cancelled then
      handle:cancel()
    end
  end
  return hooks
end

local function attempt(self, trial, hooks)
  trial.attempts = math.min(trial.attempts + 1, records.max.count) -- a journal may say anything
  trial.state, trial.reason, trial.message = "running", nil, nil
  trial.metrics, trial.series, trial.reports, trial.dropped = nil, nil, nil, nil
  trial.started = self.epoch + core.monotonic()
  self:append(trial)
  hooks.trial, hooks.pruned, hooks.reports, hooks.bytes = trial, false, 0, 0
  self.registry:fire("start", trial)
  local result, err = self.executor:run(trial, hooks)
  self.handles[trial] = nil
  if not result then
    outcome.fail(trial, "engine", err and err.message or "the executor gave neither a result nor an error")
    return nil, err or errors.new("engine", trial.message)
  end
  outcome.settle(trial, result, self.goals)
  if hooks.pruned and result.status == "cancelled" and not self.cancelled then
    trial.state, trial.reason, trial.message = "pruned", nil, nil
  end
  return result
end

-- The caller's policy if that has an answer; else the first plugin's that has one; else the default.
local function delay_of(self, trial, result, err)
  local said = self.o.retry and self.o.retry(trial, result, err)
  if said ~= nil then
    return policy.delay(trial, said)
  end
  for _, entry in ipairs(self.registry.policies.retry) do
    local ok, answer = self.registry:call(entry, "its policy 'retry'", trial, result, err)
    if ok and answer ~= nil then
      local good, delay = pcall(policy.delay, trial, answer)
      if good then
        return delay
      end
      self.registry:warn(entry.use.name, delay)
    end
  end
  return policy.delay(trial, policy.default(trial, result, err))
end

-- Returns after so many seconds, or when the sweep has come to its end.
local function pause(self, seconds)
  if self.deadline then
    seconds = math.min(seconds, self.deadline - core.monotonic())
  end
  if seconds > 0 then
    local gate = { finished = false }
    self.waits[gate] = true
    sched.wait(gate, seconds)
    self.waits[gate] = nil
  end
  self:look_at_time()
end

-- "again"; "ended"; or "waiting": it would be tried again, but no trials are begun any more. A resume does so then.
local function what_follows(self, trial, result, err)
  if trial.state ~= "failed" or self.err or self.cancelled then
    return "ended"
  end
  local delay = delay_of(self, trial, result, err)
  if not delay then
    return "ended"
  end
  trial.state = "waiting"
  self:append(trial)
  self.registry:fire("run", { type = "retry", trial = trial, delay_s = delay })
  if not self.stopping then
    pause(self, delay)
  end
  return self.stopping and "waiting" or "again"
end

--- Runs a trial, again where the policy says so, until it has ended one way or the other.
---@param self moonsand.sweep.Runner
---@param trial table
---@param hooks table of M.hooks
---@return boolean ended false: it waits for a later run of the sweep
function M.run(self, trial, hooks)
  self.running = self.running + 1
  local result, err, follows
  repeat
    result, err = attempt(self, trial, hooks)
    follows = what_follows(self, trial, result, err)
  until follows ~= "again"
  self.running = self.running - 1
  if follows == "waiting" then
    return false
  end
  -- It was not the program's doing, and is still so: it would be the same for all that follow.
  if not result and not self.cancelled then
    self:fail(errors.new(err.code or "engine", ("trial %d could not be run (attempt %d), so the sweep ends: %s"):format(
      trial.number, trial.attempts, err.message or tostring(err)), { op = "sweep", cause = err }))
  end
  return true
end

return M

