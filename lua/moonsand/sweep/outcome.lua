--- From what a run left to what a trial is: state, reason, message, metrics, series and the objective's value.
--- All of it comes out of a container: it is hostile, and is bounded and made harmless here.
local curve = require "moonsand.sweep.curve"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local records = require "moonsand.sweep.trial"
local text = require "moonsand.text"

local M = {}

local max = records.max
local most_named = 8 -- metrics, in a message
local deepest = 16

local is_finite = function(n)
  return n == n and n ~= math.huge and n ~= -math.huge
end

local find = string.find

-- text.harmless() with its dots at most that long; what is harmless already, as nearly all is, costs little.
local function harmless(s, most)
  if #s <= most and not find(s, "[^\33-\126]") then
    return s
  end
  return text.harmless(s, most - 3)
end

--- A metric's name as it stands in a trial.
---@param s string
---@return string
function M.name(s)
  return harmless(s, max.name)
end

local function message(s)
  return harmless(s, max.message)
end

-- Kept as they stand: how many there are is known only at the end, and which of too many stay must not be chance.
local function cut(t, most, goals)
  local names, wanted = {}, {}
  for _, goal in ipairs(goals or {}) do
    wanted[goal.name or ""] = true
  end
  for name in pairs(t) do
    if wanted[name] then
      most = most - 1
    else
      names[#names + 1] = name
    end
  end
  if #names > most then
    table.sort(names)
    for i = math.max(most, 0) + 1, #names do
      t[names[i]] = nil
    end
  end
end

local function thin(list, convert)
  local out = {}
  for i, v in ipairs(records.thin(list, max.points)) do
    out[i] = convert(v)
  end
  return out
end

local function point(v)
  return type(v) == "number" and v or 0 / 0
end

local function label(v)
  return type(v) == "number" and v or harmless(tostring(v), max.label)
end

--- An array of numbers, null among them being "not a number", or, under a name that ends in ".index", one of labels.
local function series_of(name, list)
  local kind = type(list[1])
  if kind == "number" or list[1] == json.null then
    for i = 1, #list do
      local v = list[i]
      if type(v) ~= "number" and v ~= json.null then
        return nil
      end
    end
    return thin(list, point)
  elseif kind == "string" and name:sub(-6) == ".index" then
    return thin(list, label)
  end
  return nil
end

local walk

local function member(out, name, v, depth)
  local kind = type(v)
  if kind == "number" or kind == "boolean" then
    out.metrics[name] = v
    out.count = out.count + 1
  elseif kind == "string" then
    out.metrics[name] = harmless(v, max.text)
    out.count = out.count + 1
  elseif kind == "table" and depth < deepest then
    if v[1] ~= nil then
      local series = series_of(name, v)
      if series then
        out.series = out.series or {}
        out.series[name] = series
        if #v > #series and curve.may_have(name) then
          out.long = out.long or {}
          out.long[name] = v
        end
      end
    else
      walk(out, v, name .. ".", depth + 1)
    end
  end
end

function walk(out, object, prefix, depth)
  for k, v in pairs(object) do
    -- In { "series": { "equity": [ ... ] } } they are named what they are named there.
    local place = prefix == "series." and type(v) == "table" and v[1] ~= nil and "" or prefix
    k = M.name(place .. tostring(k))
    -- { "a.b": 1, "a": { "b": 2 } }: what stands there by that very name is it.
    if out.metrics[k] == nil and not (out.series and out.series[k]) then
      member(out, k, v, depth)
    end
  end
end

--- Every scalar member of an object under its name, nested ones as "a.b"; arrays of numbers are series.
---@param object table
---@param goals moonsand.sweep.Goal[]? what they name stays, however much there is
---@return table<string, number|string|boolean> metrics, table<string, (number|string)[]>? series
function M.flatten(object, goals)
  local out = { metrics = {}, count = 0 }
  local nested
  for k, v in pairs(object) do -- first those that are named directly
    if type(v) == "table" and v[1] == nil then
      nested = nested or {}
      nested[k] = v
    else
      member(out, M.name(tostring(k)), v, 1)
    end
  end
  for k, v in pairs(nested or {}) do
    walk(out, v, M.name(tostring(k)) .. ".", 2)
  end
  if out.count > max.scalars then
    cut(out.metrics, max.scalars, goals)
  end
  for name, whole in pairs(out.long or {}) do
    curve.keep_extremes(out.series, name, whole)
  end
  if out.series then
    cut(out.series, max.series)
    for name in pairs(out.long or {}) do
      if not curve.has_extremes(out.series, name) then
        out.series[name] = nil -- without them it would be taken for one that short
      end
    end
  end
  return out.metrics, out.series
end

--- The last line that says something, of what a program wrote to stderr.
---@param stderr string?
---@return string?
function M.last_line(stderr)
  local rest = stderr and stderr:sub(-8192) or ""
  for _ = 1, 100 do
    rest = rest:match "^(.*%S)"
    if not rest then
      return nil
    end
    local line = message(rest:match "^.*[\r\n](.*)$" or rest)
    if line ~= "" then
      return line
    end
    rest = rest:match "^(.*)[\r\n]" or ""
  end
  return nil
end

---@class moonsand.sweep.Goal one thing that is maximised or minimised
---@field name string? of a metric
---@field f (fun(metrics: table, trial: table): any)?
---@field maximize boolean

local function names_of(metrics)
  local names = {}
  for name in pairs(metrics) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function not_there(goal, metrics)
  local names = names_of(metrics)
  local near = errors.nearest(goal.name, names)
  local shown = table.concat(names, ", ", 1, math.min(#names, most_named)) .. (#names > most_named and ", ..." or "")
  return ("the result has no '%s'%s (%s)"):format(goal.name, near and ("; did you mean '" .. near .. "'?") or "",
    #names == 0 and "it is empty" or "it has " .. shown)
end

local function measure(goal, metrics, trial)
  local value
  if goal.f then
    local ok
    ok, value = pcall(goal.f, metrics, trial)
    if not ok then
      if errors.is_interrupt(value) then
        error(value, 0)
      end
      return nil, "the objective raised: " .. tostring(value)
    end
  else
    value = metrics[goal.name]
    if value == nil then
      return nil, not_there(goal, metrics)
    end
  end
  local what = goal.name and ("'" .. goal.name .. "'") or "the objective"
  if type(value) ~= "number" then
    return nil, ("%s is %s, not a number"):format(what, type(value) == "string" and json.encode(value:sub(1, 60))
      or tostring(value))
  elseif not is_finite(value) then
    return nil, ("%s is %s"):format(what, value ~= value and "not a number (NaN)" or "infinite")
  end
  return value
end

--- Sets value, or values when there are several goals, from the trial's metrics.
---@param trial table
---@param goals moonsand.sweep.Goal[]
---@return boolean ok, string? why
function M.judge(trial, goals)
  if #goals == 1 then
    local value, why = measure(goals[1], trial.metrics, trial)
    trial.value = value
    return value ~= nil, why
  end
  local values = {}
  for i, goal in ipairs(goals) do
    local value, why = measure(goal, trial.metrics, trial)
    if not value then
      return false, why
    end
    values[i] = value
  end
  trial.values = values
  return true
end

--- What a report is worth to a pruner: the metric of that name, or the objective's, or the only number in it.
---@param goal moonsand.sweep.Goal
---@param metrics table<string, any> flat
---@param name string?
---@param trial table
---@return number?
function M.reported(goal, metrics, name, trial)
  local value = metrics[name or goal.name or ""]
  if value == nil and not name then
    if goal.f then
      local ok, v = pcall(goal.f, metrics, trial)
      if not ok and errors.is_interrupt(v) then
        error(v, 0)
      end
      value = ok and v or nil
    end
    if type(value) ~= "number" then
      local only, more = next(metrics)
      value = next(metrics, only) == nil and more or nil
    end
  end
  return type(value) == "number" and value == value and value or nil
end

--- The trial has failed.
function M.fail(trial, reason, why)
  trial.state, trial.reason = "failed", reason
  trial.message = why and message(why) or nil
  trial.value, trial.values = nil, nil
end

local reasons = {
  exit = "error", signal = "error", timeout = "timeout", oom = "oom", output_limit = "output_limit",
  cancelled = "cancelled", tampered = "tampered", lost = "lost",
}

local function why_failed(result)
  if result.status == "exit" then
    return M.last_line(result.stderr) or ("exit %d"):format(result.exit_code or 1)
  elseif result.status == "signal" then
    return M.last_line(result.stderr) or ("signal %d"):format(result.signal or 0)
  end
  local reason = result.reason
  return reason and reason ~= "" and reason or M.last_line(result.stderr) or result.status
end

-- A program that knows nothing of us prints its result last. nil, why: what stands there should have been one.
local function printed(stdout)
  local tail = stdout and stdout:sub(-(1 << 20)):match "^(.*%S)"
  local line = tail and (tail:match "^.*\n(.*)$" or tail)
  if not line or not line:find "^%s*{" then
    return nil
  end
  local value, why = json.decode(line, { nonfinite = true })
  if value == nil then
    return nil, "the last line begins as an object, but is not JSON: " .. tostring(why)
  end
  return value
end

-- Why there is no result, when the program wrote one that was not taken.
local function refused(result)
  if result.value_error then
    return result.value_error
  end
  for _, rejected in ipairs(result.rejected_artefacts or {}) do
    if rejected.path == "result" then
      return rejected.reason == "size" and "the result is larger than the sandbox's limit (option value, 1m by default)"
        or "the result file was refused: " .. tostring(rejected.reason)
    end
  end
  return nil
end

-- What it left as its result; nil, why.
local function value_of(result)
  local value = result.value
  if value ~= nil then
    return value
  end
  local why = refused(result) -- what it printed is then something else
  if not why then
    value, why = printed(result.stdout)
  end
  if value ~= nil then
    return value
  end
  return nil, why or "the program wrote no result: neither an object to $MOONSAND_RESULT nor one as its last line"
end

local function copy_facts(trial, result)
  trial.wall_s, trial.cpu_s, trial.queue_s = result.wall_s, result.cpu_s, result.queue_s
  trial.memory_peak = result.memory_peak ~= 0 and result.memory_peak or nil
end

--- Fills in the trial from a run's result. Only a program that ended well has a value.
---@param trial table
---@param result moonsand.Result
---@param goals moonsand.sweep.Goal[]
function M.settle(trial, result, goals)
  copy_facts(trial, result)
  if result.status ~= "ok" then
    return M.fail(trial, reasons[result.status] or "engine", why_failed(result))
  end
  local value, why = value_of(result)
  if value == nil then
    return M.fail(trial, "invalid_value", why)
  elseif type(value) ~= "table" or value[1] ~= nil then
    return M.fail(trial, "invalid_value", ("the result is %s, not a JSON object"):format(
      type(value) == "table" and "a list" or value == json.null and "null" or "a " .. type(value)))
  end
  trial.metrics, trial.series = M.flatten(value, goals)
  local ok
  ok, why = M.judge(trial, goals)
  if not ok then
    return M.fail(trial, "invalid_value", why)
  end
  trial.state, trial.reason, trial.message = "complete", nil, nil
end

return M
