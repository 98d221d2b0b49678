--- From the name of a parameter, a metric or a field of a trial to its values.
local errors = require "moonsand.errors"
local options = require "moonsand.options"

local M = {}

-- What a trial has beside parameters and metrics, in the order in which exports show it.
M.fields = {
  "number", "state", "reason", "value", "attempts", "cached", "started", "wall_s", "cpu_s", "queue_s",
  "memory_peak", "key", "message",
}

local is_field = {}
for _, name in ipairs(M.fields) do
  is_field[name] = true
end

-- Whether any trial has a parameter or metric of this name. Found once: a study's trials do not change.
local function has(study, part, name)
  local known = study._known[part]
  local found = known[name]
  if found == nil then
    found = false
    local meta = study.meta
    for _, dimension in ipairs(part == "params" and type(meta.params) == "table" and meta.params or {}) do
      found = found or type(dimension) == "table" and dimension.name == name
    end
    local trials = study._trials
    for i = 1, found and 0 or #trials do
      local values = trials[i][part]
      if values and values[name] ~= nil then
        found = true
        break
      end
    end
    known[name] = found
  end
  return found
end

local function of_field(name)
  return function(trial)
    return trial[name]
  end
end

local function of_part(part, name)
  return function(trial)
    local values = trial[part]
    return values and values[name]
  end
end

-- A program's names are hostile: a metric called "value" must not stand in for the field of that name, and no
-- metric for a parameter. So parameters come first, fields next, then what says whose it is, and metrics last.
local function resolve(study, name)
  if has(study, "params", name) then
    return of_part("params", name)
  elseif is_field[name] then
    return of_field(name)
  end
  local part, rest = name:match "^(%a+)%.(.+)$"
  if (part == "params" or part == "metrics") and has(study, part, rest) then
    return of_part(part, rest)
  elseif part == "trial" and is_field[rest] then
    return of_field(rest)
  elseif part == "values" and math.tointeger(tonumber(rest)) then
    local k = math.tointeger(tonumber(rest))
    return function(trial)
      local values = trial.values
      return values and values[k]
    end
  elseif has(study, "metrics", name) then
    return of_part("metrics", name)
  end
  for _, objective in ipairs(study.objectives) do
    if objective.name == name then
      return of_part("metrics", name) -- known, although no trial got as far as to return it
    end
  end
  return nil
end

--- A function trial -> value. Raises for a name that no trial has (with the nearest that one has), unless no trial
--- has metrics at all: a sweep in which all failed is no mistake of the caller's.
---@param study moonsand.Study
---@param what string|fun(trial: table): any
---@param op string "study:sort", for the message
---@param level integer? whom to blame
---@return fun(trial: table): any
function M.getter(study, what, op, level)
  level = (level or 1) + 1
  if type(what) == "function" then
    return what
  elseif type(what) ~= "string" then
    error(("%s wants the name of a parameter or metric, or a function, got %s"):format(op, type(what)), level)
  end
  local get = resolve(study, what)
  if get then
    return get
  end
  local names = study:columns()
  if #names.metrics == 0 then
    return of_part("metrics", what)
  end
  local known = table.move(names.metrics, 1, #names.metrics, #names.params + 1,
    table.move(names.params, 1, #names.params, 1, {}))
  local near = errors.nearest(what, known)
  error(
    ("%s: no trial has a parameter or metric %s%s"):format(
      op, options.show(what), near and ("; did you mean " .. options.show(near) .. "?") or "; study:columns() has all"
    ),
    level
  )
end

return M
