--- How many trials a sweep will have, before it has run any.
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

--- The same where only what is certain is wanted, and soon. What `where` raises meanwhile, but for Ctrl-C, will end the
--- sweep when it is asked for such a point.
---@param space moonsand.Space
---@param sampler moonsand.Sampler
---@param max_trials integer?
---@return integer? trials
function M.certain(space, sampler, max_trials)
  if sampler.inner then -- a user's may repeat itself, and end when it likes
    return max_trials
  end
  local ok, count, exact = pcall(M.of, space, sampler.points, max_trials, most_counted)
  if not ok and errors.is_interrupt(count) then
    error(count, 0)
  end
  return ok and exact and count or least(sampler.points, max_trials)
end

return M
