--- The record of a sweep: a table of trials, and the questions that are asked of it.
---
---     local study = assert(moonsand.study "sma.jsonl")       -- or what sweep:run() returned
---     print(study)                                            -- the five best
---     local best = study:best()
---     print(best.value, best.params.fast, best.metrics["# Trades"])
---     for _, trial in ipairs(study:filter { fast = 10 }:sort("Sharpe Ratio", "desc")) do ... end
---     local map = study:pivot("fast", "slow", "Sharpe Ratio", "mean")
---     print(study:plateau().verdict)
---     print(study:deflated_sharpe { periods_per_year = 252 }.probability)
---     print(study:overfit_probability().probability)
---     assert(study:csv "sma.csv")
---
--- A study does not change: filter() and sort() return new ones. It can be read as a list (#study, study[1],
--- ipairs). Where a name is wanted, that is a parameter, a field of a trial ("value", "number", "state", "reason",
--- "wall_s", ...) or a metric, looked for in this order; "params.x", "metrics.x" and "trial.x" say which is meant. A
--- function of the trial does as well everywhere.
---
--- Statistics (best, top, pivot, pareto, correlation, importance, plateau and what follows) look at complete trials
--- only. Texts in trials come from programs that are not trusted: make them harmless (moonsand.text) before a
--- terminal sees them; print(study) and the CSV file do.
local columns = require "moonsand.study.columns"
local errors = require "moonsand.errors"
local numbers = require "moonsand.study.numbers"
local options_ = require "moonsand.options"
local order = require "moonsand.study.order"

local M = {}

---@class moonsand.Study
---@field meta table the sweep's facts: objective, direction, params, script, image, started, ended, walkforward,
---wall_s: seconds that it ran; of a study from a journal, those of all its runs
---@field objectives { name: string, direction: string }[] from meta; one, named "value", when meta has none
---@field failures table<string, integer> how many failed, by reason
---@field states table<string, integer> how many there are in each state
---@field warnings string[] of plugins and the like
local Study = {}

-- Counted when first asked for.
local computed = {}

function computed.states(self)
  local states = {}
  for _, trial in ipairs(self._trials) do
    states[trial.state] = (states[trial.state] or 0) + 1
  end
  return states
end

function computed.failures(self)
  local failures = {}
  for _, trial in ipairs(self._trials) do
    if trial.state == "failed" then
      local reason = trial.reason or "unknown"
      failures[reason] = (failures[reason] or 0) + 1
    end
  end
  return failures
end

local mt = { __name = "moonsand.Study" }

function mt.__index(self, key)
  local method = Study[key]
  if method ~= nil then
    return method
  elseif math.type(key) == "integer" then
    return rawget(self, "_trials")[key]
  elseif computed[key] then
    local value = computed[key](self)
    rawset(self, key, value)
    return value
  end
  return nil
end

function mt.__len(self)
  return #self._trials
end

function mt.__tostring(self)
  return require "moonsand.study.show".table(self)
end

-- meta's objective and direction, in any of the forms that a sweep takes and a journal keeps. nil, why.
local function objectives_of(meta)
  local given, out = meta.objective, {}
  if type(given) ~= "table" then
    given = { { type(given) == "string" and given or "value" } }
  end
  for k, entry in ipairs(given) do
    local name, direction = entry, nil
    if type(entry) == "table" then
      name, direction = entry.name or entry[1], entry.direction or entry[2]
    end
    if not direction then
      direction = meta.direction
      if type(direction) == "table" then
        direction = direction[k]
      end
    end
    direction = direction == nil and "maximize" or direction
    if type(name) ~= "string" then
      return nil, ("an objective must have a name, got a %s"):format(type(name))
    elseif direction ~= "maximize" and direction ~= "minimize" then
      return nil, ('a direction is "maximize" or "minimize", got %s'):format(options_.show(direction))
    end
    out[k] = { name = name, direction = direction }
  end
  if #out == 0 then
    return nil, "there is no objective in the list"
  end
  return out
end

local parts = { "metrics", "series", "reports", "values" }

-- nil, why: what is no list of trials.
local function check(trials)
  for i, trial in ipairs(trials) do
    if type(trial) ~= "table" then
      return nil, ("trial %d of the list is a %s, not a table"):format(i, type(trial))
    elseif math.type(trial.number) ~= "integer" or type(trial.params) ~= "table" or type(trial.state) ~= "string" then
      return nil, ("trial %d of the list has no number, params or state"):format(i)
    end
    for k = 1, #parts do
      local value = trial[parts[k]]
      if value ~= nil and type(value) ~= "table" then
        return nil, ("the %s of trial %d are a %s"):format(parts[k], trial.number, type(value))
      end
    end
  end
  return true
end

local function build(trials, meta, given)
  local objectives, why = objectives_of(meta)
  if not objectives then
    return nil, why
  end
  local ok
  ok, why = check(trials)
  if not ok then
    return nil, why
  end
  local self = {}
  for name, value in pairs(given) do
    if Study[name] == nil and name ~= "header" then
      self[name] = value
    end
  end
  self._trials, self.meta, self.objectives = trials, meta, objectives
  self.warnings = self.warnings or {}
  self._known = { params = {}, metrics = {} }
  return setmetatable(self, mt)
end

-- The same study with other trials.
local function with(self, trials)
  local other = {}
  for name, value in pairs(self) do
    if not computed[name] and name ~= "_columns" and name ~= "_known" then
      other[name] = value
    end
  end
  other._trials, other._known = trials, { params = {}, metrics = {} }
  return setmetatable(other, mt)
end

--- A study from a list of trials. Raises for what is none. Other members of the table become fields of the study.
---@param given { trials: table[], meta: table? } `header` is taken for meta, too; the list stays the caller's, and must
---not change any more
---@return moonsand.Study
function M.new(given)
  if type(given) ~= "table" or type(given.trials) ~= "table" then
    error("study.new wants a table with a list of trials, { trials = list, meta = table }", 2)
  end
  local meta = given.meta or given.header or {}
  if type(meta) ~= "table" then
    error(("study.new: meta must be a table, got a %s"):format(type(meta)), 2)
  end
  local self, why = build(given.trials, meta, given)
  if not self then
    error("study.new: " .. why, 2)
  end
  return self
end

--- A study from a journal, which may still be written to; it is not locked. That of a walk-forward has the trials of
--- its parts' journals, which are beside it; what cannot be read of them is in study.warnings.
---@param path string
---@return moonsand.Study? study
---@return moonsand.Error? err
function M.load(path)
  path = options_.text("path", path, 2)
  local journals = require "moonsand.sweep.journal"
  local journal, err = journals.load(path)
  if not journal then
    return nil, err
  end
  local trials, meta, ended = journal.trials, journal.header or {}, journals.ended(journal)
  meta.stopped, meta.ended = ended.stopped, ended.at
  local warnings = ended.warnings
  if meta.walkforward ~= nil then
    local all, whole, said = require "moonsand.study.walk".load(path, journal)
    trials, meta, warnings = all or trials, whole, said
  else
    meta.wall_s = require "moonsand.study.spent".wall(meta.started, journal.others or {}, trials)
  end
  local self, why = build(trials, meta, { path = path, warnings = warnings })
  if not self then
    return errors.fail("protocol", ("%s is no journal of a sweep: %s"):format(options_.show(path), why))
  end
  return self
end

--- All names there are, each list in order.
---@return { params: string[], metrics: string[], series: string[] } names not to be changed
function Study:columns()
  if not self._columns then
    local out = {}
    for _, part in ipairs { "params", "metrics", "series" } do
      local seen, list = {}, {}
      for _, trial in ipairs(self._trials) do
        for name in pairs(trial[part] or {}) do
          if not seen[name] and type(name) == "string" then
            seen[name] = true
            list[#list + 1] = name
          end
        end
      end
      table.sort(list)
      out[part] = list
    end
    self._columns = out
  end
  return self._columns
end

local function condition(self, name, wanted, op, level)
  local get = columns.getter(self, name, op, level + 1)
  if type(wanted) == "function" then
    return function(trial)
      return wanted(get(trial))
    end
  end
  return function(trial)
    return get(trial) == wanted
  end
end

local function predicate(self, filter, op, level)
  level = level + 1
  if type(filter) == "function" then
    return filter
  elseif type(filter) == "string" then
    return function(trial)
      return trial.state == filter
    end
  elseif type(filter) ~= "table" then
    error(("%s wants a function, a state or a table of conditions, got %s"):format(op, type(filter)), level)
  end
  local tests = {}
  for name, wanted in pairs(filter) do
    tests[#tests + 1] = condition(self, name, wanted, op, level)
  end
  return function(trial)
    for i = 1, #tests do
      if not tests[i](trial) then
        return false
      end
    end
    return true
  end
end

local function pick(self, filter, op, level)
  local test, out, n = predicate(self, filter, op, level + 1), {}, 0
  local trials = self._trials
  for i = 1, #trials do
    if test(trials[i]) then
      n = n + 1
      out[n] = trials[i]
    end
  end
  return out
end

--- The trials as a new list; those that pass the filter when one is given, as for filter().
---@param filter nil|string|table|fun(trial: table): boolean
---@return table[]
function Study:trials(filter)
  if filter == nil then
    return table.move(self._trials, 1, #self._trials, 1, {})
  end
  local out = pick(self, filter, "study:trials", 2)
  return out
end

--- The study of the trials that pass: a function of the trial, a state ("failed"), or a table of conditions that all
--- must hold, each a value or a function of the value:
---
---     study:filter { fast = 10, ["# Trades"] = function(n) return n and n > 30 end }
---
---@param filter string|table|fun(trial: table): boolean
---@return moonsand.Study
function Study:filter(filter)
  return with(self, pick(self, filter, "study:filter", 2))
end

--- The trial with this number.
---@param number integer
---@return table? trial
function Study:trial(number)
  local at = self._trials[number]
  if at and at.number == number then
    return at
  end
  for _, trial in ipairs(self._trials) do
    if trial.number == number then
      return trial
    end
  end
  return nil
end

--- The values of a column, at the place of each trial: nil where it has none, so go from 1 to #study.
---@param name string|fun(trial: table): any
---@return any[]
function Study:column(name)
  local get, out = columns.getter(self, name, "study:column", 2), {}
  for i, trial in ipairs(self._trials) do
    out[i] = get(trial)
  end
  return out
end

--- A new study, in order of a column: numbers first, then texts, then false and true; stable; NaN and trials without
--- the value last in both directions.
---@param name string|fun(trial: table): any
---@param direction nil|"asc"|"desc"
---@return moonsand.Study
function Study:sort(name, direction)
  if direction ~= nil and direction ~= "asc" and direction ~= "desc" then
    error(('study:sort: the direction is "asc" or "desc", got %s'):format(options_.show(direction)), 2)
  end
  return with(self, order.sort(self._trials, columns.getter(self, name, "study:sort", 2), direction == "desc"))
end

--- A study for each value of a column, in the order of the values; trials that have none (or NaN) make up the last
--- group, whose value is nil.
---@param name string|fun(trial: table): any
---@return { value: any, study: moonsand.Study }[]
function Study:group(name)
  local values, buckets, rest = order.buckets(self._trials, columns.getter(self, name, "study:group", 2))
  local out = {}
  for i, value in ipairs(values) do
    out[i] = { value = value, study = with(self, buckets[value]) }
  end
  if #rest > 0 then
    out[#out + 1] = { study = with(self, rest) }
  end
  return out
end

--- A trial's objective; with several, the k-th. nil unless it is complete, and a finite number.
---@param trial table
---@param k integer? 1
---@return number?
function Study:value(trial, k)
  if trial.state ~= "complete" then
    return nil
  end
  local value
  if #self.objectives > 1 or trial.value == nil then
    value = trial.values and trial.values[k or 1]
  else
    value = trial.value
  end
  return numbers.finite(value) and value or nil
end

-- More is better.
function Study:_score(k)
  local sign = self.objectives[k or 1].direction == "maximize" and 1 or -1
  if #self.objectives == 1 and sign == 1 then
    return function(trial)
      local value = trial.value
      if value == nil or trial.state ~= "complete" or not numbers.finite(value) then
        return self:value(trial, 1)
      end
      return value
    end
  end
  return function(trial)
    local value = self:value(trial, k)
    return value and sign * value
  end
end

-- Among equals of the first objective the others decide, then the lower number.
function Study:_ahead()
  local others = {}
  for k = 2, #self.objectives do
    others[k - 1] = self:_score(k)
  end
  return function(a, b)
    for _, score in ipairs(others) do
      local x, y = score(a) or -math.huge, score(b) or -math.huge
      if x ~= y then
        return x > y
      end
    end
    return a.number < b.number
  end
end

--- The complete trials with a finite objective.
function Study:_scored()
  local score, out = self:_score(), {}
  for _, trial in ipairs(self._trials) do
    if score(trial) then
      out[#out + 1] = trial
    end
  end
  return out, score
end

--- The complete trial with the best objective; of equal ones that with the lowest number. With several objectives
--- the first decides, and the others where it is equal: pareto() has the full answer.
---@return table? trial nil when none is complete
function Study:best()
  return self:top(1)[1]
end

--- The n best complete trials, best first. With a name, those with the most ("desc") or least ("asc") of that.
---@param n integer? 10
---@param name nil|string|fun(trial: table): any
---@param direction nil|"asc"|"desc" "desc"
---@return table[] trials a plain list, shorter than n when there are no more
function Study:top(n, name, direction)
  n = n == nil and 10 or n
  if type(n) ~= "number" or n < 0 or n ~= n then
    error(("study:top wants a number of trials, got %s"):format(options_.show(n)), 2)
  elseif direction ~= nil and direction ~= "asc" and direction ~= "desc" then
    error(('study:top: the direction is "asc" or "desc", got %s'):format(options_.show(direction)), 2)
  end
  local score = self:_score()
  if name ~= nil then
    local get, sign = columns.getter(self, name, "study:top", 2), direction == "asc" and -1 or 1
    score = function(trial)
      local value = get(trial)
      return trial.state == "complete" and type(value) == "number" and value == value and sign * value or nil
    end
  end
  return order.top(self._trials, score, n, name == nil and self:_ahead() or function(a, b)
    return a.number < b.number
  end)
end

--- A table of rows by columns, of complete trials: what a heatmap shows.
---
---     local map = study:pivot("fast", "slow", "Sharpe Ratio", "max")
---     print(map.rows[1], map.columns[2], map.cells[1][2])
---
---@param row string|fun(trial: table): any
---@param column string|fun(trial: table): any
---@param metric nil|string|fun(trial: table): any the (first) objective
---@param aggregate nil|"mean"|"median"|"min"|"max"|"count"|"first"|fun(list: number[]): number? "mean"
---@return table pivot rows, columns: the values in order; cells[i][j]: a number, or nil where there was no trial;
---counts[i][j]; min, max: of the finite cells; left_out: complete trials without the row, the column or a number
function Study:pivot(row, column, metric, aggregate)
  local fold = aggregate == nil and "mean" or aggregate
  if type(fold) ~= "function" then
    fold = order.aggregates[fold]
    if not fold then
      error(("study:pivot: %s is none of mean, median, min, max, count, first, and no function"):format(
        options_.show(aggregate)), 2)
    end
  end
  local of_row = columns.getter(self, row, "study:pivot", 2)
  local of_column = columns.getter(self, column, "study:pivot", 2)
  local of_metric = metric == nil and function(trial)
    return self:value(trial, 1)
  end or columns.getter(self, metric, "study:pivot", 2)
  return order.pivot(self:trials "complete", of_row, of_column, of_metric, fold)
end

for _, part in ipairs { "moonsand.study.statistics", "moonsand.study.exports" } do
  for name, method in pairs(require(part)) do
    Study[name] = method
  end
end

return M
