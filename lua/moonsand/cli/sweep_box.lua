--- The box that a sweep of the command line runs in: its image, and interpreters that have the script's modules loaded.
local bars = require "moonsand.cli.bars"
local common = require "moonsand.cli.common"
local imports = require "moonsand.cli.sweep_imports"
local limits = require "moonsand.cli.limits"
local moonsand = require "moonsand"
local program = require "moonsand.program"
local term = require "moonsand.cli.term"

local M = {}

local patience = 120 -- seconds until all workers are ready

local function is_image(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and meta.__name == "moonsand.Image"
end

-- A declaration is built, or found when it was built before. Bundle and proxies are the environment's, as for pip.
local function build(engine, declaration, quiet)
  local shown <close> = bars.new("image", { quiet = quiet })
  local image, err = engine:image(declaration, {
    ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE",
    proxy = { http = os.getenv "http_proxy", https = os.getenv "https_proxy", no = os.getenv "no_proxy" },
    on_progress = function(event)
      shown:event(event)
    end,
  })
  shown:close()
  return image or error(err, 0)
end

local function image_of(engine, args, given)
  if args.image or not given and not args.preset then
    return common.image(engine, args.image)
  elseif args.preset then
    return build(engine, moonsand.images[args.preset], args.quiet)
  elseif type(given) == "table" and not is_image(given) then
    return build(engine, given, args.quiet)
  end
  return given
end

local function is_python(script)
  return not script or script:lower():find "%.py$" ~= nil
end

--- Modules to load ahead of time: what was asked for, or what the script imports. ours: nobody asked.
---@param given table options of moonsand.sweep: script or code
---@param wanted string[]? of --preload or of the file
---@return string[] modules, boolean ours
function M.modules(given, wanted)
  if wanted then
    return wanted, false
  elseif not is_python(given.script) then
    return {}, false
  end
  local text = given.code or program.read_file(given.script, "script")
  return text and imports.of(text) or {}, true -- what cannot be read is said when the sweep reads it
end

-- One after the other, each in a process of its own, in a container like those of the workers.
local function probe(engine, o, modules, note)
  local plain = {}
  for k, v in pairs(o) do
    plain[k] = v
  end
  for _, name in ipairs { "mode", "workers", "preload", "language", "interpreter", "require", "max_runs", "max_age",
    "on_pool", "preload_script" } do
    plain[name] = nil
  end
  local box <close> = assert(engine:sandbox(plain))
  local result, err = box:run { code = imports.probe, args = modules }
  local found = result and type(result.value) == "table" and result.value
  local good = {}
  for _, name in ipairs(modules) do
    local why = found and found[name]
    if found and type(why) ~= "string" then
      good[#good + 1] = name
    else
      note(("%s is not loaded ahead of time: %s"):format(name, why or tostring(err or result)))
    end
  end
  return good
end

local function start(engine, o, note, quiet)
  local told
  if not quiet then
    term.progress("getting workers ready" .. (o.preload and ": " .. table.concat(o.preload, ", ") or ""))
  end
  local _ <close> = setmetatable({}, { __close = term.clear })
  o.on_pool = function(event)
    if event.type == "fell_back" and not told then
      told = true
      note(("each trial gets a container of its own, for forks cannot be kept apart here: %s"):format(
        event.error and event.error.message or "the engine does not say why"))
    end
  end
  local box, err = engine:sandbox(o)
  if not box then
    return nil, err, true
  elseif not box.pool then
    return box
  end
  local ok
  ok, err = box.pool:wait_ready(patience)
  if ok then
    return box
  end
  box:close()
  return nil, err, false
end

--- Makes the box, with its workers ready. Raises an error when that cannot be.
---@param engine moonsand.Engine
---@param args table of the command line
---@param given table options of moonsand.sweep
---@param box_given table options of engine:sandbox from the Lua file
---@param note fun(line: string)
---@return moonsand.Sandbox
function M.open(engine, args, given, box_given, note)
  local o = {}
  for k, v in pairs(box_given) do
    o[k] = v
  end
  limits.apply(args, o)
  o.require = args.require or o.require
  o.image = image_of(engine, args, o.image)
  o.cpus = o.cpus or 1
  o.mode = args.mode or o.mode or (o.pool and "container" or "fork")
  o.data = args.data_map and next(args.data_map) and args.data_map or o.data
  if o.mode ~= "fork" then
    o.pool = args.jobs or o.pool or "auto"
    local box, err = start(engine, o, note, args.quiet)
    return box or error(err, 0)
  end
  o.workers = args.jobs or o.workers or given.jobs or given.workers or "auto"
  local modules, ours = M.modules(given, args.preload or o.preload)
  if #modules > 0 then
    o.preload = modules
  end
  if given.script and given.script:lower():find "%.lua$" then
    o.language = o.language or "lua"
  end
  local box, err, final = start(engine, o, note, args.quiet)
  if box or final or #modules == 0 or not ours then
    return box or error(err, 0)
  end
  -- Nobody asked for these modules: which of them cannot be loaded is found out, and the others stay.
  o.preload = probe(engine, o, modules, note)
  if #o.preload == 0 then
    o.preload = nil
  end
  box, err = start(engine, o, note, args.quiet)
  if not box and o.preload then
    note(("nothing is loaded ahead of time: %s"):format(err.message))
    o.preload = nil
    box, err = start(engine, o, note, args.quiet)
  end
  return box or error(err, 0)
end

return M
