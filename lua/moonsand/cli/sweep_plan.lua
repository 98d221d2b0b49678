--- What sweep the command line means: a Lua file that says it, or a program and options. Nothing is run here.
local common = require "moonsand.cli.common"
local moonsand = require "moonsand"
local options = require "moonsand.options"
local params = require "moonsand.cli.sweep_params"
local sweeps = require "moonsand.sweep"

local M = {}

-- Our own additions to the table that a Lua file returns; the rest is moonsand.sweep's.
local own = { box = "table", report = "string", executor = "table" }

local here = debug.getinfo(1, "S").short_src

--- A mistake in the user's file keeps its place, in words: a place in our own files would be cut off. Of a tail call
--- (return moonsand.sweep { ... }) Lua knows no line: the place is then ours, and the file is all that can be said.
local function in_file(path, err)
  if type(err) ~= "string" then
    return err
  end
  local place, line, rest = err:match "^([^\n]-%.lua):(%d+): (.*)$"
  if not place then
    return err
  end
  return place == here and ("%s: %s"):format(path, rest) or ("%s, line %s: %s"):format(place, line, rest)
end

-- What moonsand.sweep was called with, for a file that calls it itself: the command line's options go on top of that.
local function remembering(f)
  local made, given_of = moonsand.sweep, setmetatable({}, { __mode = "k" })
  moonsand.sweep = function(given)
    local sweep = sweeps.new(given, 2)
    given_of[sweep] = given
    return sweep
  end
  local _ <close> = setmetatable({}, { __close = function()
    moonsand.sweep = made
  end })
  local value, box = f()
  return value, box, given_of[value]
end

--- Runs a sweep's Lua file: it gets its own path, and returns moonsand.sweep{...} or the table of its options; after
--- it, or in it as `box`, options of engine:sandbox.
---@return table value, table? box, table? given of moonsand.sweep, when value is what that made
local function run_file(path)
  local chunk, why = loadfile(path, "t")
  if not chunk then
    error(in_file(path, why), 0)
  end
  local ok, value, box, given = xpcall(remembering, function(err)
    return in_file(path, err)
  end, function()
    return chunk(path)
  end)
  if not ok then
    error(value, 0)
  elseif type(value) ~= "table" then
    error(("%s returns %s; it should return moonsand.sweep { ... } or the table of its options"):format(path,
      value == nil and "nothing" or "a " .. type(value)), 0)
  elseif box ~= nil and type(box) ~= "table" then
    error(("%s returns a %s after the sweep; options of engine:sandbox go there"):format(path, type(box)), 0)
  end
  return value, box, given
end

local function number(name, value)
  if value == nil then
    return nil
  end
  local n = tonumber(value)
  if not n or n ~= n then
    error(("--%s: %s is not a number"):format(name, options.show(value)), 0)
  end
  return n
end

local function whole(name, value)
  local n = number(name, value)
  if n and not math.tointeger(n) then
    error(("--%s: %s is not a whole number"):format(name, options.show(value)), 0)
  end
  return n and math.tointeger(n)
end

local function list(values)
  return values and #values > 0 and values or nil
end

local function base_name(path)
  return (path:match "([^/]+)/*$" or path):gsub("%.%w+$", "")
end

--- Those of the options that both ways of saying it share: they win over the file's.
local function overrides(args)
  local halt = args.halt_failures and { failures = params.failures(args.halt_failures) } or nil
  local plugins
  for i, given in ipairs(args.plugin or {}) do
    plugins = plugins or {}
    plugins[i] = params.plugin(given)
  end
  return {
    sampler = args.sampler, pruner = args.pruner, seed = whole("seed", args.seed),
    max_trials = args.max_trials and options.count("--max-trials", args.max_trials),
    max_time = args.max_time and options.duration("--max-time", args.max_time), target = number("target", args.target),
    fail_fast = args.fail_fast or nil, halt = halt, journal = args.journal, fsync = args.fsync,
    jobs = math.tointeger(tonumber(args.jobs)), cache = list(args.cache), plugins = plugins,
  }
end

-- Options that say what only the file can say.
local only_without_lua = { param = "--param", where = "--where", objective = "--objective" }

local function from_lua(args)
  for name, shown in pairs(only_without_lua) do
    if list(args[name]) then
      error(("%s is for a sweep without Lua; %s says it itself"):format(shown, args.file), 0)
    end
  end
  if args.minimize then
    error(("--minimize is for a sweep without Lua; %s says its direction itself"):format(args.file), 0)
  end
  local value, box, made_of = run_file(args.file)
  local plan = { box = box or {}, given = {} }
  for k, v in pairs(made_of or value) do
    if own[k] and not made_of then
      if type(v) ~= own[k] then
        error(("%s: %s is a %s, got %s"):format(args.file, k, own[k], options.show(v)), 0)
      end
      plan[k] = v
    else
      plan.given[k] = v
    end
  end
  if box then
    plan.box = box
  end
  return plan
end

local function from_options(args)
  local given = { script = args.file }
  if not list(args.param) then
    error(("no --param is given: say what is tried, for example --param fast=5:30:5; or write the sweep in Lua, for "
      .. "example %s.lua"):format(base_name(args.file)), 0)
  elseif not list(args.objective) then
    error("--objective is missing: it names a member of the JSON that the program writes, for example "
      .. "--objective 'Sharpe Ratio'", 0)
  end
  given.space = params.space(args.param)
  given.where = args.where and params.where(args.where, given.space)
  given.objective, given.direction = params.objective(args.objective, args.minimize and "minimize" or "maximize")
  if args.arguments then
    given.args = function(p)
      local names, words = {}, {}
      for name in pairs(p) do
        names[#names + 1] = name
      end
      table.sort(names)
      for _, name in ipairs(names) do
        words[#words + 1] = "--" .. name
        words[#words + 1] = tostring(p[name])
      end
      return words
    end
  end
  return { given = given, box = {} }
end

--- "PATH" or "PATH=NAME" of --data and --dataset -> { [name] = path } for all, and the names of the data sets.
local function data_of(args)
  local map, names = {}, {}
  local function add(given)
    local path, name = given:match "^(.-)=([^=]+)$"
    if not path then
      path, name = given, given:match "([^/]+)/*$" or given
    end
    if map[name] then
      error(("two data files have the name %s; write PATH=NAME"):format(options.show(name)), 0)
    end
    map[name] = path
    return name
  end
  for _, given in ipairs(args.data or {}) do
    add(given)
  end
  for i, given in ipairs(args.dataset or {}) do
    names[i] = add(given)
  end
  return map, names
end

---@class moonsand.cli.Plan
---@field given table options of moonsand.sweep
---@field box table options of engine:sandbox
---@field executor table? runs the trials instead of a box
---@field report string?
---@field name string what the sweep is called

-- The journals that this sweep writes or reads are not to be lost at its end.
local function check_report(plan)
  if not plan.report then
    return
  end
  local cache = plan.given.cache
  local journals = type(cache) == "table" and { table.unpack(cache) } or { type(cache) == "string" and cache or nil }
  journals[#journals + 1] = plan.given.journal
  for _, journal in ipairs(journals) do
    if type(journal) == "string" then
      common.keep_journal("--report", plan.report, journal)
    end
  end
end

--- The plan of a command line. Raises for what makes no sense.
---@param args table
---@return moonsand.cli.Plan
function M.of(args)
  local plan = args.file:lower():find "%.lua$" and from_lua(args) or from_options(args)
  plan.name = base_name(args.file)
  local given = overrides(args)
  for name, value in pairs(given) do
    plan.given[name] = value
  end
  if given.jobs then
    plan.given.workers = nil -- its other name, in the file
  end
  if args.no_journal then
    if args.journal or args.resume then
      error(("--no-journal and --%s exclude each other"):format(args.journal and "journal" or "resume"), 0)
    end
    plan.given.journal, plan.given.resume = nil, nil
  end
  if args.resume then
    plan.given.resume = args.resume[1] or true
    if not plan.given.journal then
      error("--resume needs --journal FILE: that of the sweep that was interrupted", 0)
    end
  elseif not plan.given.journal and not args.no_journal and not args.dry_run then
    plan.given.journal = ("%s-%s.jsonl"):format(plan.name, os.date "%Y%m%d-%H%M%S")
  end
  args.data_map, args.datasets = data_of(args)
  if #args.datasets > 0 then
    plan.given.data = args.datasets
  end
  plan.report = args.report or plan.report
  check_report(plan)
  return plan
end

return M
