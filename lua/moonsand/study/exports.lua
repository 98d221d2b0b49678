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

--- Writes one HTML file with tables and charts: see moonsand.report. Sections that plugins made (study.sections) stand
--- before those of the options.
---@param path string
---@param options moonsand.ReportOptions?
---@return boolean? ok
---@return moonsand.Error? err
function Study:report(path, options)
  path_given(path, "study:report", 2)
  if self.sections and #self.sections > 0 and (options == nil or type(options) == "table") then
    local given = {}
    for name, value in pairs(options or {}) do
      given[name] = value
    end
    local own = type(given.sections) == "table" and given.sections or {}
    given.sections = table.move(own, 1, #own, #self.sections + 1, table.move(self.sections, 1, #self.sections, 1, {}))
    options = given
  end
  return require "moonsand.report".write(self, path, options)
end

--- What a plugin's exporter of that name makes of the study. Raises when there is none.
---@param name string
---@param path string
---@return any ok, any err what the exporter returns; nil and an error of code "invalid" when it raises
function Study:export(name, path)
  path_given(path, "study:export", 2)
  local exporters = self.exporters or {}
  if not exporters[name] then
    local known = {}
    for other in pairs(exporters) do
      known[#known + 1] = other
    end
    table.sort(known)
    error(("study:export: no plugin of this sweep has an exporter %s (there are: %s)"):format(options_.show(name),
      #known > 0 and table.concat(known, ", ") or "none"), 2)
  end
  return exporters[name](self, path)
end

return Study
