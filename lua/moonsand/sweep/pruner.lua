--- Who stops a bad trial before its end. A pruner is a table whose report(trial, step, value) says true to stop the
--- trial; users write their own. The value is the objective's, as the program reported it at that step.
local errors = require "moonsand.errors"
local options = require "moonsand.options"

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

local function unknown(name, extra, level)
  local known = { table.unpack(M.names) }
  for other in pairs(extra or {}) do
    known[#known + 1] = other
  end
  table.sort(known)
  local near = type(name) == "string" and errors.nearest(name, known)
  error(("pruner: there is no %s%s (there are %s, or a table with a function report)"):format(options.show(name),
    near and (", did you mean '" .. near .. "'?") or "", table.concat(known, ", ")), level + 1)
end

local function checked(given, name, level)
  for _, method in ipairs { "report", "tell" } do
    local f = given[method]
    if type(f) ~= "function" and (f ~= nil or method == "report") then
      error(("pruner '%s': %s is a function, got %s"):format(tostring(name), method, options.show(f)), level + 1)
    end
  end
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

--- The pruner that a sweep's option means: a name, { name = "median", ...options }, or a table of the user's with
--- report. Raises for misuse.
---@param given string|table
---@param ctx moonsand.PrunerContext
---@param extra table<string, fun(options: table): moonsand.Pruner>? pruners that plugins bring
---@param level integer? whom to blame
---@return moonsand.Pruner it has tell, in any case
function M.new(given, ctx, extra, level)
  level = (level or 1) + 1
  if type(given) == "string" then
    given = { name = given }
  elseif type(given) ~= "table" then
    error(("pruner: wants a name or a table with a function report, got %s"):format(options.show(given)), level)
  end
  local name = given.name
  if given.report ~= nil then
    local pruner = checked(given, name or "custom", level) -- no tail call: the level of its errors counts on it
    return pruner
  elseif extra and extra[name] then
    local made = extra[name](given)
    if type(made) ~= "table" then
      error(("pruner '%s': its plugin made no table with a function report"):format(name), level)
    end
    local pruner = checked(made, made.name or name, level)
    return pruner
  elseif name ~= "median" and name ~= "halving" then
    unknown(name, extra, level)
  end
  local module, own = require("moonsand.sweep.pruners." .. name), {}
  for key, value in pairs(given) do
    if key ~= "name" then
      own[key] = value
    end
  end
  local pruner = module.new(options.check(("pruner '%s'"):format(name), own, module.options, level), ctx)
  pruner.name = name
  return pruner
end

return M
