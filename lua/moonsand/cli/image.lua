--- moonsand image import|pull|list
local common = require "moonsand.cli.common"
local json = require "moonsand.json"
local term = require "moonsand.cli.term"

local M = {}

function M.define(parser)
  local c = parser:command("image", "Images on the engine.")
  c:command_target "action"
  c:require_command(true)
  local import = c:command("import", "Make an image of a root file system in a tar file.")
  import:argument("tar", "Tar file."):argname "TAR"
  import:argument("ref", "Name of the image."):argname "REF"
  local pull = c:command("pull", "Fetch an image from its registry.")
  pull:argument("ref", "Name of the image."):argname "REF"
  local list = c:command("list", "The images that have a name.")
  for _, command in ipairs { import, pull, list } do
    common.engine_option(command)
    command:flag("--json", "Print JSON.")
  end
end

--- One line about where a pull is.
---@param object table one of the engine's progress objects
---@return string
function M.progress_text(object)
  local detail = type(object.progressDetail) == "table" and object.progressDetail or {}
  local text = ("%s %s"):format(tostring(object.id or ""), tostring(object.status or ""))
  if type(detail.current) == "number" and type(detail.total) == "number" and detail.total > 0 then
    text = ("%s %d%%"):format(text, detail.current * 100 // detail.total)
  end
  return text
end

local function show(facts, ref, as_json)
  if as_json then
    common.print_json(facts)
  else
    io.stdout:write(("%s  %s  %s\n"):format(ref, facts.id:gsub("^sha256:", ""):sub(1, 12), term.bytes(facts.size)))
  end
end

local actions = {}

function actions.import(engine, args)
  term.progress("importing " .. args.tar)
  local facts, err = engine:import(args.tar, args.ref, {
    changes = { "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV LANG=C.UTF-8" },
  })
  term.clear()
  if not facts then
    error(err, 0)
  end
  show(facts, args.ref, args.json)
  return 0
end

function actions.pull(engine, args)
  local facts, err = engine:pull(args.ref, function(object)
    term.progress(M.progress_text(object))
  end)
  term.clear()
  if not facts then
    error(err, 0)
  end
  show(facts, args.ref, args.json)
  return 0
end

function actions.list(engine, args)
  local list, err = engine:images()
  if not list then
    error(err, 0)
  end
  if args.json then
    common.print_json(json.array(list))
    return 0
  end
  for _, item in ipairs(list) do
    for _, ref in ipairs(item.refs) do
      show(item, term.line(ref), false)
    end
  end
  return 0
end

function M.main(args)
  local engine <close> = common.connect(args)
  return actions[args.action](engine, args)
end

return M
