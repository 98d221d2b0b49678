--- Which trials of a long study a page gets, and which of them is the best.
local thin = require "moonsand.sweep.trial".thin

local M = {}

--- The number that a trial is judged by; nil when it has none or is not complete.
---@param trial table
---@return number?
function M.score(trial)
  if trial.state ~= "complete" then
    return nil
  end
  local v = trial.value
  if v == nil and type(trial.values) == "table" then
    v = trial.values[1]
  end
  return type(v) == "number" and v == v and v or nil
end

--- better(a, b) of two scores.
---@param direction string?
---@return fun(a: number, b: number): boolean
function M.better(direction)
  if direction == "minimize" then
    return function(a, b)
      return a < b
    end
  end
  return function(a, b)
    return a > b
  end
end

--- Those with a score, the best first; of equals the earlier.
---@param trials table[]
---@param direction string?
---@return table[]
function M.ranked(trials, direction)
  local out, score, better = {}, {}, M.better(direction)
  for _, trial in ipairs(trials) do
    score[trial] = M.score(trial)
    if score[trial] then
      out[#out + 1] = trial
    end
  end
  table.sort(out, function(a, b)
    if score[a] ~= score[b] then
      return better(score[a], score[b])
    end
    return a.number < b.number
  end)
  return out
end

-- Each that was the best when it came.
local function records_of(trials, direction)
  local out, better, best = {}, M.better(direction), nil
  for _, trial in ipairs(trials) do
    local score = M.score(trial)
    if score and (not best or better(score, best)) then
      best = score
      out[#out + 1] = trial
    end
  end
  return out
end

--- At most `max` trials in their order: those that are wanted, as many of them as there is room for; a quarter at most
--- for those that were the best so far when they came, so that the line of the best is the true one; a quarter for the
--- best; and an even share of the others.
---@param trials table[] in order
---@param ranked table[] M.ranked(trials)
---@param direction string?
---@param max integer
---@param wanted table[] the one that must not be missing first
---@return table[]
---@return boolean every is each there that was the best so far?
function M.fewer(trials, ranked, direction, max, wanted)
  if #trials <= max then
    return trials, true
  end
  local keep, n = {}, 0
  local function take(trial)
    if not keep[trial] and n < max then
      keep[trial], n = true, n + 1
    end
  end
  for _, trial in ipairs(wanted) do
    take(trial)
  end
  take(ranked[1] or trials[1])
  local records, quarter = records_of(trials, direction), math.max(2, max // 4)
  for _, trial in ipairs(thin(records, quarter)) do
    take(trial)
  end
  for i = 1, math.min(#ranked, quarter) do
    take(ranked[i])
  end
  local rest, others = max - n, {}
  for _, trial in ipairs(trials) do
    if not keep[trial] then
      others[#others + 1] = trial
    end
  end
  for i = 0, rest - 1 do
    take(others[i * #others // rest + 1])
  end
  local out = {}
  for _, trial in ipairs(trials) do
    if keep[trial] then
      out[#out + 1] = trial
    end
  end
  return out, #records <= quarter
end

return M
