--- From a declaration to an image: found again by the hash of all that goes in, or built.
---
--- The hash is the tag. A build goes on without a name, and only the finished image that was seen to be right
--- gets it, so nothing half-built ever has it, and two builders at once do each other no harm.
---
--- An image with Python packages is built in three parts, each an image that is kept: "packages", where
--- wheels are fetched, installed and compiled (image/wheels.py; its own last result is its cache); "tree", the base
--- with Debian and Python packages; and the rest. A tree that only lacks some packages is extended by a small
--- layer, for copying and packing up thousands of files again is what costs most.
local base_of = require "moonsand.image.base"
local build = require "moonsand.image.build"
local core = require "moonsand.core"
local declare = require "moonsand.image.declare"
local dockerfile = require "moonsand.image.dockerfile"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local pack = require "moonsand.pack"
local reference = require "moonsand.image.reference"
local store = require "moonsand.image.store"
local used = require "moonsand.image.used"

local M = {}

local name = "localhost/moonsand/"
local max_depth = 20 -- builds on top of each other; an image has at most some 120 layers
local max_ca = 4 << 20

local memory = setmetatable({}, { __mode = "k" }) -- engine -> { [base id] = user in its configuration }

local function sha(...)
  return assert(core.sha256(table.concat({ ... }, "\n")))
end

local function short(hash)
  return hash:gsub("^sha256:", ""):sub(1, 32)
end

local function announce(how, event)
  if how.on_progress then
    how.on_progress(event)
  end
end

-- --- names that live as long as a build ------------------------------------------------------------------------

local function forget(engine, path)
  engine:leave { method = "DELETE", path = path, timeout = 10 }
end

--- Gives the image a name of its own until the end of the block: an id alone is no name to every builder, and
--- a name that others may move is none to build on.
local function hold(engine, id)
  local ref = name .. "work:" .. sha(id, tostring(os.time()), tostring(core.monotonic()), tostring({})):sub(1, 32)
  local ok, err = store.tag(engine, id, ref)
  if not ok then
    return nil, err
  end
  return setmetatable({ ref = ref }, { __close = function()
    forget(engine, "/images/" .. ref .. "?noprune=1")
  end })
end

--- Moves one of our own names to another image; the one that had it goes, unless something needs it.
local function move(engine, ref, id)
  local old = store.inspect(engine, ref)
  local ok, err = store.tag(engine, id, ref)
  if not ok then
    return nil, err
  end
  if old and old.id ~= id and #old.refs <= 1 then
    forget(engine, "/images/" .. old.id)
  end
  return true
end

-- --- one build --------------------------------------------------------------------------------------------------

local function add_entries(p, entries)
  for _, e in ipairs(entries) do
    local ok, err
    if e.data then
      ok, err = p:data(e.path, e.data, e.mode)
    elseif e.tree then
      ok, err = p:tree(e.path, e.tree)
    else
      ok, err = p:file(e.path, e.file, e.mode)
    end
    if not ok then
      return nil, err
    end
  end
  return true
end

local function new_pack(source, entries)
  local p, err = core.pack()
  if not p then
    return nil, err
  end
  local ok
  ok, err = p:data("Dockerfile", source)
  if ok then
    ok, err = add_entries(p, entries)
  end
  if not ok then
    p:close()
    return nil, err
  end
  return p
end

local function measure(p, how)
  return pack.measure(p, how.on_progress and function(bytes)
    announce(how, { phase = "hash", current = bytes })
  end)
end

local function left(how)
  return how.due and math.max(how.due - core.monotonic(), 0.001)
end

--- build.run with what is the same for all parts.
local function run(engine, how, o)
  o.builder, o.network, o.proxy, o.no_cache = how.builder, how.network, how.proxy, how.no_cache or nil
  o.on_progress, o.timeout = how.on_progress, left(how)
  if how.platform ~= store.engine_platform(engine) then
    o.platform = how.platform
  end
  return build.run(engine, o)
end

-- --- the parts ----------------------------------------------------------------------------------------------------

local function depth_of(facts)
  return facts and math.tointeger(tonumber(facts.labels["moonsand.depth"])) or 0
end

--- An image of ours that may be built on, nil when there is none or it is too deep.
local function earlier(engine, ref, kind, how)
  local facts, err
  if not how.no_cache then
    facts, err = store.inspect(engine, ref)
    if err and err.code ~= "not_found" then
      return nil, err
    end
  end
  if facts and facts.labels["moonsand.kind"] == kind and depth_of(facts) < max_depth then
    return facts
  end
  return nil
end

--- The packages stage. Returns its image's id, the name of the set, and whether delta is enough.
local function make_packages(engine, o, how, plan, tree)
  local ref = name .. "packages:" .. short(sha("packages", plan.base.id, how.platform))
  local last, err = earlier(engine, ref, "packages", how)
  if err then
    return nil, err
  end
  local entries = table.move(plan.packages, 1, #plan.packages, 1, {})
  if how.ca then
    entries[#entries + 1] = { path = "moonsand/ca.pem", data = how.ca }
  end
  if tree then
    entries[#entries + 1] = { path = "moonsand/tree.json",
      data = json.encode { set = tree.labels["moonsand.packages"] or "" } }
  end
  local from
  from, err = hold(engine, last and last.id or plan.base.id)
  if not from then
    return nil, err
  end
  local from_guard <close> = from
  local p
  p, err = new_pack(plan.text.packages, entries)
  if not p then
    return nil, err
  end
  local p_guard <close> = p
  local outcome
  outcome, err = run(engine, how, { pack = p, source = plan.text.packages, part = "packages",
    args = { [dockerfile.from] = from.ref },
    labels = { ["moonsand.kind"] = "packages", ["moonsand.depth"] = tostring(depth_of(last) + 1) } })
  if not outcome then
    if err.intermediate then
      forget(engine, "/images/" .. err.intermediate) -- it holds what we sent, and is of no use again
      err.intermediate = nil
    end
    return nil, err
  elseif not outcome.set then
    return errors.fail("protocol", "the packages stage ended without telling what it holds", { op = "build" })
  end
  local ok
  ok, err = move(engine, ref, outcome.id)
  if not ok then
    return nil, err
  end
  used.touch(outcome.id)
  return outcome
end

--- The base with the declaration's packages. Returns the name to build on.
local function make_tree(engine, o, how, plan)
  local system = sha("tree", plan.base.id, how.platform, table.concat(declare.apt(o), " "))
  local ref = name .. "tree:" .. short(sha(system, plan.text.packages, plan.text.tree, plan.packages_hash))
  local latest = name .. "tree:latest-" .. short(system)
  if not how.no_cache then
    local facts, err = store.inspect(engine, ref)
    if facts then
      used.touch(facts.id)
      return ref
    elseif err.code ~= "not_found" then
      return nil, err
    end
  end
  local tree, err = earlier(engine, latest, "tree", how)
  if err then
    return nil, err
  end
  local packages
  packages, err = make_packages(engine, o, how, plan, tree)
  if not packages then
    return nil, err
  end
  if not packages.extends then
    tree = nil
  end
  local source, from
  source, err = hold(engine, packages.id)
  if not source then
    return nil, err
  end
  local source_guard <close> = source
  from, err = hold(engine, tree and tree.id or plan.base.id)
  if not from then
    return nil, err
  end
  local from_guard <close> = from
  local content = dockerfile.part(tree and plan.text.extended or plan.text.tree, source.ref)
  local p
  p, err = new_pack(content, {})
  if not p then
    return nil, err
  end
  local p_guard <close> = p
  local outcome
  outcome, err = run(engine, how, { pack = p, source = content, part = "tree", args = { [dockerfile.from] = from.ref },
    labels = { ["moonsand.kind"] = "tree", ["moonsand.packages"] = packages.set,
      ["moonsand.depth"] = tostring(tree and depth_of(tree) + 1 or 1) } })
  if not outcome then
    return nil, err
  end
  local ok
  ok, err = store.tag(engine, outcome.id, ref)
  if ok then
    ok, err = move(engine, latest, outcome.id)
  end
  if not ok then
    return nil, err
  end
  used.touch(outcome.id)
  return ref
end

--- Sees that the image is right and gives it its names.
local function finish(engine, how, ref, hash, outcome)
  local facts, err = store.inspect(engine, outcome.id)
  if not facts then
    return nil, err
  elseif facts.labels["moonsand.image"] ~= hash then
    return errors.fail("protocol", "the engine has built another image than it says", { op = "build" })
  end
  local other = store.inspect(engine, ref)
  if other and other.id ~= facts.id and not how.no_cache then
    forget(engine, "/images/" .. facts.id) -- somebody else was faster
    return other
  end
  local ok
  ok, err = move(engine, ref, facts.id)
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
  local same = wanted.digest and wanted.digest == base.digest or not (wanted.digest and base.digest) and wanted.id == base.id
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

local function make_declared(engine, o, how)
  how.platform = o.platform or store.engine_platform(engine)
  local base, err = base_of.resolve(engine, o.from, { pull = how.pull, platform = o.platform, timeout = left(how),
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
  files, err = declare.files_context(o)
  if not files then
    return nil, err
  end
  plan.text = dockerfile.write(o, { ref = base_name(base), user = user }, files.parts)
  plan.source, plan.packages_hash = plan.text.text, ""
  if plan.text.packages then
    plan.packages, err = declare.packages_context(o)
    if not plan.packages then
      return nil, err
    end
    local parts = {}
    for i, e in ipairs(plan.packages) do
      parts[i] = e.path .. " " .. sha(e.data)
    end
    plan.packages_hash = sha(table.unpack(parts))
  end
  local p
  p, err = new_pack(plan.text.final, files.entries)
  if not p then
    return nil, err
  end
  local p_guard <close> = p
  local facts
  facts, err = measure(p, how)
  if not facts then
    return nil, err
  end
  local hash = sha("moonsand image 1", base.digest or base.id, how.platform, plan.source, plan.packages_hash, facts.sha256)
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
  how.builder = build.builder(engine, how.builder)
  local from, guard
  if plan.text.tree then
    from, err = make_tree(engine, o, how, plan)
  else
    guard, err = hold(engine, base.id)
    from = guard and guard.ref
  end
  local from_guard <close> = guard
  if not from then
    return nil, err
  end
  local args = { [dockerfile.from] = from }
  for k, v in pairs(plan.text.args) do
    args[k] = v
  end
  local outcome
  outcome, err = run(engine, how, { pack = p, source = plan.text.final, part = "image", args = args,
    labels = { ["moonsand.kind"] = "image", ["moonsand.image"] = hash } })
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
  return declare.bytes { host = path }
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

local function make_dockerfile(engine, o, how)
  how.platform = o.platform or store.engine_platform(engine)
  local source, err = declare.bytes(o.dockerfile)
  if not source then
    return nil, err
  end
  local args = {}
  for _, pair in ipairs(o.args) do
    args[pair[1]] = pair[2]
  end
  local read = dockerfile.read(source, args)
  local parts, base = { "moonsand dockerfile 1", how.platform, o.target or "", source }, nil
  for _, item in ipairs(read.images) do
    if reference.parse(item.ref) or reference.id(item.ref) then
      local one
      one, err = base_of.resolve(engine, item.ref, { pull = how.pull, timeout = left(how), on_progress = how.on_progress,
        platform = store.parse_platform(item.platform) and item.platform or o.platform })
      if not one then
        return nil, err
      end
      base = one
      parts[#parts + 1] = ("base %s %s"):format(item.ref, one.digest or one.id)
    end
  end
  for _, pair in ipairs(o.args) do
    parts[#parts + 1] = ("arg %s %s"):format(pair[1], sha(pair[2]))
  end
  local p
  p, err = context_pack(o, source)
  if not p then
    return nil, err
  end
  local p_guard <close> = p
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
  how.builder = build.builder(engine, how.builder, read.buildkit)
  local outcome
  outcome, err = run(engine, how, { pack = p, source = source, dockerfile = own_name, args = args, target = o.target,
    labels = { ["moonsand.kind"] = "image", ["moonsand.image"] = hash } })
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
  local base, err = base_of.resolve(engine, o.ref, { pull = how.pull, timeout = left(how), on_progress = how.on_progress })
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
  return o.kind == "reference" and o.ref or o.kind == "dockerfile" and "Dockerfile" or type(o.from) == "string" and o.from
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
