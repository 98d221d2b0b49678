--- moonsand trials JOURNAL: what a sweep's journal holds, as a table, JSON or CSV.
local json = require "moonsand.json"
local live = require "moonsand.cli.live"
local moonsand = require "moonsand"
local options = require "moonsand.options"
local text = require "moonsand.text"

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
    c:flag("--json", "One JSON object a line, with all metrics."),
    c:flag("--csv", "CSV, with all parameters and metrics.")
  )
end

-- JSON has no word for what is no number.
local function finite(value)
  if type(value) == "number" and (value ~= value or value == math.huge or value == -math.huge) then
    return value ~= value and "nan" or value > 0 and "inf" or "-inf"
  elseif type(value) == "table" then
    local out = {}
    for k, v in pairs(value) do
      out[k] = finite(v)
    end
    return out
  end
  return value
end

--- A trial as a plain table for JSON: without its series and reports, which are long.
---@param trial table
---@return table
function M.plain(trial)
  local out = {}
  for k, v in pairs(trial) do
    if k ~= "series" and k ~= "reports" and type(v) ~= "function" then
      out[k] = finite(v)
    end
  end
  return out
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

local function csv_cell(value)
  if value == nil then
    return ""
  elseif type(value) == "number" then
    if math.type(value) == "integer" then
      return ("%d"):format(value)
    end
    local short = ("%.14g"):format(value)
    return tonumber(short) == value and short or ("%.17g"):format(value)
  end
  local s = tostring(value)
  -- A spreadsheet takes what begins like this for a formula.
  if s:find "^[=+@\t\r-]" then
    s = "'" .. s
  end
  return s:find '[",\r\n]' and '"' .. s:gsub('"', '""') .. '"' or s
end

local function print_csv(trials)
  local params, metrics = names_of(trials, "params"), names_of(trials, "metrics")
  local row = { "number", "state", "reason", "value", "wall_s" }
  for _, name in ipairs(params) do
    row[#row + 1] = csv_cell(name)
  end
  for _, name in ipairs(metrics) do
    row[#row + 1] = csv_cell(name)
  end
  io.stdout:write(table.concat(row, ","), "\n")
  for _, trial in ipairs(trials) do
    row = { csv_cell(trial.number), csv_cell(trial.state), csv_cell(trial.reason), csv_cell(trial.value),
      csv_cell(trial.wall_s) }
    for _, name in ipairs(params) do
      row[#row + 1] = csv_cell(trial.params and trial.params[name])
    end
    for _, name in ipairs(metrics) do
      row[#row + 1] = csv_cell(trial.metrics and trial.metrics[name])
    end
    io.stdout:write(table.concat(row, ","), "\n")
  end
end

--- The trials that the options ask for.
---@param study moonsand.Study
---@return table[]
local function chosen(study, args)
  local state = args.failed and "failed" or args.state
  if args.failed and args.state and args.state ~= "failed" then
    error("--failed and --state " .. args.state .. " exclude each other", 0)
  end
  local list
  if args.top then
    if state and state ~= "complete" then
      error("--top is of complete trials", 0)
    end
    list = study:top(options.count("--top", args.top))
  else
    list = study:trials()
  end
  local out = {}
  for _, trial in ipairs(list) do
    if not state or trial.state == state then
      out[#out + 1] = trial
    end
  end
  return out
end

function M.main(args)
  local study, err = moonsand.study(args.journal)
  if not study then
    error(err, 0)
  end
  local trials = chosen(study, args)
  if args.json then
    for _, trial in ipairs(trials) do
      io.stdout:write(json.encode(M.plain(trial)), "\n")
    end
  elseif args.csv then
    print_csv(trials)
  elseif #trials == 0 then
    io.stdout:write(#study:trials() == 0 and "the journal has no trials\n" or "no such trials\n")
  else
    io.stdout:write(M.text(trials, args.metric))
  end
  return 0
end

return M
