--- Images on their way: pull, push, load, save, import. The functions are methods of moonsand.Engine.
--- A status of 200 proves nothing here: the engine says in its stream what went wrong, and only what is there
--- afterwards is a success.
local auth = require "moonsand.image.auth"
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local options = require "moonsand.options"
local progress = require "moonsand.image.progress"
local reference = require "moonsand.image.reference"
local store = require "moonsand.image.store"

local M = {}

---@class moonsand.TransferOptions
---@field on_progress fun(event: moonsand.Progress)?
---@field timeout number|string|nil none by default
---@field platform string?
---@field auth moonsand.Credentials?
---@field changes string[]?
---@field message string?

local max_loaded = 1000 -- images in one archive
local tar_block, tar_end = 512, ("\0"):rep(1024)

local function escape(s)
  return (s:gsub("[^%w._~/:-]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

local function query(parts)
  local out = {}
  for _, part in ipairs(parts) do
    out[#out + 1] = part[1] .. "=" .. escape(part[2])
  end
  return table.concat(out, "&")
end

-- err.message already says what the engine was asked; ours says what for, and the code what it means.
local function explain(err, what)
  if err.status and (err.code == "engine" or err.code == "not_found") then
    err.code = progress.code(err.message, err.code)
  end
  err.message = ("%s: %s"):format(what, err.message)
  return nil, err
end

-- POSTs something that answers with progress.
local function stream(engine, phase, what, request, on_progress, on_object)
  local feed, finish = progress.reader(on_progress, phase, on_object)
  request.method, request.on_data = "POST", feed
  request.timeout = request.timeout or math.huge
  local ok, err = engine:request(request)
  if not ok then
    return explain(err, what)
  end
  local failure = finish()
  if failure then
    return errors.fail(failure.code, ("%s: %s"):format(what, failure.message), { op = phase })
  end
  return true
end

-- The header, and what kept us from finding credentials: a registry may need none, so that is told only
-- when it refuses.
local function credentials(given, registry)
  local found, err = given, nil
  if not found then
    found, err = auth.find(registry)
  end
  return found, err
end

local function refused(engine, err, found, why, registry)
  if err.code ~= "denied" then
    return nil, err
  elseif found then
    if found.identity_token and err.op == "push" and engine:facts().kind == "podman" then
      err.message = err.message .. " (Podman pushes with a password only, and this is an identity token)"
    end
    return nil, err
  elseif why then
    err.message = ("%s (credentials: %s)"):format(err.message, why.message)
    err.cause = why
  else
    err.message = ("%s (Docker's config file, %s, has no credentials for %s)"):format(
      err.message, auth.config_path() or "which there is none of", registry)
  end
  return nil, err
end

local pull_schema = {
  on_progress = options.func, timeout = options.duration, platform = store.platform_option, auth = auth.option,
}

--- Fetches an image from its registry, with the credentials of Docker's config file or with
--- auth = { username =, password = } (or identity_token). platform: "linux/arm64", where the registry has
--- several. on_progress gets tables { phase = "pull", id, status, current, total }; what it raises is raised
--- here. timeout: seconds; none by default.
--- err.code: "not_found", "denied", "unreachable"; "unsupported" when it is there, but not for that platform.
---@param ref string
---@param given moonsand.TransferOptions? with platform, auth
---@return moonsand.ImageFacts? facts, moonsand.Error? err
function M.pull(engine, ref, given)
  local parsed = reference.check(ref, 2)
  local o = options.check("engine:pull", given or {}, pull_schema, 2)
  local name, tag = reference.name_tag(parsed)
  local parts = { { "fromImage", name }, { "tag", tag } }
  if o.platform then
    parts[#parts + 1] = { "platform", o.platform }
  end
  local found, why = credentials(o.auth, parsed.registry)
  local ok, err = stream(engine, "pull", "pull of " .. ref, {
    path = "/images/create?" .. query(parts),
    headers = found and { ["X-Registry-Auth"] = auth.header(found, parsed.registry) },
    timeout = o.timeout,
  }, o.on_progress)
  if not ok then
    return refused(engine, err, found, why, parsed.registry)
  end
  local facts
  facts, err = store.inspect(engine, ref)
  if not facts then
    return errors.fail("engine", ("pull of %s: the engine tells no error and has no image"):format(ref),
      { cause = err })
  end
  if o.platform then
    ok, err = store.check_platform(engine, ref, facts, o.platform)
    if not ok then
      return nil, err
    end
  end
  return facts
end

local push_schema = { on_progress = options.func, timeout = options.duration, auth = auth.option }

-- Docker ends with an object of its own; both say it in a line: "TAG: digest: sha256:... size: 123".
local function pushed(object, result)
  local aux = type(object.aux) == "table" and object.aux or {}
  if type(aux.Digest) == "string" and reference.id(aux.Digest) then
    result.digest = aux.Digest
  end
  local digest, size = tostring(object.status or ""):match "digest: (sha256:%x+) size: (%d+)"
  if digest and reference.id(digest) then
    result.digest, result.manifest_size = digest, math.tointeger(tonumber(size))
  end
end

--- Sends an image to the registry in its name; options as of pull(). The success is the digest that the
--- registry took it under: without one it is an error.
---@param ref string
---@param given moonsand.TransferOptions? with auth
---@return { ref: string, digest: string }? pushed, moonsand.Error? err
function M.push(engine, ref, given)
  local parsed = reference.check(ref, 2)
  local o = options.check("engine:push", given or {}, push_schema, 2)
  if parsed.digest then
    error(("%s: an image is pushed by its tag"):format(ref), 2)
  end
  local there, err = store.inspect(engine, ref)
  if not there then
    return nil, err
  end
  local found, why = credentials(o.auth, parsed.registry)
  local name, tag = reference.name_tag(parsed)
  local result = {}
  local ok
  ok, err = stream(engine, "push", "push of " .. ref, {
    path = ("/images/%s/push?%s"):format(name, query { { "tag", tag } }),
    headers = { ["X-Registry-Auth"] = auth.header(found, parsed.registry) },
    timeout = o.timeout,
  }, o.on_progress, function(object)
    pushed(object, result)
  end)
  if not ok then
    return refused(engine, err, found, why, parsed.registry)
  elseif not result.digest then
    return errors.fail("engine", ("push of %s: the engine tells no error and no digest"):format(ref), { op = "push" })
  end
  return { ref = ref, digest = result.digest }
end

-- A path or a function -> what engine:request takes, and a callback for bytes sent.
local function body(what, source, phase, request, on_progress, level)
  if type(source) == "function" then
    request.body_stream = source
  else
    request.body_file = options.text(what, source, level + 1)
  end
  request.content_type = "application/x-tar"
  if on_progress then
    local file = request.body_file and core.stat(request.body_file)
    local size = file and file.type == "file" and file.size or nil
    request.on_sent = function(bytes)
      on_progress { phase = phase, status = "Sending", current = bytes, total = size }
    end
  end
  return request
end

local load_schema = { on_progress = options.func, timeout = options.duration }

-- "Loaded image: a:1", "Loaded image ID: sha256:...", and Podman's "Loaded image: a:1,b:2".
local function loaded(object, names)
  local list = type(object.stream) == "string" and object.stream:match "^Loaded image[^:]*: ([^\n]+)"
  for name in (list or ""):gmatch "[^,%s]+" do
    if #names < max_loaded and (reference.id(name) or reference.parse(name)) then
      names[#names + 1] = name
    end
  end
end

--- Takes the images in an archive that save() (or `docker save`) made. source is a path, or a function that
--- returns the archive in pieces ("" for "nothing yet", nil at its end), which never is in memory as a whole.
--- Each image that the engine says it has loaded is looked at before this is a success.
---@param source string|fun(): string?
---@param given moonsand.TransferOptions?
---@return moonsand.ImageFacts[]? images each with `ref`, its name or id in the archive
---@return moonsand.Error? err
function M.load(engine, source, given)
  local o = options.check("engine:load", given or {}, load_schema, 2)
  local request = body("source", source, "load", { path = "/images/load", timeout = o.timeout }, o.on_progress, 2)
  local names = {}
  local ok, err = stream(engine, "load", "load", request, o.on_progress, function(object)
    loaded(object, names)
  end)
  if not ok then
    return nil, err
  elseif #names == 0 then
    return errors.fail("engine", "load: the engine tells no error and no image: is it an archive of images?")
  end
  local out = {}
  for i, name in ipairs(names) do
    out[i], err = store.inspect(engine, name)
    if not out[i] then
      return explain(err, "load: the engine says that it has loaded " .. name)
    end
    out[i].ref = name
  end
  return out
end

local save_schema = { on_progress = options.func, timeout = options.duration }

-- Docker writes an error behind what it has sent, as if it were part of the archive: only the two blocks of
-- zeros at the end of a tar file tell that all of it came.
local function whole(total, tail)
  return total > 0 and total % tar_block == 0 and tail == tar_end
end

local function cut_off()
  return errors.new("engine", "the engine's archive is not whole", { op = "save" })
end

local function refs_given(refs, level)
  if type(refs) ~= "table" or reference.id(refs.id) then
    refs = { refs }
  end
  if #refs == 0 then
    error("engine:save wants at least one image", level + 1)
  end
  local parts = {}
  for i, ref in ipairs(refs) do
    parts[i] = { "names", (reference.check_any(ref, level + 1)) }
  end
  return parts
end

-- The engine's answer goes to a file beside the wanted one, which takes its name only when it is whole.
local function save_file(engine, request, path, on_progress)
  request.out_file = path .. ".partial"
  if on_progress then
    request.on_received = function(bytes)
      on_progress { phase = "save", status = "Receiving", current = bytes }
    end
  end
  local ok, err = engine:request(request)
  if not ok then
    return nil, err
  end
  local file = io.open(request.out_file, "rb")
  local total = file and file:seek "end" or 0
  local tail = total >= #tar_end and file:seek("set", total - #tar_end) and file:read(#tar_end)
  if file then
    file:close()
  end
  if not whole(total, tail) then
    os.remove(request.out_file)
    return nil, cut_off()
  end
  ok, err = os.rename(request.out_file, path)
  if not ok then
    os.remove(request.out_file)
    return errors.fail("io", ("cannot name the archive: %s"):format(err))
  end
  return { bytes = total }
end

local function save_pieces(engine, request, target, on_progress)
  local total, tail = 0, ""
  request.on_data = function(piece)
    total = total + #piece
    tail = (tail .. piece:sub(-#tar_end)):sub(-#tar_end)
    target(piece)
    if on_progress then
      on_progress { phase = "save", status = "Receiving", current = total }
    end
  end
  local ok, err = engine:request(request)
  if not ok then
    return nil, err
  elseif not whole(total, tail) then
    return nil, cut_off()
  end
  return { bytes = total }
end

--- Writes images into an archive for load(): with their names when they are given by name. target is a path,
--- where the archive appears only when all of it is there; or a function that gets it in pieces, and whose
--- pieces are worth nothing when this returns an error.
---@param refs string|moonsand.Image|(string|moonsand.Image)[]
---@param target string|fun(piece: string)
---@param given moonsand.TransferOptions?
---@return { bytes: integer }? saved, moonsand.Error? err
function M.save(engine, refs, target, given)
  local o = options.check("engine:save", given or {}, save_schema, 2)
  local request = { path = "/images/get?" .. query(refs_given(refs, 2)), timeout = o.timeout or math.huge }
  local saved, err
  if type(target) == "function" then
    saved, err = save_pieces(engine, request, target, o.on_progress)
  else
    saved, err = save_file(engine, request, options.text("target", target, 2), o.on_progress)
  end
  if not saved then
    return explain(err, "save")
  end
  return saved
end

local import_schema = {
  changes = options.table, message = options.text, platform = store.platform_option, timeout = options.duration,
  on_progress = options.func,
}

local function changes_of(list, level)
  local parts = {}
  for i, change in ipairs(list or {}) do
    if type(change) ~= "string" or change:find "[%c]" then
      error(("engine:import: changes[%d] is not one line of a Dockerfile"):format(i), level + 1)
    end
    parts[i] = { "changes", change }
  end
  return parts
end

--- Makes an image of a root file system in a tar file (may be compressed). source is a path, or a function
--- that returns it in pieces. The image gets its name when it is whole, and not before.
--- changes: list of Dockerfile lines for its configuration, for example "ENV LANG=C.UTF-8". message: for its
--- history. platform: what it is for, if not for the engine's own.
---@param source string|fun(): string?
---@param ref string
---@param given moonsand.TransferOptions? with changes, message, platform
---@return moonsand.ImageFacts? facts, moonsand.Error? err
function M.import(engine, source, ref, given)
  reference.check(ref, 2)
  local o = options.check("engine:import", given or {}, import_schema, 2)
  local parts = changes_of(o.changes, 2)
  table.insert(parts, 1, { "fromSrc", "-" })
  parts[#parts + 1] = o.message and { "message", o.message }
  parts[#parts + 1] = o.platform and { "platform", o.platform }
  local request = { path = "/images/create?" .. query(parts), timeout = o.timeout }
  local id
  -- Without a name: Podman 4 forgets the tag of one that is given, and says "latest".
  body("source", source, "import", request, o.on_progress, 2)
  local ok, err = stream(engine, "import", "import of " .. ref, request, o.on_progress, function(object)
    id = reference.id(object.status) or id
  end)
  if not ok then
    return nil, err
  elseif not id then
    return errors.fail("engine", ("import of %s: the engine tells no error and no image"):format(ref),
      { op = "import" })
  end
  ok, err = store.tag(engine, id, ref)
  if not ok then
    store.remove(engine, id)
    return nil, err
  end
  return store.inspect(engine, ref)
end

return M
