--- From a declaration to an image: found again by the hash of all that goes in, or built.
---
--- The hash is the tag. A build goes on without a name, and only the finished image that was seen to be right
--- gets it, so nothing half-built ever has it, and two builders at once do each other no harm.
---
--- An image with packages is built in up to three parts, each an image that is kept: "packages", where Python's
--- wheels are fetched, installed and compiled (image/wheels.py; its own last result is its cache); "tree", the base
--- with Debian and Python packages; and the rest. A tree that only lacks some packages is extended by a small
--- layer, for copying and packing up thousands of files again is what costs most.
local auth = require "moonsand.image.auth"
local base_of = require "moonsand.image.base"
local build = require "moonsand.image.build"
local context = require "moonsand.image.context"
local core = require "moonsand.core"
local dockerfile = require "moonsand.image.dockerfile"
local errors = require "moonsand.errors"
local hold = require "moonsand.image.hold"
local pack = require "moonsand.pack"
local parts_of = require "moonsand.image.parts"
local reference = require "moonsand.image.reference"
local store = require "moonsand.image.store"
local used = require "moonsand.image.used"

local M = {}

local max_ca = 4 << 20

local name, sha, short = parts_of.prefix, parts_of.sha, parts_of.short
local memory = setmetatable({}, { __mode = "k" }) -- engine -> { [base id] = user in its configuration }

local function announce(how, event)
  if how.on_progress then
    how.on_progress(event)
  end
end

local function measure(p, how)
  local facts, err = pack.measure(p, how.on_progress and function(bytes)
    announce(how, { phase = "hash", current = bytes })
  end)
  if not facts and err.code == "not_found" then
    return errors.fail("io", err.message, { cause = err }) -- "not_found" is said of images
  end
  return facts, err
end

--- Sees that the image is right and gives it its names.
local function finish(engine, how, ref, hash, outcome)
  local facts, err = store.inspect(engine, outcome.id)
  if not facts then
    return nil, err
  elseif facts.labels["moonsand.image"] ~= hash then
    return errors.fail("protocol", "the engine has built another image than it says", { op = "build" })
  end
  local ok
  if how.no_cache then
    ok, err = parts_of.move(engine, ref, facts.id)
  else
    local other = store.inspect(engine, ref)
    if other and other.id ~= facts.id then
      parts_of.forget(engine, facts.id) -- somebody else was faster
      return other
    end
    -- Who was as fast has an image, too, and keeps it.
    ok, err = store.tag(engine, facts.id, ref)
  end
  if not ok then
    return nil, err
  end
  return facts
end

local function answer(engine, how, ref, facts, plan, built)
  used.touch(facts.id)
  if how.name then
    local ok, err = store.tag(engine, facts.id, how.name)
    if not ok then
      return nil, err
    end
  end
  return { id = facts.id, ref = ref, digest = nil, base = plan.base, built = built, text = plan.source, ours = true }
end

-- --- declarations ---------------------------------------------------------------------------------------------

local function config_user(engine, base)
  local known = memory[engine] or {}
  memory[engine] = known
  if known[base.id] == nil then
    local facts, err = store.inspect(engine, base.id)
    if not facts then
      return nil, err
    end
    known[base.id] = facts.config.user or ""
  end
  return known[base.id]
end

local function check_lock(lock, base)
  local wanted = lock.base
  local same = wanted.digest and wanted.digest == base.digest or not (wanted.digest and base.digest)
    and wanted.id == base.id
  if not same and (wanted.digest or wanted.id) then
    return errors.fail("conflict", ("the lock was made on the base %s (%s), and this engine has %s (%s)"):format(
      wanted.ref or "?", wanted.digest or wanted.id, base.ref, base.digest or base.id), { op = "lock" })
  end
  return true
end

-- How the base stands in the Dockerfile that people see.
local function base_name(base)
  local parsed = reference.parse(base.ref)
  if not parsed then
    return base.ref
  elseif parsed.digest or not base.digest then
    return reference.short(parsed)
  end
  return reference.short(parsed):gsub(":[^/:]*$", "") .. "@" .. base.digest
end

--- What the last part starts from, under a name that stays for as long as this is open.
local function start(engine, o, how, plan)
  local mounts = how.ca ~= nil and plan.text.apt ~= nil -- see dockerfile.with_ca()
  how.builder, how.anchor_image = build.builder(engine, how.builder, mounts), plan.base.id
  if not plan.text.tree then
    return hold.take(engine, plan.base.id)
  end
  local ref, id = parts_of.tree(engine, o, how, plan)
  if not ref then
    return nil, id
  end
  return setmetatable({ ref = ref, id = id }, { __close = function() end })
end

local function make_declared(engine, o, how)
  how.platform = o.platform or store.engine_platform(engine)
  local base, err = base_of.resolve(engine, o.from, { pull = how.pull, platform = o.platform,
    timeout = parts_of.left(how),
    on_progress = how.on_progress })
  if not base then
    return nil, err
  end
  local plan = { base = base }
  local user
  user, err = config_user(engine, base)
  if user == nil then
    return nil, err
  end
  if o.lock then
    local ok
    ok, err = check_lock(o.lock, base)
    if not ok then
      return nil, err
    end
  end
  local files
  files, err = context.files(o)
  if not files then
    return nil, err
  end
  plan.text = dockerfile.write(o, { ref = base_name(base), user = user }, files.parts)
  plan.source, plan.packages_hash = plan.text.text, ""
  if plan.text.packages then
    plan.packages, err = context.packages(o)
    if not plan.packages then
      return nil, err
    end
    local parts = {}
    for i, e in ipairs(plan.packages) do
      parts[i] = e.path .. " " .. sha(e.data)
    end
    plan.packages_hash = sha(table.unpack(parts))
  end
  local p <close>, p_err = parts_of.new_pack(plan.text.final, files.entries)
  if not p then
    return nil, p_err
  end
  local facts
  facts, err = measure(p, how)
  if not facts then
    return nil, err
  end
  local hash = sha("moonsand image 1", base.digest or base.id, how.platform, plan.source, plan.packages_hash,
    facts.sha256)
  local ref = name .. "image:" .. short(hash)
  if not how.no_cache then
    local there
    there, err = store.inspect(engine, ref)
    if there then
      return answer(engine, how, ref, there, plan, false)
    elseif err.code ~= "not_found" then
      return nil, err
    end
  end
  local from <close>, from_err = start(engine, o, how, plan)
  if not from then
    return nil, from_err
  end
  local args = { [dockerfile.from] = from.ref }
  for k, v in pairs(plan.text.args) do
    args[k] = v
  end
  local outcome
  outcome, err = parts_of.run(engine, how, { pack = p, source = plan.text.final, part = "image", args = args,
    labels = { ["moonsand.kind"] = "image", ["moonsand.image"] = hash } }, { from })
  if not outcome then
    return nil, err
  end
  local built
  built, err = finish(engine, how, ref, hash, outcome)
  if not built then
    return nil, err
  end
  return answer(engine, how, ref, built, plan, true)
end

-- --- Dockerfiles -------------------------------------------------------------------------------------------------

local own_name = ".moonsand.Dockerfile"

local function slurp(path)
  return context.bytes { host = path }
end

local function context_pack(o, source)
  local p, err = core.pack()
  if not p then
    return nil, err
  end
  local ok = true
  if o.context then
    local ignore = o.dockerfile.host and core.stat(o.dockerfile.host .. ".dockerignore")
      and slurp(o.dockerfile.host .. ".dockerignore")
      or core.stat(o.context .. "/.dockerignore") and slurp(o.context .. "/.dockerignore") or nil
    ok, err = p:tree("", o.context, { ignore = ignore, keep = { "Dockerfile", ".dockerignore" } })
  end
  if ok then
    ok, err = p:data(own_name, source)
  end
  if not ok then
    p:close()
    return nil, err
  end
  return p
end

-- A builder looks for what is not there any more in registries by itself, and not all of them have our credentials.
local function still_there(engine, bases)
  for _, base in ipairs(bases) do
    local facts, err = store.inspect(engine, base.ref)
    if not facts then
      return nil, err
    end
  end
  return true
end

local function make_dockerfile(engine, o, how)
  how.platform = o.platform or store.engine_platform(engine)
  local source, err = context.bytes(o.dockerfile)
  if not source then
    return nil, err
  end
  local args = {}
  for _, pair in ipairs(o.args) do
    args[pair[1]] = pair[2]
  end
  local read = dockerfile.read(source, args)
  local parts, bases = { "moonsand dockerfile 1", how.platform, o.target or "", source }, {}
  local base
  for _, item in ipairs(read.images) do
    if reference.parse(item.ref) or reference.id(item.ref) then
      local one
      one, err = base_of.resolve(engine, item.ref, { pull = how.pull, timeout = parts_of.left(how),
        on_progress = how.on_progress,
        platform = store.parse_platform(item.platform) and item.platform or o.platform })
      if not one then
        return nil, err
      end
      bases[#bases + 1] = one
      base = item == read.base and one or base
      parts[#parts + 1] = ("base %s %s"):format(item.ref, one.digest or one.id)
    end
  end
  for _, pair in ipairs(o.args) do
    parts[#parts + 1] = ("arg %s %s"):format(pair[1], sha(pair[2]))
  end
  local p <close>, p_err = context_pack(o, source)
  if not p then
    return nil, p_err
  end
  local facts
  facts, err = measure(p, how)
  if not facts then
    return nil, err
  end
  parts[#parts + 1] = facts.sha256
  local plan, hash = { base = base, source = source }, sha(table.unpack(parts))
  local ref = name .. "image:" .. short(hash)
  if not how.no_cache then
    local there
    there, err = store.inspect(engine, ref)
    if there then
      return answer(engine, how, ref, there, plan, false)
    elseif err.code ~= "not_found" then
      return nil, err
    end
  end
  how.builder, how.anchor_image = build.builder(engine, how.builder, read.buildkit), base and base.id
  if how.builder == "podman" and facts.escaping then
    return errors.fail("build",
      ("%s in the context is a symbolic link out of it, and Podman takes no such context"):format(
      facts.escaping), { op = "build", step = "context", log = {} })
  end
  local there
  there, err = still_there(engine, bases)
  if not there then
    return nil, err
  end
  local outcome
  outcome, err = parts_of.run(engine, how, { pack = p, source = source, dockerfile = own_name, args = args,
    target = o.target, auth = auth.config_header(),
    labels = { ["moonsand.kind"] = "image", ["moonsand.image"] = hash } }, {})
  if not outcome then
    return nil, err
  end
  local built
  built, err = finish(engine, how, ref, hash, outcome)
  if not built then
    return nil, err
  end
  return answer(engine, how, ref, built, plan, true)
end

-- --- references and lists ----------------------------------------------------------------------------------------

local function make_reference(engine, o, how)
  local base, err = base_of.resolve(engine, o.ref, { pull = how.pull, timeout = parts_of.left(how),
    on_progress = how.on_progress })
  if not base then
    return nil, err
  end
  return answer(engine, how, base.ref, { id = base.id }, { base = base }, false)
end

local makers = { reference = make_reference, packages = make_declared, dockerfile = make_dockerfile }

local function make_one(engine, o, how)
  local copy = {}
  for k, v in pairs(how) do
    copy[k] = v
  end
  local _ <close> = setmetatable({}, { __close = function()
    if copy.anchor then
      copy.anchor:close()
    end
  end })
  local made, err = makers[o.kind](engine, o, copy)
  if not made and err.code == "not_found" and not how.pull then
    -- A remembered base may have been removed since.
    base_of.forget(engine)
    memory[engine] = nil
    if err.op ~= "base" then
      made, err = makers[o.kind](engine, o, copy)
    end
  end
  return made, err
end

local passable = { unreachable = true, denied = true, not_found = true }

local function title(o)
  return o.kind == "reference" and o.ref or o.kind == "dockerfile" and "Dockerfile" or type(o.from) == "string"
    and o.from
    or "declaration"
end

--- Makes the image of a declaration, or of the first of a list that can be had.
---@param engine moonsand.Engine
---@param o moonsand.Declaration
---@param how table checked options; ca is the text of the bundle
---@return table? made { id, ref, base, built, text, ours }, moonsand.Error? err
function M.make(engine, o, how)
  how.due = how.timeout and core.monotonic() + how.timeout
  if o.kind ~= "list" then
    return make_one(engine, o, how)
  end
  local tried = {}
  for i, item in ipairs(o.list) do
    local made, err = make_one(engine, item, how)
    if made then
      if #tried > 0 then
        local base, reasons = {}, {}
        for k, v in pairs(made.base or {}) do
          base[k] = v
        end
        for j, t in ipairs(tried) do
          reasons[j] = ("%s: %s"):format(t.ref, t.message)
        end
        base.tried = table.move(base.tried or {}, 1, #(base.tried or {}), #tried + 1, tried)
        base.line = ("%s; choice %d of %d, because %s"):format(base.line or "", i, #o.list, table.concat(reasons, "; "))
        made.base = base
      end
      return made
    elseif not passable[err.code] or i == #o.list then
      err.tried = tried
      return nil, err
    end
    tried[#tried + 1] = { ref = title(item), code = err.code, message = err.message }
  end
end

--- Reads a bundle of certificates for how.ca.
---@param path string
---@return string? pem, moonsand.Error? err
function M.read_ca(path)
  local pem, err = slurp(path)
  if not pem then
    return nil, err
  elseif #pem > max_ca or not pem:find("-----BEGIN CERTIFICATE-----", 1, true) then
    return errors.fail("invalid", ("%s holds no certificates in PEM"):format(path))
  end
  return pem
end

return M
