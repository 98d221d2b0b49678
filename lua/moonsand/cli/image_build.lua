--- moonsand image build|lock
local json = require "moonsand.json"
local moonsand = require "moonsand"
local store = require "moonsand.cli.image_store"

local M = {}

local raise = store.raise

-- A file of the caller's own, run as it is: like a script that requires "moonsand".
local function from_file(path)
  local chunk, why = loadfile(path, "t")
  if not chunk then
    error(why, 0)
  end
  local value = chunk()
  local kind = type(value)
  if kind ~= "table" and kind ~= "string" then
    error(("%s returns a %s; it should return what engine:image takes, for example { from = \"python:3.10-slim\" }")
      :format(path, kind), 0)
  end
  return value
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = assert(file:read "a")
  file:close()
  return bytes
end

local function pairs_of(list, what)
  local out
  for _, entry in ipairs(list) do
    local name, value = entry:match "^([^=]+)=(.*)$"
    if not name then
      error(("%s %q is not of the form NAME=VALUE"):format(what, entry), 0)
    end
    out = out or {}
    out[name] = value
  end
  return out
end

local function files_of(list)
  local out
  for _, entry in ipairs(list) do
    local path, inside = entry:match "^(.-)=(/.*)$"
    if not path then
      error(("--file %q is not of the form PATH=/INSIDE"):format(entry), 0)
    end
    out = out or {}
    out[inside] = path
  end
  return out
end

local function filled(list)
  return #list > 0 and list or nil
end

local function from_options(args)
  local d = {
    pip = filled(args.pip), requirements = args.requirements, apt = filled(args.apt), run = filled(args.run),
    env = pairs_of(args.env, "--env"), files = files_of(args.added), workdir = args.workdir, user = args.user,
    labels = pairs_of(args.label, "--label"), platform = args.platform,
  }
  d.from = #args.from > 1 and args.from or args.from[1]
  return next(d) and d or nil
end

local function from_dockerfile(args)
  return {
    dockerfile = args.dockerfile, context = args.context, args = pairs_of(args.build_arg, "--build-arg"),
    target = args.target, platform = args.platform,
  }
end

local function with_lock(declaration, path)
  if path then
    if type(declaration) ~= "table" or declaration[1] ~= nil then
      error("--lock goes with one declaration", 0)
    end
    local lock, why = json.decode(read(path))
    if type(lock) ~= "table" then
      error(("%s is no lock: %s"):format(path, why or "it is no JSON object"), 0)
    end
    declaration.lock = lock
  end
  return declaration
end

-- The ways to say what is wanted exclude each other: a mixture would leave open which one counts.
local function declaration_of(args)
  local options, ways, declaration = from_options(args), 0, nil
  if args.dockerfile and options then
    options.platform = nil
    options = next(options) and options or nil
  end
  local function way(value)
    ways, declaration = ways + 1, value
  end
  if args.what then
    way(from_file(args.what))
  end
  if args.preset then
    way(moonsand.images[args.preset])
  end
  if args.dockerfile then
    way(from_dockerfile(args))
  end
  if options then
    way(options)
  end
  if ways ~= 1 then
    error("say what to build in one way: FILE.lua, --preset, --dockerfile, or --from, --pip and the like", 0)
  end
  return with_lock(declaration, args.lock)
end

local function how_of(args, io_)
  local proxy = {
    http = os.getenv "http_proxy" or os.getenv "HTTP_PROXY", https = os.getenv "https_proxy" or os.getenv "HTTPS_PROXY",
    no = os.getenv "no_proxy" or os.getenv "NO_PROXY",
  }
  return {
    on_progress = io_.on_progress, name = args.name, builder = args.builder, ca = args.ca, timeout = args.timeout,
    network = args.no_network and "none" or nil, no_cache = args.no_cache or nil, pull = args.pull or nil,
    proxy = args.proxy and next(proxy) and proxy or nil,
  }
end

local function build(engine, args, io_)
  local image, err = engine:image(declaration_of(args), how_of(args, io_))
  if not image then
    -- Without bars, all of it has been printed already.
    for _, line in ipairs(io_.log_is_hidden and type(err.log) == "table" and err.log or {}) do
      io_.note("  " .. line)
    end
    error(err, 0)
  end
  local facts = raise(engine:inspect(image.id))
  local base = image.base or {}
  local value = {
    id = image.id, ref = image.ref, digest = image.digest, built = image.built, size = facts.size,
    base = {
      ref = base.ref, id = base.id, digest = base.digest, kind = base.kind, tried = json.array(base.tried or {}),
    },
  }
  if base.line then
    io_.note(base.line)
  end
  return io_.finish(value, function()
    store.print_image(args.name or image.ref or image.id, facts)
  end)
end

local function lock(engine, args, io_)
  local what = args.what:find "%.lua$" and from_file(args.what) or args.what
  local image = raise(engine:image(what, { on_progress = io_.on_progress }))
  local value = raise(image:lock())
  args.json = true -- a lock is JSON in any case
  return io_.finish(value)
end

--- Adds the commands. Returns { name = { command =, run = } }.
function M.define(c)
  local building = c:command("build", "Build an image, or find it when it was built before.")
  building:argument("what", "Lua file that returns the declaration."):argname "FILE.lua":args "?"
  building:option("--preset", "One of ours."):choices { "backtesting" }
  building:option("--dockerfile", "A Dockerfile of your own."):argname "FILE"
  building:option("--context", "Directory for it (that of the Dockerfile)."):argname "DIR"
  building:option("--build-arg", "ARG of the Dockerfile."):argname "NAME=VALUE":count "*"
  building:option("--target", "Stage of the Dockerfile."):argname "STAGE"
  building:option("--from", "Base image; more: the next one when one cannot be had."):argname "REF":count "*"
  building:option("--pip", "Python package: numpy, \"pandas>=2\"."):argname "REQUIREMENT":count "*"
  building:option("--requirements", "requirements.txt."):argname "FILE"
  building:option("--apt", "Debian package."):argname "NAME":count "*"
  building:option("--run", "Shell command."):argname "COMMAND":count "*"
  building:option("--file", "File or directory to add."):argname "PATH=/INSIDE":count "*"
    :target "added"
  building:option("--env", "Environment variable."):argname "NAME=VALUE":count "*"
  building:option("--label", "Label."):argname "NAME=VALUE":count "*"
  building:option("--workdir", "Working directory."):argname "DIR"
  building:option("--user", "User."):argname "USER"
  building:option("--platform", "Of the image, if not the engine's own."):argname "OS/ARCH"
  building:option("--lock", "Exact versions, from `moonsand image lock`."):argname "FILE"
  building:option("--name", "A name of your own, besides ours."):argname "REF"
  building:option("--builder", "auto, classic or buildkit (auto)."):choices { "auto", "classic", "buildkit" }
  building:option("--ca", "Certificates to trust while building; not in the image."):argname "FILE"
  building:option("--timeout", "Longest time (no limit)."):argname "TIME"
  building:flag("--proxy", "Use the proxies of our environment while building; not in the image.")
  building:flag("--no-network", "Build without network.")
  building:flag("--no-cache", "Do every step again.")
  building:flag("--pull", "Look for newer bases.")
  local locking = c:command("lock", "Print the exact versions and hashes of what is installed in an image.")
  locking:argument("what", "Name of an image, or Lua file that returns its declaration."):argname "REF|FILE.lua"
  return { build = { command = building, run = build }, lock = { command = locking, run = lock } }
end

return M
