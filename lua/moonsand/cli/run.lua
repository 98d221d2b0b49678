--- moonsand run FILE [-- ARGS]
local common = require "moonsand.cli.common"
local core = require "moonsand.core"
local limits = require "moonsand.cli.limits"
local term = require "moonsand.cli.term"

local M = {}

local function pair(text)
  local name, value = text:match "^([^=]+)=(.*)$"
  if not name then
    return nil, ("%q is not of the form NAME=VALUE"):format(text)
  end
  return { name, value }
end

function M.define(parser)
  local c = parser:command("run", "Run a script in a fresh container; ends with its exit status.")
  c:argument("file", "Script: .py, .sh, .lua, or with a #! line. Its arguments follow --."):argname "FILE"
  common.engine_option(c)
  c:option("--image", "Image (default: $MOONSAND_IMAGE, else one that is there)."):argname "REF"
  limits.define(c, "0.5")
  c:option("--max-artefacts", "All artefacts together (as --disk)."):argname "SIZE"
  c:option("--runtime", "Another OCI runtime of the engine's, for instance runsc."):argname "NAME"
  c:flag("--exec-tmp", "Programs in /tmp may be executed.")
  c:option("--network", "none or bridge (none)."):argname "NET"
  c:option("--bind", "Directory of the engine's machine, read-only inside."):argname "HOST=INSIDE":count "*"
    :convert(pair)
  c:option("--env", "Environment variable."):argname "NAME=VALUE":count "*":convert(pair)
  c:option("--file", "Input file; NAME is where, relative to the working directory."):argname "PATH[=NAME]"
    :count "*":target "file_list"
  c:option("--stdin", "File for standard input, or - for ours (default: none)."):argname "FILE"
  c:option("--output", "Directory for the artefacts."):argname "DIR"
  c:flag("--json", "Print the result as JSON instead of streaming the output.")
  c:flag("-q --quiet", "No progress, no summary.")
end

local function as_map(pairs_list)
  local map = {}
  for _, p in ipairs(pairs_list or {}) do
    map[p[1]] = p[2]
  end
  return map
end

local function input_files(list)
  local files = {}
  for _, text in ipairs(list or {}) do
    local path, name = text:match "^(.-)=([^=]+)$"
    if not path then
      path, name = text, text:match "([^/]+)/*$" or text
    end
    if files[name] then
      error(("two --file options give the same name %q"):format(name), 0)
    end
    files[name] = path
  end
  return files
end

--- A stdin function over a descriptor that never blocks the loop.
local function our_stdin()
  return function()
    local data, err = core.read(0, 65536)
    if err then
      error(err, 0)
    end
    return data
  end
end

local function stdin(name)
  if name == "-" then
    return our_stdin()
  elseif name then
    local f, why = io.open(name, "rb")
    if not f then
      error("--stdin: " .. why, 0)
    end
    local data
    data, why = f:read "a"
    f:close()
    return data or error("--stdin: " .. why, 0)
  end
end

--- Passes a stream of the program on. Without a piece: that was its end.
local function writer(file, fd)
  local filter = term.is_terminal(fd) and term.filter() or function(piece)
    return piece or ""
  end
  return function(piece)
    term.clear()
    file:write(filter(piece))
    file:flush()
  end
end

--- The status to end with.
---@param r moonsand.Result
---@return integer
function M.exit_status(r)
  if r.status == "ok" or r.status == "exit" then
    return r.exit_code
  elseif r.status == "signal" then
    return 128 + r.signal
  end
  return ({ timeout = 124, oom = 137, cancelled = 130 })[r.status] or 125
end

local function wait(handle, quiet)
  local began, phase = core.monotonic(), nil
  while not handle:done() do
    local result, err = handle:wait(0.1)
    if result or err.code ~= "timeout" then
      return result, err
    end
    local now = handle:phase()
    if not quiet and now ~= "running" then
      term.progress(("%s, %.1f s"):format(now, core.monotonic() - began))
    elseif phase ~= now then
      term.clear()
    end
    phase = now
  end
  return handle:wait()
end

local function summary(r, args)
  if r.status ~= "ok" and r.status ~= "exit" then
    term.complain(tostring(r))
  end
  for _, x in ipairs(r.rejected_artefacts) do
    term.complain(("artefact %s was refused: %s"):format(term.line(x.path), x.reason))
  end
  if args.output and #r.artefacts > 0 and term.is_terminal(2) then
    io.stderr:write(("%d artefacts in %s\n"):format(#r.artefacts, args.output))
  end
end

function M.main(args)
  local engine <close> = common.connect(args)
  local binds = as_map(args.bind)
  local box, err = engine:sandbox(limits.apply(args, {
    image = common.image(engine, args.image),
    artefacts = args.max_artefacts,
    runtime = args.runtime,
    exec_tmp = args.exec_tmp,
    network = args.network,
    binds = next(binds) and binds or nil,
  }))
  if not box then
    error(err, 0)
  end
  local out, complaints = nil, nil
  if not args.json then
    out, complaints = writer(io.stdout, 1), writer(io.stderr, 2)
  end
  local handle
  handle, err = box:start(args.file, {
    args = args.rest,
    env = as_map(args.env),
    files = input_files(args.file_list),
    stdin = stdin(args.stdin),
    on_stdout = out,
    on_stderr = complaints,
  })
  if not handle then
    error(err, 0)
  end
  local result
  result, err = wait(handle, args.quiet)
  term.clear()
  if out then
    out()
    complaints()
  end
  if not result then
    error(err, 0)
  end
  if args.output then
    local ok
    ok, err = result:save(args.output)
    if not ok then
      error(err, 0)
    end
  end
  if args.json then
    common.print_json(result:summary())
  elseif not args.quiet then
    summary(result, args)
  end
  return M.exit_status(result)
end

return M
