--- Sweeps without a sandbox, for the specs.
local moonsand = require "moonsand"

local M = {}

--- A sweep over n = 1..10 that maximizes v, whose program is f(params, report, trial); what it returned.
---@param options table of moonsand.sweep
---@param f function? by default v is twice n
---@param jobs integer?
function M.run(options, f, jobs)
  local o = { space = { n = moonsand.range(1, 10) }, objective = "v" }
  for k, v in pairs(options) do
    o[k] = v
  end
  return moonsand.sweep(o):run(moonsand.executors.noop { f = f or function(p)
    return { v = p.n * 2 }
  end, jobs = jobs })
end

--- The n of the trials in a state, sorted.
---@return integer[]
function M.numbers(study, state)
  local out = {}
  for _, trial in ipairs(study:trials(state)) do
    out[#out + 1] = trial.params.n
  end
  table.sort(out)
  return out
end

return M
