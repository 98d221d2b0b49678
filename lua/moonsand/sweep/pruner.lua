--- Who stops a bad trial before its end. A pruner is a table whose report(trial, step, value) says true to stop the
--- trial; users write their own. The value is the objective's, as the program reported it at that step.
local errors = require "moonsand.errors"
local named = require "moonsand.sweep.named"

local M = {}

M.names = { "halving", "median" }

---@class moonsand.PrunerContext
---@field direction "maximize"|"minimize"
---@field objective string|(fun(metrics: table, trial: table): number?)|nil what of a report is the value, to learn
--- from the reports of trials that an earlier process ran

---@class moonsand.Pruner
---@field name string
---@field report fun(self, trial: table, step: number, value: number): boolean? true to prune
---@field tell fun(self, trial: table)?

--- Whether a program's report can be judged at all: what it writes is its own business.
function M.is_step(step)
  return type(step) == "number" and step - step == 0
end

--- The reports of a trial that this process did not see run: { { step, value }, ... }.
---@param trial table
---@param objective any as in the context
---@return table[]
function M.reports_of(trial, objective)
  local out = {}
  for _, report in ipairs(type(trial.reports) == "table" and trial.reports or {}) do
    local value
    if type(objective) == "function" then
      local ok, answer = pcall(objective, report.metrics, trial)
      if not ok and errors.is_interrupt(answer) then
        error(answer, 0)
      end
      value = ok and answer or nil
    elseif objective ~= nil and type(report.metrics) == "table" then
      value = report.metrics[objective]
    end
    if type(value) == "number" and M.is_step(report.step) then
      out[#out + 1] = { report.step, value }
    end
  end
  return out
end

local function wrapped(given, name)
  return {
    name = name,
    inner = given,
    report = function(_, trial, step, value)
      return given:report(trial, step, value) and true or false
    end,
    tell = function(_, trial)
      if given.tell then
        given:tell(trial)
      end
    end,
  }
end

local what = { kind = "pruner", names = M.names, method = "report", others = { "tell" } }

--- The pruner that a sweep's option means: a name, { name = "median", ...options }, or a table of the user's with
--- report. Raises for misuse.
---@param given string|table
---@param ctx moonsand.PrunerContext
---@param extra table<string, fun(options: table): moonsand.Pruner>? pruners that plugins bring
---@param level integer? whom to blame
---@return moonsand.Pruner it has tell, in any case
function M.new(given, ctx, extra, level)
  local name, custom, module, own = named.resolve(what, given, extra, (level or 1) + 1)
  if custom then
    return wrapped(custom, name)
  end
  local pruner = module.new(own, ctx)
  pruner.name = name
  return pruner
end

return M
