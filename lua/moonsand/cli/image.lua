--- moonsand image ...: what the actions share. They are defined in image_store.lua (list, show, history, tag, rm,
--- prune), image_transfer.lua (pull, push, save, load, import) and image_build.lua (build, lock).
local bars = require "moonsand.cli.bars"
local common = require "moonsand.cli.common"
local term = require "moonsand.cli.term"

local M = {}

local modules = { "moonsand.cli.image_build", "moonsand.cli.image_store", "moonsand.cli.image_transfer" }

local actions = {}

function M.define(parser)
  local c = parser:command("image", "Images on the engine.")
  c:command_target "action"
  c:require_command(true)
  for _, name in ipairs(modules) do
    for action, entry in pairs(require(name).define(c)) do
      actions[action] = entry
      common.engine_option(entry.command)
      entry.command:flag("--json", "Print one JSON value.")
      entry.command:flag("-q --quiet", "No progress.")
    end
  end
end

function M.main(args)
  local engine <close> = common.connect(args)
  -- Whatever ends the action, the bars go before anything else is printed.
  local subject = args.ref or args.what or args.file or args.tar or args.preset or args.dockerfile
  local shown <close> = bars.new(args.action .. (subject and " " .. subject or ""), { quiet = args.quiet })
  local function finish(value, print)
    shown:close()
    if args.json then
      common.print_json(value)
    else
      print(value)
    end
    return 0
  end
  local function note(line)
    shown:close()
    io.stderr:write(term.line(line), "\n")
  end
  return actions[args.action].run(engine, args, {
    note = note,
    log_is_hidden = shown.live or args.quiet,
    on_progress = function(event)
      shown:event(event)
    end,
    finish = finish,
  })
end

return M
