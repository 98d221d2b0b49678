--- moonsand engine start|stop|status: an engine of our own, on a private socket and data root.
local common = require "moonsand.cli.common"
local core = require "moonsand.core"
local json = require "moonsand.json"
local moonsand = require "moonsand"
local term = require "moonsand.cli.term"

local M = {}

function M.define(parser)
  local c = parser:command("engine", "An engine of our own, on a private socket and data root.")
  c:command_target "action"
  c:require_command(true)
  local start = c:command("start", "Start it, if it does not run, and wait until it answers.")
  start:option("--kind", "docker or podman (the first that is installed)."):choices { "docker", "podman" }
  start:option("--timeout", "Longest wait in seconds."):default "60":convert(tonumber)
  local stop = c:command("stop", "End it and all its processes.")
  local status = c:command("status", "Does it run? Exit status 1 when not.")
  for _, command in ipairs { start, stop, status } do
    command:option("--dir", "Its directory."):argname "DIR"
    command:flag("--json", "Print JSON.")
  end
end

--- Starts the embedded engine and tries to connect until it answers.
---@param dir string?
---@param kind string?
---@param seconds number
---@param progress fun(text: string)
---@return moonsand.Engine? engine, moonsand.Error? err
function M.start(dir, kind, seconds, progress)
  progress "starting an engine of our own"
  local socket, err = core.embedded_start(dir, kind)
  if not socket then
    return nil, err
  end
  local url = socket:find "://" and socket or "unix://" .. socket
  local began = core.monotonic()
  while true do
    local engine
    engine, err = moonsand.connect { endpoint = url, timeout = 5 }
    if engine then
      return engine
    end
    local waited = core.monotonic() - began
    if waited >= seconds then
      err.message = ("the engine at %s has not come up within %g s: %s"):format(url, seconds, err.message)
      return nil, err
    end
    progress(("waiting for the engine, %.0f s"):format(waited))
    moonsand.sleep(0.25)
  end
end

local function status_of(dir)
  local text, err = core.embedded_status(dir)
  if not text then
    error(err, 0)
  end
  return json.decode(text) or {}
end

local function show(status, as_json)
  if as_json then
    common.print_json(status)
  elseif status.running then
    io.stdout:write(("running: %s at unix://%s (process %s, log %s)\n"):format(
      tostring(status.kind), tostring(status.socket), tostring(status.pid), tostring(status.log)))
    local net = type(status.network) == "table" and status.network or {}
    if net.missing then
      io.stdout:write(("no network for image builds: %s\n"):format(term.line(tostring(net.missing))))
    elseif net.bridge then
      io.stdout:write(("network for image builds: bridge %s, %s\n"):format(
        tostring(net.bridge), tostring(net.subnet)))
    end
  else
    io.stdout:write "not running\n"
  end
end

function M.main(args)
  if args.action == "start" then
    local engine, err = M.start(args.dir, args.kind, args.timeout, term.progress)
    term.clear()
    if not engine then
      error(err, 0)
    end
    engine:close()
    show(status_of(args.dir), args.json)
    return 0
  elseif args.action == "stop" then
    local ok, err = core.embedded_stop(args.dir)
    if not ok then
      error(err, 0)
    end
    show(status_of(args.dir), args.json)
    return 0
  end
  local status = status_of(args.dir)
  show(status, args.json)
  return status.running and 0 or 1
end

return M
