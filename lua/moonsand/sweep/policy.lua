--- When a trial is tried again, and when a sweep ends before its space does.
local options = require "moonsand.options"

local M = {}

M.most_attempts = 100 -- whatever a policy says

-- Seconds before the second and the third attempt: an engine that is being restarted is back by then, most times.
local waits = { 0.5, 2 }
local default_times = 2

-- Of an engine's errors these say the same the next time.
local final = {
  invalid = true, closed = true, unsupported = true, isolation = true, denied = true, exec = true, cancelled = true,
}

--- A policy: given a trial that has failed (state, reason and attempts are set), the result, or the error that kept it
--- from running, says whether it is tried again: false: no; true: at once; a number: after so many seconds; nil: the
--- next one has to say, those of plugins and then the default.
---@alias moonsand.sweep.Retry fun(trial: table, result: moonsand.Result?, err: moonsand.Error?): boolean|number|nil

--- Only what was not the program's doing: a lost run and an engine's fault. `times` more attempts.
---@param times integer
---@param on table<string, boolean>? reasons; nil: lost, engine
---@param delay number? seconds
---@return moonsand.sweep.Retry
function M.faults(times, on, delay)
  on = on or { lost = true, engine = true }
  return function(trial, _, err)
    if not on[trial.reason] then
      return nil
    elseif trial.attempts > times or err and final[err.code] then
      return false
    end
    return delay or waits[math.min(trial.attempts, #waits)]
  end
end

--- By default: at most three attempts.
M.default = M.faults(default_times)

--- Checks the option: a function, or how many times an engine's fault is tried again (0: never).
---@return moonsand.sweep.Retry
function M.retry(name, value, level)
  if type(value) == "function" then
    return value
  elseif math.type(value) == "integer" and value >= 0 and value < M.most_attempts then
    return M.faults(value)
  end
  error(("option '%s': %s is not a function(trial, result, err) or a whole number from 0 to %d"):format(
    name, options.show(value), M.most_attempts - 1), level + 1)
end

--- What a policy said, as seconds, or nil for no.
---@param trial table
---@param answer any
---@return number? delay
function M.delay(trial, answer)
  if not answer or trial.attempts >= M.most_attempts then
    return nil
  elseif answer == true then
    return 0
  elseif type(answer) == "number" and answer >= 0 and answer < 1e6 then
    return answer
  end
  error(("a retry policy says true, false or a number of seconds, not %s"):format(options.show(answer)), 0)
end

-- A share means nothing before there is something to take it of.
local least_done = 20

--- Checks halt = { failures = n or "3%" }.
---@return { count: integer?, share: number?, least: integer? }
function M.halt(name, value, level)
  options.table(name, value, level + 1)
  for key in pairs(value) do
    if key ~= "failures" then
      error(("option '%s' has no %s (it has failures)"):format(name, options.show(key)), level + 1)
    end
  end
  local given = value.failures
  if math.type(given) == "integer" and given >= 1 then
    return { count = given }
  end
  local percent = type(given) == "string" and #given < 20 and tonumber(given:match "^%s*([%d.]+)%s*%%%s*$")
  if percent and percent > 0 and percent <= 100 then
    return { share = percent / 100, least = math.max(least_done, math.ceil(100 / percent)) }
  end
  error(("option '%s': failures is %s, not a whole number of at least 1 or a share such as \"3%%\""):format(
    name, options.show(given)), level + 1)
end

--- Why the sweep ends after a trial, or nil when it goes on.
---@param o { fail_fast: boolean?, halt: table?, target: number?, maximize: boolean? }
---@param trial table that has just ended
---@param done integer trials that have ended
---@param failed integer of them
---@return string? reason "fail_fast", "failures", "target"
function M.ended(o, trial, done, failed)
  if trial.state == "failed" then
    if o.fail_fast then
      return "fail_fast"
    end
    local halt = o.halt
    if halt and (halt.count and failed >= halt.count
      or halt.share and done >= halt.least and failed / done >= halt.share) then
      return "failures"
    end
  elseif o.target and trial.state == "complete" and trial.value then
    if o.maximize and trial.value >= o.target or not o.maximize and trial.value <= o.target then
      return "target"
    end
  end
  return nil
end

return M
