--- Which image a build starts from: one reference or bootstrap, or an ordered list of them.
---
--- What is on the engine already wins, in the order of the list; only when none of it is there (or with
--- pull = true) are registries and package mirrors asked, in the same order. The choice and the reasons for
--- it are in the answer, so that nobody builds on something else than he thinks without a word.
local bootstrap = require "moonsand.image.bootstrap"
local errors = require "moonsand.errors"
local reference = require "moonsand.image.reference"
local store = require "moonsand.image.store"
local text = require "moonsand.text"
local used = require "moonsand.image.used"

local M = {}

local remembered = setmetatable({}, { __mode = "k" }) -- engine -> { [what was asked] = base }

-- Failures of one base after which the next one is tried. Others mean that the next will not do better, or that
-- somebody has to look first.
local passable = { unreachable = true, denied = true, not_found = true, unsupported = true }

--- The list that `from` stands for. Raises for what cannot be a base.
---@param from string|moonsand.Bootstrap|(string|moonsand.Bootstrap)[]
---@param level integer? whom to blame
---@return (string|moonsand.Bootstrap)[]
function M.list(from, level)
  level = (level or 1) + 1
  local list = type(from) == "table" and not from.bootstrap and from or { from }
  if #list == 0 then
    error("option 'from' is an empty list; write \"python:3.10-slim\"", level)
  end
  for _, item in ipairs(list) do
    if type(item) ~= "table" then
      reference.check_any(item, level)
    elseif not item.bootstrap then
      error("option 'from' is a reference, moonsand.images.bootstrap{}, or a list of these", level)
    end
  end
  return list
end

--- The digest under which the registry of `ref` knows the image. Podman makes digests up for what no registry has.
local function registry_digest(facts, ref)
  local wanted = reference.parse(ref)
  if not wanted or wanted.registry == "localhost" then
    return nil
  end
  for _, item in ipairs(facts.digests) do
    local parsed = reference.parse(item)
    if parsed and parsed.digest and parsed.registry == wanted.registry and parsed.repository == wanted.repository then
      return parsed.digest
    end
  end
  return nil
end

--- What the engine has under a reference, as a base; false, err: nothing that will do; nil, err: it does not say.
local function look(engine, ref, platform)
  local facts, err = store.inspect(engine, ref)
  if not facts then
    return err.code ~= "not_found" and nil, err
  end
  local fits
  fits, err = store.check_platform(engine, ref, facts, platform)
  if not fits then
    return false, err
  end
  return { ref = ref, id = facts.id, digest = registry_digest(facts, ref), os = facts.os, arch = facts.arch }
end

--- One candidate of the list: how it is named, found and fetched.
local function candidate(item, arch)
  if type(item) == "table" then
    return {
      ref = bootstrap.name(item, arch),
      name = "Debian " .. item.suite,
      kind = "bootstrap",
      here = "bootstrapped earlier",
      fetched = "bootstrapped from packages",
      failed = "could not be bootstrapped",
      fetch = function(engine, how)
        return bootstrap.load(engine, item, arch, how)
      end,
    }
  end
  return {
    ref = item,
    name = item,
    kind = "pulled",
    here = "there already",
    fetched = "pulled",
    failed = "could not be pulled",
    fetch = function(engine, how)
      local parsed = reference.parse(item)
      if not parsed or parsed.registry == "localhost" then
        return errors.fail("not_found", "it is not on the engine, and no registry has it")
      end
      return engine:pull(item, how)
    end,
  }
end

local function reasons(tried)
  local parts = {}
  for _, item in ipairs(tried) do
    parts[#parts + 1] = ("%s %s: %s"):format(item.name, item.what, item.message)
  end
  return table.concat(parts, "; ")
end

--- The finished answer: why this one, in one line.
local function chosen(base, c, kind, how_got, tried)
  base.kind, base.tried = kind, {}
  for i, item in ipairs(tried) do
    base.tried[i] = { ref = item.ref, code = item.code, message = item.message }
  end
  base.line = ("base: %s, %s%s"):format(c.name, how_got, #tried > 0 and ", because " .. reasons(tried) or "")
  return base
end

local function note(tried, c, what, err)
  local said = "pull of " .. c.ref .. ": "
  local message = err.message:sub(1, #said) == said and err.message:sub(#said + 1) or err.message
  message = text.harmless(message, 300)
  tried[#tried + 1] = { ref = c.ref, name = c.name, what = what, code = err.code, message = message }
end

--- The first of the list that is on the engine.
local function first_here(engine, list, platform)
  local tried = {}
  for _, c in ipairs(list) do
    local base, err = look(engine, c.ref, platform)
    if base == nil then
      return nil, err
    elseif base then
      return chosen(base, c, c.kind == "bootstrap" and "bootstrap" or "local", c.here, tried)
    end
    if err.code == "not_found" then
      err = errors.new("not_found", "pull = true looks for it")
    end
    note(tried, c, "is not on the engine", err)
  end
  return false
end

--- The first of the list that can be fetched.
local function first_fetched(engine, list, how)
  local tried = {}
  for _, c in ipairs(list) do
    local base, look_err = look(engine, c.ref, how.platform)
    if base == nil then
      return nil, look_err
    elseif base and c.kind == "bootstrap" then
      return chosen(base, c, c.kind, c.here, tried) -- its name stands for its content: there is no newer one
    end
    local ok, err = c.fetch(engine, how)
    if not ok and not passable[err.code] then
      return nil, err
    elseif ok then
      base, err = look(engine, c.ref, how.platform)
      if base == nil then
        return nil, err
      elseif base then
        return chosen(base, c, c.kind, c.fetched, tried)
      end
    end
    if look_err and look_err.code == "unsupported" and err.code == "not_found" then
      err = look_err -- it is there, for another platform: that tells more
    end
    note(tried, c, c.failed, err)
    if base then
      return chosen(base, c, "local", c.here, tried) -- an older one will do
    end
  end
  return errors.fail(tried[#tried].code, "no base image: " .. reasons(tried), { op = "base", tried = tried })
end

local function key(list, platform)
  local parts = { platform or "" }
  for i, c in ipairs(list) do
    parts[i + 1] = c.ref
  end
  return table.concat(parts, " ")
end

--- Finds or fetches a base, and remembers it for this engine: the same question is answered without a call
--- from then on, until forget() or how.pull.
---
--- base: ref, id (the engine's), digest (the registry's, nil when it has none), kind ("local", "pulled",
--- "bootstrap"), os, arch, tried = { { ref, code, message } } (what was preferred and why it was not taken),
--- line (all of that in one line). err.code is that of the last base tried: "unreachable", "denied",
--- "not_found", "unsupported"; or what else kept us, without trying the next. Raises for what cannot be a base.
--- platform is that of the containers, "linux/arm64", by default the engine's; timeout, in seconds, is for each
--- pull and each bootstrap.
---@param engine moonsand.Engine
---@param from string|moonsand.Bootstrap|(string|moonsand.Bootstrap)[]
---@param how { pull: boolean?, platform: string?, on_progress: function?, timeout: number? }?
---@return moonsand.Base? base, moonsand.Error? err
function M.resolve(engine, from, how)
  how = how or {}
  local platform = how.platform
  local _, arch = store.parse_platform(platform or store.engine_platform(engine))
  local list = {}
  for i, item in ipairs(M.list(from, 2)) do
    list[i] = candidate(item, arch)
  end
  local memory = remembered[engine] or {}
  remembered[engine] = memory
  local asked = key(list, platform)
  local base, err = memory[asked], nil
  if how.pull then
    base = nil
  elseif not base then
    base, err = first_here(engine, list, platform)
    if base == nil then
      return nil, err
    end
  end
  if not base then
    local fetch = { on_progress = how.on_progress, timeout = how.timeout, platform = platform }
    base, err = first_fetched(engine, list, fetch)
  end
  memory[asked] = base
  if base then
    used.touch(base.id)
  end
  return base, err
end

--- Nothing is remembered of this engine: for whoever finds that a base is gone.
---@param engine moonsand.Engine
function M.forget(engine)
  remembered[engine] = nil
end

return M
