--- What several commands share: connecting, and the default image.
local bootstrap = require "moonsand.image.bootstrap"
local json = require "moonsand.json"
local moonsand = require "moonsand"
local term = require "moonsand.cli.term"

local M = {}

--- Taken when no image is named, in this order, of what is on the engine.
local function defaults(engine)
  return { "python:3.10-slim", (bootstrap.name(bootstrap.declare(), engine:facts().arch)) }
end

--- Adds --engine.
function M.engine_option(command)
  command:option("--engine", "Endpoint: unix:///PATH, tcp://HOST:PORT, ssh://HOST, embedded."):argname "URL"
  return command
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

--- Prints a value as one line of JSON.
function M.print_json(value)
  io.stdout:write(json.encode(value), "\n")
end

return M
