--- moonsand image pull|push|save|load|import
local core = require "moonsand.core"
local json = require "moonsand.json"
local store = require "moonsand.cli.image_store"
local term = require "moonsand.cli.term"

local M = {}

local raise, lists_to_json, print_image = store.raise, store.lists_to_json, store.print_image

local function pull(engine, args, io_)
  local facts = raise(engine:pull(args.ref, {
    platform = args.platform, timeout = args.timeout, on_progress = io_.on_progress,
  }))
  return io_.finish(lists_to_json(facts), function()
    print_image(args.ref, facts)
  end)
end

local function push(engine, args, io_)
  if args.to then
    raise(engine:tag(args.ref, args.to))
  end
  local done = raise(engine:push(args.to or args.ref, { timeout = args.timeout, on_progress = io_.on_progress }))
  return io_.finish(done, function()
    io.stdout:write(("%s  %s\n"):format(term.line(done.ref), done.digest))
  end)
end

local function save(engine, args, io_)
  local target = args.output
  if target == "-" then
    if term.is_terminal(1) then
      error("an archive is not for a terminal: name a file with --output, or redirect the output", 0)
    elseif args.json then
      error("with --output - there is no room for --json", 0)
    end
    target = function(piece)
      assert(io.stdout:write(piece))
    end
  end
  local saved = raise(engine:save(args.refs, target, { timeout = args.timeout, on_progress = io_.on_progress }))
  return io_.finish({ file = args.output, bytes = saved.bytes, refs = json.array(args.refs) }, function()
    if args.output ~= "-" then
      io.stdout:write(("%s  %s\n"):format(term.line(args.output), term.bytes(saved.bytes)))
    end
  end)
end

-- A file, or our standard input, which may be a slow pipe.
local function source(name)
  if name ~= "-" then
    return name
  end
  return function()
    local piece, err = core.read(0, 65536)
    if err then
      error(err, 0)
    end
    return piece
  end
end

local function load(engine, args, io_)
  local images = raise(engine:load(source(args.file), { timeout = args.timeout, on_progress = io_.on_progress }))
  for _, facts in ipairs(images) do
    lists_to_json(facts)
  end
  return io_.finish(json.array(images), function()
    for _, facts in ipairs(images) do
      print_image(facts.ref, facts)
    end
  end)
end

local default_changes = {
  "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV LANG=C.UTF-8",
}

local function import(engine, args, io_)
  local facts = raise(engine:import(source(args.tar), args.ref, {
    changes = #args.change > 0 and args.change or default_changes, platform = args.platform, timeout = args.timeout,
    on_progress = io_.on_progress,
  }))
  return io_.finish(lists_to_json(facts), function()
    print_image(args.ref, facts)
  end)
end

--- Adds the commands. Returns { name = { command =, run = } }.
function M.define(c)
  local commands = {}
  local function action(name, help, run)
    local command = c:command(name, help)
    command:option("--timeout", "Longest time (no limit)."):argname "TIME"
    commands[name] = { command = command, run = run }
    return command
  end
  local pulling = action("pull", "Fetch an image from its registry.", pull)
  pulling:argument("ref", "Name of the image."):argname "REF"
  pulling:option("--platform", "Where there are several: linux/arm64."):argname "OS/ARCH"
  local pushing = action("push", "Send an image to the registry in its name.", push)
  pushing:argument("ref", "Name of the image."):argname "REF"
  pushing:argument("to", "Name to give it first."):argname "TO":args "?"
  local saving = action("save", "Write images into an archive.", save)
  saving:argument("refs", "Names or ids."):args "+":argname "REF"
  saving:option("-o --output", "File, or - for our standard output."):argname "FILE":count(1)
  local loading = action("load", "Take the images in an archive.", load)
  loading:argument("file", "File, or - for our standard input."):argname "FILE"
  local importing = action("import", "Make an image of a root file system in a tar file.", import)
  importing:argument("tar", "Tar file, or - for our standard input."):argname "TAR"
  importing:argument("ref", "Name of the image."):argname "REF"
  importing:option("--change", "Dockerfile line for its configuration (PATH and LANG)."):argname "LINE":count "*"
  importing:option("--platform", "What it is for, if not for the engine's own."):argname "OS/ARCH"
  return commands
end

return M
