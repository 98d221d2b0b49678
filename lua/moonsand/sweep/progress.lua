--- How many trials a sweep will have, and how far it has come.
local core = require "moonsand.core"
local errors = require "moonsand.errors"

local M = {}

-- So many points are looked at while a sweep runs.
local most_counted = 10000

local function least(points, max_trials)
  return points and max_trials and math.min(points, max_trials) or points or max_trials
end

--- Of a sampler of ours, which ends with the points of the grid that `where` wants.
---@param space moonsand.Space
---@param points integer? that the sampler gives at most
---@param max_trials integer?
---@param most integer? as for space:count
---@return integer|number|nil trials nil when there is no end
---@return boolean exact false: about so many
function M.of(space, points, max_trials, most)
  local limit = least(points, max_trials)
  if not space:size() then
    return limit, true
  end
  local count, exact = space:count(most)
  if limit and limit <= count then
    return limit, true
  end
  return count, exact
end

-- The same where only what is certain is wanted, and soon. What `where` raises meanwhile, but for Ctrl-C, will end the
-- sweep when it is asked for such a point.
local function certain(space, sampler, max_trials)
  if sampler.inner then -- a user's may repeat itself, and end when it likes
    return max_trials
  end
  local ok, count, exact = pcall(M.of, space, sampler.points, max_trials, most_counted)
  if not ok and errors.is_interrupt(count) then
    error(count, 0)
  end
  return ok and exact and count or least(sampler.points, max_trials)
end

--- How many trials there will be, when that is known.
---@param self moonsand.sweep.Runner
---@return integer?
function M.total(self)
  if self.total_known == nil then
    self.total_known = certain(self.space, self.sampler, self.o.max_trials) or false
  end
  return self.total_known or nil
end

--- Where it is now. done, complete, failed, pruned, cached and best count what an earlier run left, too; rate is of
--- this run.
function M.now(self)
  local elapsed = (self.ended or core.monotonic()) - self.began
  local here = self.done - self.done_before
  local rate = elapsed > 0 and here / elapsed or 0
  local total = self:total()
  return {
    total = total, done = self.done, running = self.running, complete = self.complete, failed = self.failed,
    pruned = self.pruned, cached = self.cached, best = self.best, rate = rate, elapsed_s = elapsed,
    eta_s = total and rate > 0 and math.max(total - self.done, 0) / rate or nil, stopping = self.stopping,
  }
end

return M
