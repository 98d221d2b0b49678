--- How long a sweep ran that was resumed, of what its journal says: the time between two runs is not its own.
local numbers = require "moonsand.study.numbers"

local M = {}

-- When the last trial ended of those that began from `from` on, before `to`.
local function last_end(trials, from, to)
  local last = from
  for _, trial in ipairs(trials) do
    local at = trial.started
    if numbers.finite(at) and at >= from and at < to then
      last = math.max(last, at + (numbers.finite(trial.wall_s) and trial.wall_s or 0))
    end
  end
  return last
end

--- The seconds of all runs together. Each says at its end how many it took; of one that was killed, or still runs, the
--- end is that of its last trial.
---@param started any when the first run began, seconds since the epoch
---@param others table[] records of the journal besides its trials and reports, in order
---@param trials table[]
---@return number? wall_s nil when it is not known when it began
function M.wall(started, others, trials)
  if not numbers.finite(started) then
    return nil
  end
  local from, sum = started, 0.0 -- from: nil between two runs
  for _, record in ipairs(others) do
    local at = numbers.finite(record.at) and record.at
    if record.type == "end" and from and at then
      local said = numbers.finite(record.wall_s) and record.wall_s >= 0 and record.wall_s
      sum = sum + (said or math.max(0, at - from))
      from = nil
    elseif record.type == "resume" and at then
      sum = sum + (from and last_end(trials, from, at) - from or 0)
      from = at
    end
  end
  return sum + (from and last_end(trials, from, math.huge) - from or 0)
end

return M
