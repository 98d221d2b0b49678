--- moonsand trials JOURNAL: what a sweep's journal holds, as a table, JSON or CSV.
local csv = require "moonsand.study.csv"
local errors = require "moonsand.errors"
local jsonl = require "moonsand.study.jsonl"
local live = require "moonsand.cli.live"
local moonsand = require "moonsand"
local moonsand_study = require "moonsand.study"
local options = require "moonsand.options"
local text = require "moonsand.text"
local wide = require "moonsand.study.wide"

local M = {}

local states = { "complete", "failed", "pruned", "running", "waiting" }

function M.define(parser)
  local c = parser:command("trials", "Show the trials of a sweep's journal.")
  c:argument("journal", "The journal, also of a sweep that still runs."):argname "JOURNAL"
  c:flag("--failed", "Only those that failed, with why.")
  c:option("--state", "Only those in this state."):choices(states)
  c:option("--top", "Only the best so many, the best first."):argname "N"
  c:option("--metric", "Show this metric, too."):argname "NAME":count "*"
  c:mutex(
    c:flag("--json", "One JSON object a line, with all that is known."),
    c:flag("--csv", "CSV, with all parameters and metrics.")
  )
end

local function names_of(trials, field)
  local seen, names = {}, {}
  for _, trial in ipairs(trials) do
    for name in pairs(trial[field] or {}) do
      if not seen[name] then
        seen[name] = true
        names[#names + 1] = name
      end
    end
  end
  table.sort(names)
  return names
end

local function value_of(trial)
  if trial.values then
    local parts = {}
    for i, v in ipairs(trial.values) do
      parts[i] = live.value(v)
    end
    return table.concat(parts, " / ")
  end
  return trial.value ~= nil and live.value(trial.value) or ""
end

local function cell(value)
  return value == nil and "" or live.value(value)
end

local function width(s)
  return utf8.len(s) or #s
end

--- A table with a column for each parameter, as text.
---@param trials table[]
---@param metrics string[]? names of metrics that are shown, too
---@return string
function M.text(trials, metrics)
  local params = names_of(trials, "params")
  local header = { "trial", "state", "value" }
  for _, list in ipairs { params, metrics or {} } do
    for _, name in ipairs(list) do
      header[#header + 1] = text.harmless(name, 40)
    end
  end
  header[#header + 1] = "time"
  local failed = false
  for _, trial in ipairs(trials) do
    failed = failed or trial.state == "failed"
  end
  if failed then
    header[#header + 1] = "message"
  end
  local rows = { header }
  for _, trial in ipairs(trials) do
    local state = trial.state == "failed" and trial.reason and "failed: " .. trial.reason or trial.state
    local row = { tostring(trial.number), text.harmless(tostring(state), 40), value_of(trial) }
    for _, name in ipairs(params) do
      row[#row + 1] = cell(trial.params[name])
    end
    for _, name in ipairs(metrics or {}) do
      row[#row + 1] = cell(trial.metrics and trial.metrics[name])
    end
    row[#row + 1] = trial.wall_s and live.seconds(trial.wall_s) or ""
    if failed then
      row[#row + 1] = text.harmless(trial.message or "", 200)
    end
    rows[#rows + 1] = row
  end
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i, s in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, width(s))
    end
  end
  for r, row in ipairs(rows) do
    local parts = {}
    for i, s in ipairs(row) do
      local pad = (" "):rep(widths[i] - width(s))
      -- Numbers stand at the right; what is read as words at the left.
      local left = i == 2 or failed and i == #header
      parts[i] = left and s .. pad or pad .. s
    end
    lines[r] = table.concat(parts, "  "):gsub(" +$", "")
  end
  return table.concat(lines, "\n") .. "\n"
end

local function print(...)
  local ok, why = io.stdout:write(...)
  if not ok then
    error("cannot write to the standard output: " .. why, 0)
  end
end

local function print_csv(study)
  local columns, err = wide.columns(study, {})
  if not columns then
    error(err, 0)
  end
  local row = {}
  for j, column in ipairs(columns) do
    row[j] = csv.cell(column.name)
  end
  print(table.concat(row, ","), "\r\n")
  for _, trial in ipairs(study) do
    for j, column in ipairs(columns) do
      row[j] = csv.cell(column.get(trial))
    end
    print(table.concat(row, ","), "\r\n")
  end
end

--- The trials that the options ask for.
---@param study moonsand.Study
---@return moonsand.Study
local function chosen(study, args)
  local state = args.failed and "failed" or args.state
  if args.failed and args.state and args.state ~= "failed" then
    error("--failed and --state " .. args.state .. " exclude each other", 0)
  elseif args.top and state and state ~= "complete" then
    error("--top is of complete trials; leave it away", 0)
  elseif args.top then
    return moonsand_study.new { trials = study:top(options.count("--top", args.top)), meta = study.meta }
  end
  return state and study:filter(state) or study
end

local most_named = 10

-- A column with nothing in it would look like an answer.
local function check_metrics(study, wanted)
  local names = #wanted > 0 and names_of(study:trials(), "metrics") or {}
  if #names == 0 then
    return -- of a sweep that has just begun, say
  end
  local known = {}
  for _, name in ipairs(names) do
    known[name] = true
  end
  for _, name in ipairs(wanted) do
    if not known[name] then
      local near, some = errors.nearest(name, names), {}
      for i = 1, math.min(#names, most_named) do
        some[i] = text.harmless(names[i], 60)
      end
      error(("--metric %s: no trial has it; %s"):format(options.show(name), near and "did you mean "
        .. options.show(text.harmless(near, 60)) .. "?" or "there are " .. table.concat(some, ", ")
        .. (#names > #some and (" and %d more"):format(#names - #some) or "")), 0)
    end
  end
end

function M.main(args)
  local all, err = moonsand.study(args.journal)
  if not all then
    error(err, 0)
  end
  check_metrics(all, args.metric)
  local study = chosen(all, args)
  if args.json then
    for _, trial in ipairs(study) do
      print(jsonl.line(trial), "\n")
    end
  elseif args.csv then
    print_csv(study)
  elseif #study == 0 then
    print(#all == 0 and "the journal has no trials yet\n" or "no such trials\n")
  else
    print(M.text(study, args.metric))
  end
  return 0
end

return M
