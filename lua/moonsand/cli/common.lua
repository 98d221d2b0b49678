--- What several commands share: connecting, and the default image.
local bootstrap = require "moonsand.image.bootstrap"
local command = require "moonsand.command"
local core = require "moonsand.core"
local json = require "moonsand.json"
local moonsand = require "moonsand"
local options = require "moonsand.options"
local term = require "moonsand.cli.term"

local M = {}

--- Taken when no image is named, in this order, of what is on the engine.
local function defaults(engine)
  return { "python:3.10-slim", (bootstrap.name(bootstrap.declare(), engine:facts().arch)) }
end

--- Adds --engine.
function M.engine_option(parser)
  parser:option("--engine", "Endpoint: unix:///PATH, tcp://HOST:PORT, ssh://HOST, embedded."):argname "URL"
  return parser
end

--- Connects, or raises what a reader can use.
---@return moonsand.Engine
function M.connect(args)
  term.progress "looking for an engine"
  local engine, err = moonsand.connect { endpoint = args.engine }
  if not engine then
    error(err, 0)
  end
  term.clear()
  return engine
end

--- The image named, $MOONSAND_IMAGE, or the first of the defaults that is there.
---@return string
function M.image(engine, named)
  if named then
    return named
  end
  local from_env = os.getenv "MOONSAND_IMAGE"
  if from_env and from_env ~= "" then
    return from_env
  end
  local images = defaults(engine)
  for _, ref in ipairs(images) do
    local there, err = engine:has(ref)
    if there then
      return ref
    elseif there == nil then
      error(err, 0)
    end
  end
  error(("the engine has none of the images %s: name one with --image or $MOONSAND_IMAGE, "
    .. "or get one with `moonsand image pull %s`"):format(table.concat(images, ", "), images[1]), 0)
end

-- Only the system knows which names lead to one place; two arguments are no part of the shell's program.
local function one_place(a, b)
  local r = command.run({ "sh", "-c", '[ "$1" -ef "$2" ]', "sh", a, b }, { timeout = 10 })
  return r ~= nil and r.exit_code == 0
end

local function parts_of(path)
  local directory, name = path:match "^(.*/)([^/]*)$"
  return directory or "./", name or path
end

--- Do both name one file, however they spell it? Also of files that are not there yet.
---@param a string
---@param b string
---@return boolean
function M.same_file(a, b)
  if a == b then
    return true
  end
  local facts = core.stat(a)
  if facts and core.stat(b) then
    return facts.type == "file" and one_place(a, b)
  end
  local directory, name = parts_of(a)
  local other, other_name = parts_of(b)
  return name == other_name and one_place(directory, other)
end

--- Raises when a report would take the place of a journal.
---@param option string that names the report
---@param path string
---@param journal string
function M.keep_journal(option, path, journal)
  if M.same_file(path, journal) then
    error(("%s %s: that is the journal, which the report would replace; name another file"):format(option,
      options.show(path)), 0)
  end
end

--- Prints a value as one line of JSON.
function M.print_json(value)
  io.stdout:write(json.encode(value), "\n")
end

return M
