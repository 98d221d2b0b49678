--- The methods of a study that write files.
local options_ = require "moonsand.options"

local Study = {}

local function path_given(path, op, level)
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then
    error(("%s wants the path of a file, got %s"):format(op, options_.show(path)), level + 1)
  end
end

local export_options = { metrics = options_.table, series = options_.flag }

--- Writes a CSV file: a row for each trial, in the study's order. See moonsand.study.csv for what becomes of texts.
--- An existing file is replaced at the end, at once; when something fails, it is as it was.
---@param path string
---@param options { metrics: string[]? }? which metrics; all
---@return boolean? ok
---@return moonsand.Error? err code "io" (a full disk, say)
function Study:csv(path, options)
  path_given(path, "study:csv", 2)
  options = options_.check("study:csv", options or {}, { metrics = options_.table }, 2)
  return require "moonsand.study.csv".write(self, path, options)
end

--- Writes JSON lines: a trial in each, with series and reports. As csv() otherwise.
---@param path string
---@return boolean? ok
---@return moonsand.Error? err
function Study:jsonl(path)
  path_given(path, "study:jsonl", 2)
  return require "moonsand.study.jsonl".write(self, path)
end

--- Writes a SQLite database with Debian's lua-sql-sqlite3. As csv() otherwise.
---@param path string
---@param options { metrics: string[]?, series: boolean? }? series: with a table of all points of all series
---@return boolean? ok
---@return moonsand.Error? err code "unsupported" when the module is not installed
function Study:sqlite(path, options)
  path_given(path, "study:sqlite", 2)
  options = options_.check("study:sqlite", options or {}, export_options, 2)
  return require "moonsand.study.sqlite".write(self, path, options)
end

--- Writes one HTML file with tables and charts: see moonsand.report.
---@param path string
---@param options table?
---@return boolean? ok
---@return moonsand.Error? err
function Study:report(path, options)
  path_given(path, "study:report", 2)
  return require "moonsand.report".write(self, path, options)
end

return Study
