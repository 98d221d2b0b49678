--- moonsand report JOURNAL [-o FILE.html]: a sweep's journal as a page to look at.
local common = require "moonsand.cli.common"
local moonsand = require "moonsand"
local options = require "moonsand.options"
local term = require "moonsand.cli.term"

local M = {}

function M.define(parser)
  local c = parser:command("report", "Write a sweep's journal as one HTML file.")
  c:argument("journal", "The journal, also of a sweep that still runs."):argname "JOURNAL"
  c:option("-o --output", "The file (default: the journal's name with .html)."):argname "FILE"
  c:option("--title", "What it is called."):argname "TEXT"
  c:option("-x --x", "Parameter across the heatmap."):argname "NAME"
  c:option("-y --y", "Parameter up the heatmap."):argname "NAME"
  c:option("--curve", "Show the equity curve of this trial."):argname "NUMBER":count "*"
  c:flag("--json", "Print JSON.")
end

local function check_parameter(study, option, name)
  if not name then
    return
  end
  local names = {}
  for _, p in ipairs(study.meta and study.meta.params or {}) do
    if p.name == name then
      return
    end
    names[#names + 1] = term.line(tostring(p.name))
  end
  if #names > 0 then
    error(("--%s %s: the sweep has no such parameter (it has %s)"):format(option, options.show(name),
      table.concat(names, ", ")), 0)
  end
end

function M.main(args)
  local path = args.output or args.journal:gsub("%.jsonl?$", "") .. ".html"
  common.keep_journal("--output", path, args.journal)
  local study, err = moonsand.study(args.journal)
  if not study then
    error(err, 0)
  end
  check_parameter(study, "x", args.x)
  check_parameter(study, "y", args.y)
  local curves
  for i, given in ipairs(args.curve) do
    curves = curves or {}
    curves[i] = options.count("--curve", given)
  end
  local ok
  ok, err = study:report(path, {
    title = args.title or (args.journal:match "([^/]+)/*$" or args.journal):gsub("%.jsonl?$", ""), curves = curves,
    x = args.x, y = args.y,
  })
  if not ok then
    error(err, 0)
  end
  io.stdout:seek "end" -- behind the page, when that is where it went
  if args.json then
    common.print_json { report = path, trials = #study }
  elseif not path:find "^/dev/" and not path:find "^/proc/" then
    io.stdout:write(term.line(path), "\n")
  end
  return 0
end

return M
