--- A study as what the page draws: one table, ready for encode.value(). A study that lacks a method, or whose method
--- fails, leaves out what came from it; in its place stands why.
local asked = require "moonsand.report.asked"
local choose = require "moonsand.report.choose"
local columns = require "moonsand.report.columns"
local core = require "moonsand.core"
local curves = require "moonsand.report.curves"
local encode = require "moonsand.report.encode"
local facts = require "moonsand.report.facts"
local options = require "moonsand.options"
local sections = require "moonsand.report.sections"
local text = require "moonsand.text"

local M = {}

local codes = { complete = "c", pruned = "p", failed = "f", running = "r", waiting = "w" }
-- Longer than this, the messages would be most of the file.
local most_messages = 1000
local most_curves, usual_curves = 40, 5

local function by_number(a, b)
  return a.number < b.number
end

--- The study's trials in the order of their numbers, as a list of our own; raises when there is none to be had.
---@param study table
---@param level integer
---@return table[]
function M.trials(study, level)
  local given = study.trials
  if type(given) == "function" then
    given = given(study)
  end
  if type(given) ~= "table" then
    error(("a report wants a study, whose trials are a list or a method; got %s"):format(type(given)), level + 1)
  end
  local out = {}
  for i, trial in ipairs(given) do
    local number = type(trial) == "table" and math.tointeger(trial.number)
    if not number then
      error(("a report wants trials with whole numbers; item %d of study.trials has none"):format(i), level + 1)
    end
    out[i] = trial
  end
  table.sort(out, by_number)
  return out
end

local function objectives_of(meta)
  local given, out = meta.objectives or meta.objective, {}
  if type(given) == "table" then
    for i, one in ipairs(given) do
      local name, direction = one, nil
      if type(one) == "table" then
        name, direction = one[1] or one.name, one[2] or one.direction
      end
      out[i] = { metric = type(name) == "string" and name or nil, direction = direction }
    end
  end
  if #out == 0 then
    out[1] = { metric = type(given) == "string" and given or nil, direction = meta.direction }
  end
  for i, one in ipairs(out) do
    one.name = one.metric and text.maybe(one.metric, columns.longest_name) or #out == 1 and "Objective"
      or ("Objective %d"):format(i)
    one.direction = one.direction == "minimize" and "minimize" or "maximize"
  end
  return out
end

local function param_names(meta)
  local out = {}
  for _, d in ipairs(type(meta.params) == "table" and meta.params or {}) do
    if type(d) == "table" and type(d.name) == "string" then
      out[#out + 1] = d.name
    end
  end
  return out
end

-- Raises for an axis of the heatmap that is no parameter, when any are known.
local function check_axes(given, meta, trials, level)
  if not (given.x or given.y) then
    return
  end
  local known, names = {}, {}
  local function add(name)
    if type(name) == "string" and not known[name] then
      known[name], names[#names + 1] = true, name
    end
  end
  for _, name in ipairs(param_names(meta)) do
    add(name)
  end
  for _, trial in ipairs(trials) do
    for name in pairs(type(trial.params) == "table" and trial.params or {}) do
      add(name)
    end
  end
  table.sort(names)
  for _, option in ipairs { "x", "y" } do
    local name = given[option]
    if name and names[1] and not known[name] then
      error(("option '%s': the study has no parameter %s (it has %s)"):format(option, options.show(name),
        facts.show(names)), level + 1)
    end
  end
end

local function messages_of(trials)
  local labels, place, at, over = {}, {}, {}, false
  for row, trial in ipairs(trials) do
    local message = facts.show(trial.message, 500)
    local i = -1
    if message then
      i = place[message]
      if not i and #labels < most_messages then
        i = #labels
        labels[i + 1], place[message] = message, i
      end
      over = over or not i
    end
    at[row] = i or -2
  end
  return { labels = labels, values = encode.numbers(at, #at) }, over
end

-- Of a walk through windows, those that were tried on data that their parameters were not chosen on.
local function out_of_sample(meta, ranked)
  local out = {}
  for _, trial in ipairs(type(meta.walkforward) == "table" and ranked or {}) do
    if type(trial.params) == "table" and trial.params.segment == "out-of-sample" then
      out[#out + 1] = trial
    end
  end
  return #out > 0 and out or nil
end

-- The best by the study, or by the objective when it does not say.
local function best_of(study, ranked, by)
  local given = asked.ask(study, "best")
  if type(given) == "table" and given.number == nil then
    given = given[1]
  end
  return type(given) == "table" and by[given.number] or ranked[1]
end

local function chosen(given, ranked, by)
  local out, missing = {}, {}
  if given then
    for i = 1, math.min(#given, most_curves) do
      local trial = by[given[i]]
      if trial and curves.has(trial) then
        out[#out + 1] = trial
      else
        missing[#missing + 1] = tostring(given[i])
      end
    end
  else
    for _, trial in ipairs(ranked) do
      if #out < usual_curves and curves.has(trial) then
        out[#out + 1] = trial
      end
    end
  end
  return out, missing
end

local function warnings_of(study, meta)
  local out, seen = {}, {}
  for _, list in ipairs { study.warnings or false, meta.warnings or false, { meta.error } } do
    for i, warning in ipairs(type(list) == "table" and list or {}) do
      local shown = i <= 100 and facts.show(warning, 500)
      if shown and not seen[shown] then
        seen[shown], out[#out + 1] = true, shown
      end
    end
  end
  return out
end

local function curves_of(list, rows)
  local out = {}
  for _, trial in ipairs(list) do
    local series = curves.of(trial)
    if #series > 0 then
      out[#out + 1] = { number = trial.number, row = rows[trial], series = series }
    end
  end
  return out
end

-- What is about all trials, not only those that the page gets.
local function overview(study, meta, trials)
  local windows, why = facts.walkforward(meta.walkforward)
  local counts = facts.counts(trials)
  local failures = facts.not_kept(meta, counts, facts.failures(trials))
  return {
    counts = counts, times = facts.times(meta, trials, counts), origin = facts.origin(meta), failures = failures,
    walkforward = windows and { windows = windows } or { why = why },
    importance = asked.importance(study), robust = asked.robust(study, trials, windows ~= nil),
    warnings = warnings_of(study, meta), stopped = facts.stopped(meta.stopped),
  }
end

--- Everything that the page needs.
---@param study table
---@param given table options of report.write, checked
---@param level integer whom to blame for a study that is none
---@return table
function M.build(study, given, level)
  local trials = M.trials(study, level + 1)
  local meta = type(study.meta) == "table" and study.meta or {}
  check_axes(given, meta, trials, level + 1)
  local objectives = objectives_of(meta)
  local direction = objectives[1].direction
  local ranked, by = choose.ranked(trials, direction), {}
  for _, trial in ipairs(trials) do
    by[trial.number] = trial
  end
  local outside = out_of_sample(meta, ranked)
  local best = outside and outside[1] or best_of(study, ranked, by)
  local curved, missing = chosen(given.curves, outside or ranked, by)
  local pareto, no_pareto = asked.pareto(study, by, #objectives, #ranked)
  local wanted = { best } -- it before all others, should the page have no room for them
  for _, trial in ipairs(curved) do
    wanted[#wanted + 1] = trial
  end
  for _, number in ipairs(pareto) do
    wanted[#wanted + 1] = by[number]
  end
  local shown, every = choose.fewer(trials, ranked, direction, given.max_trials, wanted)

  local out = overview(study, meta, trials)
  local cols, notes, all_params = columns.build(shown, objectives, param_names(meta))
  local rows, states, numbers, reasons = {}, {}, {}, {}
  for row, trial in ipairs(shown) do
    rows[trial], states[row], numbers[row] = row - 1, codes[trial.state] or "w", trial.number
    reasons[row] = type(trial.reason) == "string" and trial.reason or nil
  end
  local messages, over = messages_of(shown)
  if #shown < #trials then
    notes[#notes + 1] = ("%d of %d trials are in this page: the best, %s that was the best so far, and an even share "
      .. "of the others. Counts, failures and times are those of all."):format(#shown, #trials,
      every and "each" or "many a one")
  end
  notes[#notes + 1] = no_pareto
  if meta.kept == false then
    notes[#notes + 1] = "The sweep did not keep its trials; the best is here, and the counts are those of all."
  end
  if over then
    notes[#notes + 1] = ("Only the first %d different messages of trials are kept."):format(most_messages)
  end
  if #missing > 0 then
    notes[#notes + 1] = "No series of these trials were found: " .. table.concat(missing, ", ") .. "."
  end
  out.title = text.maybe(given.title, 200) or text.maybe(meta.title, 200)
    or "Sweep of " .. (facts.show(meta.script, 120) or "a script")
  out.made, out.version = os.date "!%Y-%m-%dT%H:%M:%SZ", core.version
  out.objectives, out.columns, out.messages, out.all_params = objectives, cols, messages, all_params
  out.rows, out.states, out.numbers = #shown, table.concat(states), encode.numbers(numbers, #numbers)
  out.reasons = columns.column("Reason", "text", reasons, #shown, columns.room())
  out.best, out.pareto, out.outside = best and rows[best] or nil, pareto, outside ~= nil
  out.curves, out.sections, out.notes = curves_of(curved, rows), sections.of(given.sections), notes
  out.x = given.x and text.harmless(given.x, columns.longest_name)
  out.y = given.y and text.harmless(given.y, columns.longest_name)
  return out
end

return M
