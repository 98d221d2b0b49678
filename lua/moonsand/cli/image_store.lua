--- moonsand image list|show|history|tag|rm|prune
local json = require "moonsand.json"
local term = require "moonsand.cli.term"

local M = {}

local function short(id)
  return id:gsub("^sha256:", ""):sub(1, 12)
end

--- "2026-11-23 01:02", "-" when unknown.
local function when(epoch)
  return epoch > 0 and os.date("%Y-%m-%d %H:%M", epoch) or "-"
end

--- "3 d", "5 h", "12 min".
local function ago(seconds)
  for _, unit in ipairs { { 86400, "d" }, { 3600, "h" }, { 60, "min" } } do
    if seconds >= unit[1] then
      return ("%d %s"):format(seconds // unit[1], unit[2])
    end
  end
  return ("%d s"):format(math.max(seconds // 1, 0))
end

local function lists_to_json(item)
  for _, name in ipairs { "refs", "digests", "untagged", "deleted" } do
    if item[name] then
      json.array(item[name])
    end
  end
  return item
end

local function raise(value, err)
  if value == nil then
    error(err, 0)
  end
  return value
end

local function list(engine, args, io_)
  local images = raise(engine:images { all = args.all, ours = args.ours })
  for _, item in ipairs(images) do
    lists_to_json(item)
  end
  return io_.finish(json.array(images), function()
    for _, item in ipairs(images) do
      for _, ref in ipairs(#item.refs > 0 and item.refs or { "<no name>" }) do
        io.stdout:write(("%s  %s  %s  %s%s\n"):format(term.line(ref), short(item.id), term.bytes(item.size),
          when(item.created), item.kind and "  " .. term.line(item.kind) or ""))
      end
    end
  end)
end

local function show(engine, args, io_)
  local facts = raise(engine:inspect(args.ref))
  lists_to_json(facts)
  for name, value in pairs(facts.config) do
    facts.config[name] = type(value) == "table" and json.array(value) or value
  end
  return io_.finish(facts, function()
    local function line(name, value)
      if value and value ~= "" then
        io.stdout:write(("%-12s %s\n"):format(name, term.line(tostring(value))))
      end
    end
    line("id", facts.id)
    line("names", table.concat(facts.refs, " "))
    line("digests", table.concat(facts.digests, " "))
    line("platform", facts.platform)
    line("size", term.bytes(facts.size))
    line("created", when(facts.created))
    line("layers", facts.layers)
    line("entrypoint", table.concat(facts.config.entrypoint, " "))
    line("command", table.concat(facts.config.cmd, " "))
    line("user", facts.config.user)
    line("directory", facts.config.workdir)
    for _, entry in ipairs(facts.config.env) do
      line("env", entry)
    end
    local names = {}
    for name in pairs(facts.labels) do
      names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
      line("label", name .. "=" .. facts.labels[name])
    end
  end)
end

local function history(engine, args, io_)
  local steps = raise(engine:history(args.ref))
  for _, step in ipairs(steps) do
    lists_to_json(step)
  end
  return io_.finish(json.array(steps), function()
    for _, step in ipairs(steps) do
      local what = step.created_by ~= "" and step.created_by or step.comment or ""
      io.stdout:write(("%-16s  %10s  %s\n"):format(when(step.created), term.bytes(step.size), term.line(what)))
    end
  end)
end

local function tag(engine, args, io_)
  raise(engine:tag(args.source, args.ref))
  return io_.finish({ ref = args.ref, id = raise(engine:inspect(args.ref)).id }, function(value)
    io.stdout:write(("%s  %s\n"):format(value.ref, short(value.id)))
  end)
end

-- Goes on after a failure, so that one bad name of many does not hide the others.
local function rm(engine, args, io_)
  local out, failures = { untagged = {}, deleted = {}, errors = {} }, 0
  for _, ref in ipairs(args.refs) do
    local what, err = engine:remove(ref, { force = args.force })
    for _, name in ipairs { "untagged", "deleted" } do
      for _, item in ipairs(what and what[name] or {}) do
        table.insert(out[name], item)
      end
    end
    if err then
      failures = failures + 1
      out.errors[failures] = { ref = ref, code = err.code, message = err.message }
    end
  end
  json.array(out.errors)
  io_.finish(lists_to_json(out), function()
    for _, ref in ipairs(out.untagged) do
      io.stdout:write("untagged ", term.line(ref), "\n")
    end
    for _, id in ipairs(out.deleted) do
      io.stdout:write("deleted ", short(id), "\n")
    end
    for _, failure in ipairs(out.errors) do
      term.complain(failure.message)
    end
  end)
  return failures > 0 and 1 or 0
end

local function prune(engine, args, io_)
  local out = raise(engine:prune { older_than = args.older_than, unused_for = args.unused_for, dry_run = args.dry_run })
  out.dry_run = args.dry_run or false
  for _, name in ipairs { "removed", "kept", "names" } do
    json.array(out[name])
    for _, item in ipairs(out[name]) do
      lists_to_json(item)
    end
  end
  return io_.finish(out, function()
    local now = os.time()
    local function line(what, item)
      io.stdout:write(("%s %s  %s  %s, unused for %s%s\n"):format(what, term.line(item.refs[1] or short(item.id)),
        item.kind, term.bytes(item.size), ago(now - item.used), item.why and ": " .. term.line(item.why) or ""))
    end
    for _, item in ipairs(out.names) do
      io.stdout:write(("%s %s  name of a build that was killed\n"):format(args.dry_run and "would remove" or "removed",
        term.line(item.ref)))
    end
    for _, item in ipairs(out.removed) do
      line(args.dry_run and "would remove" or "removed", item)
    end
    for _, item in ipairs(args.verbose and out.kept or {}) do
      line("kept", item)
    end
    io.stdout:write(("%d %s (at most %s), %d kept\n"):format(#out.removed, args.dry_run and "to remove" or "removed",
      term.bytes(out.bytes), #out.kept))
  end)
end

--- Adds the commands. Returns { name = { command =, run = } }.
function M.define(c)
  local commands = {}
  local function action(name, help, run)
    local command = c:command(name, help)
    commands[name] = { command = command, run = run }
    return command
  end
  local listing = action("list", "The images that have a name.", list)
  listing:flag("--all", "Those without a name, too.")
  listing:flag("--ours", "Only those that moonsand has made.")
  action("show", "What an image is.", show):argument("ref", "Name or id."):argname "REF"
  action("history", "How an image came about, newest step first.", history):argument("ref", "Name or id."):argname "REF"
  local tagging = action("tag", "Give an image one more name.", tag)
  tagging:argument("source", "Name or id."):argname "IMAGE"
  tagging:argument("ref", "The new name."):argname "REF"
  local removal = action("rm", "Take names away; with its last name goes the image.", rm)
  removal:argument("refs", "Names or ids."):args "+":argname "REF"
  removal:flag("-f --force", "All its names; also under containers that do not run.")
  local pruning = action("prune", "Remove images of ours that nobody has used for a while.", prune)
  pruning:option("--unused-for", "Unused by this user for that long (7d)."):argname "TIME"
  pruning:option("--older-than", "And made longer ago than that (no limit)."):argname "TIME"
  pruning:flag("--dry-run", "Only say what would be removed.")
  pruning:flag("-v --verbose", "Say what is kept, and why.")
  return commands
end

M.short, M.raise, M.lists_to_json = short, raise, lists_to_json

--- One line about an image: name, id, size.
function M.print_image(ref, facts)
  io.stdout:write(("%s  %s  %s\n"):format(term.line(ref), short(facts.id), term.bytes(facts.size)))
end

return M
