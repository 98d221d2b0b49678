--- The columns of a study as a flat table, for CSV and SQLite: fields, parameters and metrics side by side.
local errors = require "moonsand.errors"

local M = {}

-- A hostile program can invent a new metric in each trial; a table with a column for each would be all holes, and
-- no spreadsheet or database takes it.
local most_metrics = 1000

local before = { "number", "state", "reason" }
local after = {
  "attempts", "cached", "started", "wall_s", "cpu_s", "queue_s", "memory_peak", "key", "message",
}

local function member(part, name)
  return function(trial)
    local values = trial[part]
    return values and values[name]
  end
end

--- Names are unique without regard to case (SQLite's rule): a parameter or metric that would have a name a second
--- time is called "params.x" or "metrics.x".
---@param study moonsand.Study
---@param options { metrics: string[]? }
---@return { name: string, get: fun(trial: table): any }[]? columns
---@return moonsand.Error? err more than 1,000 metrics and no choice
function M.columns(study, options)
  local names = study:columns()
  local metrics = options.metrics or names.metrics
  if #metrics > most_metrics then
    return errors.fail("invalid", ("the trials have %d different metrics, more than %d columns; say which are wanted: "
      .. "{ metrics = { \"Sharpe Ratio\" } }, or write JSON lines, which have them all"):format(#metrics, most_metrics))
  end
  local columns, taken = {}, {}

  local function add(name, prefix, get)
    if taken[name:lower()] then
      name = prefix .. name
    end
    local unique, k = name, 1
    while taken[unique:lower()] do
      k = k + 1
      unique = ("%s (%d)"):format(name, k)
    end
    taken[unique:lower()] = true
    columns[#columns + 1] = { name = unique, get = get }
  end

  local function fields(list)
    for _, name in ipairs(list) do
      add(name, "trial.", function(trial)
        return trial[name]
      end)
    end
  end

  -- The fields keep their names whatever a program calls its metrics.
  for _, name in ipairs(after) do
    taken[name] = true
  end
  fields(before)
  if #study.objectives > 1 then
    for k in ipairs(study.objectives) do
      add("values." .. k, "trial.", member("values", k))
    end
  else
    fields { "value" }
  end
  for _, name in ipairs(names.params) do
    add(name, "params.", member("params", name))
  end
  for _, name in ipairs(metrics) do
    add(name, "metrics.", member("metrics", name))
  end
  for _, name in ipairs(after) do
    taken[name] = nil
  end
  fields(after)
  return columns
end

--- The shortest decimal text from which the same double comes back.
---@param x number
---@return string
function M.number(x)
  if math.type(x) == "integer" then
    return ("%d"):format(x)
  end
  local text = ("%.15g"):format(x)
  if tonumber(text) ~= x then
    text = ("%.17g"):format(x)
  end
  return text
end

return M
