--- A SQLite database, by Debian's lua-sql-sqlite3.
---
---     assert(study:sqlite "sma.db")
---     -- sqlite3 sma.db 'select fast, slow, "Sharpe Ratio" from trials order by value desc limit 5'
---
--- Tables: trials (a row for each, with all parameters and metrics as columns), reports (number, step, name, value),
--- series (number, name, position, value; only when asked for: it is large), study (name, value: script, objective
--- and the like). NaN is NULL, for SQLite has none; infinities are kept. Texts are kept, except for NUL bytes.
--- Numbers of very many digits and very large or small ones are as SQLite reads them: the last of 17 digits may differ.
local errors = require "moonsand.errors"
local file = require "moonsand.study.file"
local json = require "moonsand.json"
local wide = require "moonsand.study.wide"

local M = {}

local rows_a_statement = 100 -- parsing is what takes the time

-- A text as SQL has it. NUL ends the statement for SQLite's C interface.
local function quoted(value)
  return "'" .. value:gsub("%z", ""):gsub("'", "''") .. "'"
end

local function named(name)
  return '"' .. name:gsub("%z", ""):gsub('"', '""') .. '"'
end

--- A value as it stands in a statement.
---@param value any
---@return string
function M.literal(value)
  local kind = type(value)
  if kind == "string" then
    return quoted(value)
  elseif kind == "boolean" then
    return value and "1" or "0"
  elseif kind ~= "number" or value ~= value then
    return "NULL"
  elseif value == math.huge or value == -math.huge then
    return value > 0 and "9e999" or "-9e999"
  end
  local text = wide.number(value)
  -- A float stays one: 5.0, not 5.
  return math.type(value) == "float" and not text:find "[.e]" and text .. ".0" or text
end

local function driver()
  local found, luasql = pcall(require, "luasql.sqlite3")
  if not found then
    return errors.fail("unsupported", "SQLite needs the Lua module luasql.sqlite3, which is not there; install "
      .. "Debian's package lua-sql-sqlite3, or write CSV or JSON lines", { op = "study:sqlite" })
  end
  return luasql
end

-- Statements of many rows at a time.
local function inserter(run, into)
  local rows, n = {}, 0
  local function flush()
    if n > 0 then
      run("INSERT INTO " .. into .. " VALUES " .. table.concat(rows, ",", 1, n))
      n = 0
    end
  end
  return function(values)
    n = n + 1
    rows[n] = "(" .. table.concat(values, ",") .. ")"
    if n == rows_a_statement then
      flush()
    end
  end, flush
end

local function write_trials(run, trials, columns)
  local names, row = {}, {}
  for j, column in ipairs(columns) do
    names[j] = named(column.name)
  end
  run("CREATE TABLE trials (" .. table.concat(names, ",") .. ")")
  local add, flush = inserter(run, "trials")
  for _, trial in ipairs(trials) do
    for j, column in ipairs(columns) do
      row[j] = M.literal(column.get(trial))
    end
    add(row)
  end
  flush()
  run "CREATE INDEX trials_number ON trials (number)"
end

local function write_reports(run, trials)
  run "CREATE TABLE reports (number, step, name, value)"
  local add, flush = inserter(run, "reports")
  for _, trial in ipairs(trials) do
    for _, report in ipairs(trial.reports or {}) do
      for name, value in pairs(report.metrics or {}) do
        add { M.literal(trial.number), M.literal(report.step), M.literal(tostring(name)), M.literal(value) }
      end
    end
  end
  flush()
end

local function write_series(run, trials)
  run "CREATE TABLE series (number, name, position, value)"
  local add, flush = inserter(run, "series")
  for _, trial in ipairs(trials) do
    for name, list in pairs(trial.series or {}) do
      for i, value in ipairs(list) do
        add { M.literal(trial.number), M.literal(tostring(name)), M.literal(i), M.literal(value) }
      end
    end
  end
  flush()
end

local function write_study(run, study)
  run "CREATE TABLE study (name, value)"
  local add, flush = inserter(run, "study")
  for name, value in pairs(study.meta) do
    if type(value) == "table" then
      local encoded, text = pcall(json.encode, value)
      value = encoded and text or nil
    end
    add { M.literal(tostring(name)), M.literal(value) }
  end
  flush()
end

local function fill(luasql, path, study, columns, options)
  local env = assert(luasql.sqlite3())
  -- A name without a slash could be one of those that mean something else to SQLite.
  local connection, why = env:connect(path:find("/", 1, true) and path or "./" .. path)
  if not connection then
    env:close()
    return nil, why
  end
  local failure = {}
  local function run(statement)
    local answer, reason = connection:execute(statement)
    if not answer then
      failure.why = reason
      error(failure, 0)
    elseif type(answer) == "userdata" then
      answer:close()
    end
  end
  local ok, problem = pcall(function()
    -- The file is not there for anybody before it is whole: nothing needs to be rolled back.
    run "PRAGMA journal_mode = OFF"
    run "PRAGMA synchronous = OFF"
    run "BEGIN"
    local trials = study:trials()
    write_trials(run, trials, columns)
    write_reports(run, trials)
    if options.series then
      write_series(run, trials)
    end
    write_study(run, study)
    run "COMMIT"
  end)
  connection:close()
  env:close()
  if not ok and problem ~= failure then
    error(problem, 0)
  end
  return ok, failure.why
end

--- study:sqlite(path, options).
---@param study moonsand.Study
---@param path string an existing file is replaced
---@param options { metrics: string[]?, series: boolean? }
---@return boolean? ok
---@return moonsand.Error? err code "unsupported" when lua-sql-sqlite3 is not installed
function M.write(study, path, options)
  local luasql, err = driver()
  if not luasql then
    return nil, err
  end
  local columns
  columns, err = wide.columns(study, options)
  if not columns then
    return nil, err
  end
  return file.replace(path, function(part)
    return fill(luasql, part, study, columns, options)
  end)
end

return M
