--- The command line: `moonsand run|sweep|trials|report|engine|doctor|clean|image`. Everything that prints is here and
--- below.
local argparse = require "argparse"
local errors = require "moonsand.errors"
local moonsand = require "moonsand"
local term = require "moonsand.cli.term"

local M = {}

--- Exit statuses of our own; a program's are its own.
M.failed, M.interrupted = 125, 130

local commands = { "run", "sweep", "trials", "report", "engine", "doctor", "clean", "image" }

-- What was printed has reached nobody when this fails.
local function flushed(status)
  local ok, why = io.stdout:flush()
  if ok then
    return status
  end
  term.complain("cannot write to the standard output: " .. why)
  return M.failed
end

--- The parser, with one command of each module moonsand.cli.*.
function M.parser()
  local parser = argparse("moonsand", "Runs code that nobody trusts in containers.")
  parser:flag("--version", "Print the version and exit."):action(function()
    io.stdout:write("moonsand ", moonsand.version, "\n")
    os.exit(flushed(0))
  end)
  parser:command_target "command"
  parser:require_command(true)
  local handlers = {}
  for _, name in ipairs(commands) do
    local module = require("moonsand.cli." .. name)
    module.define(parser)
    handlers[name] = module.main
  end
  return parser, handlers
end

--- argparse knows no "rest of the line": what follows "--" is taken off first.
---@param argv string[]
---@return string[] ours, string[] theirs
function M.split(argv)
  local ours, theirs, seen = {}, {}, false
  for _, word in ipairs(argv) do
    if not seen and word == "--" then
      seen = true
    elseif seen then
      theirs[#theirs + 1] = word
    else
      ours[#ours + 1] = word
    end
  end
  return ours, theirs
end

--- Runs a command. Prints; never raises.
---@param argv string[] the words after the program's name
---@return integer status for os.exit
function M.main(argv)
  local ours, theirs = M.split(argv)
  local parser, handlers = M.parser()
  local ok, args = parser:pparse(ours)
  if not ok then
    io.stderr:write(parser:get_usage(), "\n\nError: ", args, "\n")
    return M.failed
  end
  args.rest, args.words = theirs, argv
  if #theirs > 0 and args.command ~= "run" then
    io.stderr:write("Error: only `moonsand run` takes arguments after --\n")
    return M.failed
  end
  local done, status = xpcall(handlers[args.command], function(err)
    if errors.is_interrupt(err) or type(err) == "table" then
      return err
    end
    return os.getenv "MOONSAND_DEBUG" and debug.traceback(tostring(err), 2) or tostring(err)
  end, args)
  term.clear()
  if done then
    return flushed(status)
  elseif errors.is_interrupt(status) then
    io.stderr:write "interrupted\n"
    return M.interrupted
  end
  -- A mistake in an option raises with a place in our own files, which says nothing to the reader.
  local text = type(status) == "table" and tostring(status.message or status) or tostring(status)
  term.complain(text:gsub("^[^\n]-%.lua:%d+: ", "", 1))
  return M.failed
end

return M
