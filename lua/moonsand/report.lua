--- A study as one HTML file that needs nothing else: no network, no server, no library.
---
---     local report = require "moonsand.report"
---     assert(report.write(study, "sma.html", { title = "SMA cross on GOOG", curves = { 7, 31 } }))
---
--- The trials stand in the page as JSON; a script in the page draws them. Names, parameters, metrics and messages come
--- from programs that nobody trusts: they are data for the script and never markup, and the page's policy lets nothing
--- run or load but what was written here.
local base64 = require "moonsand.base64"
local core = require "moonsand.core"
local data = require "moonsand.report.data"
local encode = require "moonsand.report.encode"
local errors = require "moonsand.errors"
local file = require "moonsand.study.file"
local options = require "moonsand.options"

local M = {}

-- They make one script, in this order.
local scripts = {
  "base", "model", "plot", "summary", "detail", "filter", "table", "scatter", "heatmap", "parallel", "curves",
  "walkforward", "lists", "main",
}

local function list_of(kind)
  return function(name, value, level)
    options.table(name, value, level + 1)
    for i = 1, #value do
      local item = value[i]
      if kind == "number" and not math.tointeger(item) or kind == "table" and type(item) ~= "table" then
        error(("option '%s': item %d is not %s"):format(name, i, kind == "number" and "a trial's number" or "a table"),
          level + 1)
      end
    end
    return value
  end
end

local schema = {
  title = options.text, curves = list_of "number", x = options.text, y = options.text, sections = list_of "table",
  max_trials = options.count,
}

---@class moonsand.ReportOptions
---@field title string? heading of the page; default: the script's name
---@field curves integer[]? numbers of the trials whose series are drawn, 40 at most; default: the best 5 that have any
---@field x string? parameter along the heatmap; default: the most important one
---@field y string? parameter up the heatmap; default: the next most important one
---@field sections { title: string, text: string?, columns: string[]?, rows: any[][]? }[]? at the end of the page
---@field max_trials integer? trials that the page holds at most; default 20,000

local function read(name, extension)
  local path, why = package.searchpath("moonsand.report." .. name, (package.path:gsub("%.lua", extension)))
  local f = path and io.open(path, "r")
  if not f then
    return errors.fail("io", ("the report's %s%s is missing; install moonsand again (%s)"):format(
      name, extension, path or why:gsub("%s+", " ")))
  end
  local text = f:read "a"
  f:close()
  if not text then
    return errors.fail("io", "cannot read " .. path)
  end
  return text
end

-- The policy names what may run by its hash, so markup that got in all the same would be dead.
local function source(text)
  local hex, err = core.sha256(text)
  if not hex then
    return nil, err
  end
  return "'sha256-" .. base64.encode((hex:gsub("%x%x", function(byte)
    return string.char(tonumber(byte, 16))
  end))) .. "'"
end

local function parts()
  local page, err = read("page", ".html")
  if not page then
    return nil, err
  end
  local style
  style, err = read("page", ".css")
  if not style then
    return nil, err
  end
  local pieces = { "(() => {\n\"use strict\";\n" }
  for _, name in ipairs(scripts) do
    local piece
    piece, err = read(name, ".js")
    if not piece then
      return nil, err
    end
    pieces[#pieces + 1] = piece
  end
  pieces[#pieces + 1] = "})();\n"
  return { page = page, style = style, script = table.concat(pieces) }
end

--- The page as text.
---@param study table
---@param given moonsand.ReportOptions
---@param level integer
---@return string? html, moonsand.Error? err
local function html(study, given, level)
  local model = data.build(study, given, level + 1)
  local files, err = parts()
  if not files then
    return nil, err
  end
  local style, script
  style, err = source(files.style)
  if style then
    script, err = source(files.script)
  end
  if not script then
    return nil, err
  end
  local title = encode.html(model.title)
  local values = {
    style_hash = style, script_hash = script, version = encode.html(core.version), title = title, style = files.style,
    script = files.script, data = encode.value(model),
  }
  return (files.page:gsub("{{([%l_]+)}}", values))
end

--- Writes the report of a study. The file at path is replaced as a whole or not at all; a device or a pipe there
--- (/dev/stdout) is written to.
--- Raises for options that do not exist, for axes that are no parameters and for what is no study; the world returns
--- nil, err.
---@param study table { trials = list or method, meta = table?, best =, importance =, pareto =, warnings = }
---@param path string
---@param given moonsand.ReportOptions?
---@return boolean? ok, moonsand.Error? err
function M.write(study, path, given)
  if type(study) ~= "table" and type(study) ~= "userdata" then
    error(("report.write wants a study, got %s"):format(type(study)), 2)
  end
  options.text("path", path, 2)
  local checked = options.check("report.write", given or {}, schema, 2)
  checked.max_trials = checked.max_trials or 20000
  local text, err = html(study, checked, 2)
  if not text then
    return nil, err
  end
  return file.write(path, function(put)
    put(text)
  end)
end

return M
