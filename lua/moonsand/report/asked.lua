--- What a report asks a study for. A study that lacks a method, or whose method fails, costs that part of the page
--- only; in its place stands why.
local curves = require "moonsand.report.curves"
local errors = require "moonsand.errors"
local facts = require "moonsand.report.facts"
local text = require "moonsand.text"

local M = {}

local longest_name, most_params = 80, 40

-- Points of all curves together that the tests of luck are worth while waiting for: a second or two.
local most_points = 4000000

--- What study:name(...) returns, at most two values; nil and why when that is nothing. Raises Ctrl-C only.
---@param study table
---@param name string
---@return any value, any more
function M.ask(study, name, ...)
  local found, method = pcall(function()
    return study[name]
  end)
  if not found or type(method) ~= "function" then
    return nil, ("The study has no %s()."):format(name)
  end
  local good, value, more = pcall(method, study, ...)
  if not good then
    if errors.is_interrupt(value) then
      error(value, 0)
    end
    return nil, ("%s() failed: %s"):format(name, facts.show(value) or type(value))
  elseif value == nil then
    return nil, ("%s() has no answer%s"):format(name, more and ": " .. (facts.show(more, 500) or "?") or ".")
  end
  return value, more
end

local function finite(value)
  return type(value) == "number" and value == value and math.abs(value) < math.huge and value or nil
end

--- Parameters by importance: of a list of { name =, importance = }, or of a table by name.
---@param study table
---@return { rows: { name: string, value: number }[]?, explained: number?, why: string? }
function M.importance(study)
  local given, more = M.ask(study, "importance")
  if not given then
    return { why = more }
  elseif type(given) ~= "table" then
    return { why = "importance() gave no table." }
  end
  local out = {}
  local function add(name, value)
    if type(name) == "string" and finite(value) then
      out[#out + 1] = { name = text.harmless(name, longest_name), value = value }
    end
  end
  for k, v in pairs(given) do
    if type(v) == "table" then
      add(v.name or v.param or v[1], v.importance or v.value or v[2])
    else
      add(k, v)
    end
  end
  facts.most_first(out, "value", "name")
  if #out == 0 then
    return { why = "importance() named no parameter." }
  end
  return {
    rows = table.move(out, 1, math.min(#out, most_params), 1, {}),
    explained = type(more) == "table" and finite(more.explained) or nil,
  }
end

-- With three objectives or more, most trials may be on the front, and each is held against all of those: a second.
local most_compared = 3000

--- Numbers of the trials that none is better than in all objectives.
---@param study table
---@param by table<integer, table> trials by number
---@param objectives integer how many there are
---@param complete integer trials that are
---@return integer[] numbers
---@return string? why there are none
function M.pareto(study, by, objectives, complete)
  if objectives < 2 then
    return {}
  elseif objectives > 2 and complete > most_compared then
    return {}, ("The trials that none is better than in all %d objectives are left out, for they take too long to find "
      .. "among %d; study:pareto() does."):format(objectives, complete)
  end
  local out, given = {}, M.ask(study, "pareto")
  for i, trial in ipairs(type(given) == "table" and given or {}) do
    if type(trial) == "table" and by[trial.number] and i <= 200 then
      out[#out + 1] = trial.number
    end
  end
  return out
end

local function plateau(study)
  local found, why = M.ask(study, "plateau")
  if type(found) ~= "table" then
    return { why = why or "plateau() gave no table." }
  end
  return { kind = facts.show(found.kind, 40), verdict = facts.show(found.verdict, 500) }
end

local function probability(study, name, options)
  local found, why = M.ask(study, name, options)
  local value = type(found) == "table" and finite(found.probability) or finite(found)
  if not value then
    return { why = type(found) ~= "table" and why or name .. "() gave no probability." }
  end
  return { probability = value, trials = type(found) == "table" and finite(found.trials) or nil }
end

local function points_of(trials)
  local curved, points = 0, 0
  for _, trial in ipairs(trials) do
    local equity = trial.state == "complete" and curves.has(trial) and trial.series.equity
    if type(equity) == "table" then
      curved, points = curved + 1, points + #equity
    end
  end
  return curved, points
end

--- Is the best trial more than luck? Trials of different windows are of different times, and were chosen in each.
---@param study table
---@param trials table[]
---@param walked boolean? the study is a walk through windows
---@return { plateau: table, deflated: table, overfit: table }
function M.robust(study, trials, walked)
  if walked then
    local why = ("Per window only: the trials of different windows are of different times. study:filter { window = 1, "
      .. 'segment = "in-sample" }:%s() asks it of one.')
    return {
      plateau = { why = why:format "plateau" }, deflated = { why = why:format "deflated_sharpe" },
      overfit = { why = why:format "overfit_probability" },
    }
  end
  local curved, points = points_of(trials)
  local out = { plateau = plateau(study) }
  if points > most_points then
    local why = ("Too many curves (%d) to do it for a report; study:%%s() does."):format(curved)
    out.deflated, out.overfit = { why = why:format "deflated_sharpe" }, { why = why:format "overfit_probability" }
    return out
  end
  out.deflated = probability(study, "deflated_sharpe")
  -- 252 ways to part the time in two halves; the usual 12,870 would be most of the time that a report takes.
  local blocks = curved <= 1000 and 10 or 8
  out.overfit = probability(study, "overfit_probability", { blocks = blocks })
  return out
end

return M
