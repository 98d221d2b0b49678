--- Builds on the engine and the images that they leave for the next: names that live as long as a build, and
--- the parts of an image with packages.
local anchor = require "moonsand.image.anchor"
local build = require "moonsand.image.build"
local core = require "moonsand.core"
local declare = require "moonsand.image.declare"
local dockerfile = require "moonsand.image.dockerfile"
local errors = require "moonsand.errors"
local hold = require "moonsand.image.hold"
local json = require "moonsand.json"
local names = require "moonsand.image.names"
local store = require "moonsand.image.store"
local used = require "moonsand.image.used"

local M = {}

--- What the names of our images begin with.
M.prefix = "localhost/moonsand/"

local name = M.prefix
local hold_tries = 3
local max_depth = 20 -- builds on top of each other; an image has at most some 120 layers

--- One hash of several texts.
---@return string hex
function M.sha(...)
  return assert(core.sha256(table.concat({ ... }, "\n")))
end

local sha = M.sha

--- As much of a hash as stands in a tag.
function M.short(hash)
  return hash:gsub("^sha256:", ""):sub(1, 32)
end

local short = M.short

-- --- names that live as long as a build ------------------------------------------------------------------------

--- Removes an image or a name, whatever comes of it.
M.forget = names.leave

local forget = M.forget

-- Podman can lose a name when another one of the same image is given or taken at the same moment.
local function lost(err, held)
  for _, h in ipairs(held) do
    if (err.code == "unreachable" or err.code == "not_found") and err.message:find(h.ref, 1, true) then
      return h
    end
  end
end

local function run_held(engine, o, held)
  for _ = 1, hold_tries do
    local outcome, err = build.run(engine, o)
    local h = not outcome and lost(err, held)
    if not h then
      return outcome, err
    end
    local ok
    ok, err = store.tag(engine, h.id, h.ref)
    if not ok then
      return nil, err
    end
  end
  return build.run(engine, o)
end

--- Moves one of our own names to another image; the one that had it goes, unless something needs it.
function M.move(engine, ref, id)
  local old = store.inspect(engine, ref)
  local ok, err = store.tag(engine, id, ref)
  if not ok then
    return nil, err
  end
  if old and old.id ~= id and #old.refs <= 1 then
    forget(engine, old.id)
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

function M.new_pack(source, entries)
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

--- Seconds that how.timeout leaves, nil without one.
function M.left(how)
  return how.due and math.max(how.due - core.monotonic(), 0.001)
end

--- build.run with what is the same for all parts. held: names of hold.take() that it builds on.
function M.run(engine, how, o, held)
  o.builder, o.network, o.proxy, o.ca = how.builder, how.network, how.proxy, how.ca ~= nil
  -- A step of the packages stage that the builder remembers would tell nothing of what it holds; and what an
  -- index has changes. What it made is found again by names of our own.
  o.no_cache = how.no_cache or o.part == "packages"
  o.on_progress, o.timeout = how.on_progress, M.left(how)
  if how.platform ~= store.engine_platform(engine) then
    o.platform = how.platform
  end
  if o.builder == "podman" and not how.anchor and how.anchor_image then
    how.anchor = anchor.start(engine, how.anchor_image)
  end
  o.anchor = how.anchor
  return run_held(engine, o, held)
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
local function make_packages(engine, how, plan, tree)
  local ref = name .. "packages:" .. short(sha("packages", plan.base.id, how.platform))
  local last, err = earlier(engine, ref, "packages", how)
  if err then
    return nil, err
  end
  local entries = table.move(plan.packages, 1, #plan.packages, 1, {})
  if how.ca then
    entries[#entries + 1] = { path = dockerfile.ca, data = how.ca }
  end
  if tree then
    entries[#entries + 1] = { path = "moonsand/tree.json",
      data = json.encode { set = tree.labels["moonsand.packages"] or "" } }
  end
  local from <close>, from_err = hold.take(engine, last and last.id or plan.base.id)
  if not from then
    return nil, from_err
  end
  local content = dockerfile.part(plan.text.packages, nil, { ["moonsand.kind"] = "packages",
    ["moonsand.depth"] = tostring(depth_of(last) + 1) })
  local p <close>, p_err = M.new_pack(content, entries)
  if not p then
    return nil, p_err
  end
  local outcome
  outcome, err = M.run(engine, how, { pack = p, source = content, part = "packages",
    args = { [dockerfile.from] = from.ref } }, { from })
  if not outcome then
    if err.intermediate then
      forget(engine, err.intermediate) -- it holds what we sent, and is of no use again
      err.intermediate = nil
    end
    return nil, err
  elseif not outcome.set then
    return errors.fail("protocol", "the packages stage ended without telling what it holds", { op = "build" })
  end
  local ok
  ok, err = M.move(engine, ref, outcome.id)
  if not ok then
    return nil, err
  end
  used.touch(outcome.id)
  return outcome
end

--- The text of the tree and what is sent with it. Certificates are mounted where a builder can; to copy them would
--- leave them in a layer.
local function tree_source(how, plan)
  if how.ca and plan.text.apt and how.builder ~= "classic" then
    return dockerfile.with_ca(plan.text), { { path = dockerfile.ca, data = how.ca } }
  end
  return plan.text.tree, {}
end

local function hold_if(engine, id)
  if id then
    return hold.take(engine, id)
  end
end

--- The tree without Python packages, or with those of `packages`; of `tree`, when that only lacks some.
local function make_tree(engine, how, plan, packages, tree)
  local source <close>, source_err = hold_if(engine, packages and packages.id)
  local from <close>, from_err = hold.take(engine, tree and tree.id or plan.base.id)
  if source_err or from_err then
    return nil, source_err or from_err
  end
  local text, entries = tree_source(how, plan)
  if tree then
    text, entries = plan.text.extended, {}
  end
  local content = dockerfile.part(text, source and source.ref, {
    ["moonsand.kind"] = "tree", ["moonsand.packages"] = packages and packages.set or "",
    ["moonsand.depth"] = tostring(tree and depth_of(tree) + 1 or 1) })
  local p <close>, p_err = M.new_pack(content, entries)
  if not p then
    return nil, p_err
  end
  return M.run(engine, how, { pack = p, source = content, part = "tree", args = { [dockerfile.from] = from.ref } },
    { from, source })
end

--- The base with the declaration's packages. Returns the name to build on and its image's id, or nil, err.
function M.tree(engine, o, how, plan)
  local system = sha("tree", plan.base.id, how.platform, table.concat(declare.apt(o), " "))
  local ref = name .. "tree:" .. short(sha(system, plan.text.packages or "", plan.text.tree, plan.packages_hash))
  local latest = name .. "tree:latest-" .. short(system)
  if not how.no_cache then
    local facts, err = store.inspect(engine, ref)
    if facts then
      used.touch(facts.id)
      return ref, facts.id
    elseif err.code ~= "not_found" then
      return nil, err
    end
  end
  local tree, packages, err
  if plan.text.packages then
    tree, err = earlier(engine, latest, "tree", how)
    if err then
      return nil, err
    end
    packages, err = make_packages(engine, how, plan, tree)
    if not packages then
      return nil, err
    end
  end
  local outcome
  outcome, err = make_tree(engine, how, plan, packages, packages and packages.extends and tree)
  if not outcome then
    return nil, err
  end
  local ok
  ok, err = store.tag(engine, outcome.id, ref)
  if ok and packages then
    ok, err = M.move(engine, latest, outcome.id)
  end
  if not ok then
    return nil, err
  end
  used.touch(outcome.id)
  return ref, outcome.id
end

return M
