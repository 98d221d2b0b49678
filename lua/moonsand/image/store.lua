--- The images on an engine: is it there, what is it, list, name, remove, history. The functions are methods
--- of moonsand.Engine. What engines say about images was written by others: it is checked and harmless here.
local epoch = require "moonsand.image.epoch"
local errors = require "moonsand.errors"
local name_lock = require "moonsand.image.names"
local options = require "moonsand.options"
local reference = require "moonsand.image.reference"
local text = require "moonsand.text"
local used = require "moonsand.image.used"

local M = {}

---@class moonsand.ImageFacts
---@field id string "sha256:..."; on some engines the digest of the manifest, so comparable on one engine only
---@field refs string[] its names
---@field digests string[] "name@sha256:...", for each registry it came from or went to
---@field size integer bytes, with the layers that it shares with others
---@field created integer seconds since the epoch; 0 when unknown
---@field os string
---@field arch string
---@field variant string? "v7", "v8"
---@field platform string "linux/amd64", "linux/arm/v7"
---@field labels table<string, string>
---@field config moonsand.ImageConfig
---@field layers integer

---@class moonsand.ImageConfig
---@field env string[] "NAME=value"
---@field cmd string[]
---@field entrypoint string[]
---@field workdir string?
---@field user string?
---@field volumes string[] paths
---@field onbuild string[] instructions

---@class moonsand.ImageEntry
---@field id string
---@field refs string[]
---@field digests string[]
---@field size integer bytes
---@field created integer seconds since the epoch
---@field labels table<string, string>
---@field kind string? what it is to moonsand; nil for images of others

local max_text, max_items = 4096, 1000

local function list_of(value)
  local out = {}
  for i, item in ipairs(type(value) == "table" and value or {}) do
    if i > max_items then
      break
    end
    out[#out + 1] = type(item) == "string" and text.harmless(item, max_text) or nil
  end
  return out
end

local function keys_of(value)
  local out = {}
  for key in pairs(type(value) == "table" and value or {}) do
    if type(key) == "string" and #out < max_items then
      out[#out + 1] = text.harmless(key, max_text)
    end
  end
  table.sort(out)
  return out
end

local function labels_of(value)
  local out = {}
  for key, item in pairs(type(value) == "table" and value or {}) do
    if type(key) == "string" and type(item) == "string" then
      out[text.harmless(key, max_text)] = text.harmless(item, max_text)
    end
  end
  return out
end

-- A name that had to be made harmless would not be found again: it is left out. So is "<none>:<none>".
local function refs_of(value)
  local out = {}
  for _, ref in ipairs(list_of(value)) do
    if reference.parse(ref) then
      out[#out + 1] = ref
    end
  end
  return out
end

local function count(value)
  return math.type(value) == "integer" and value > 0 and value or 0
end

local function platform_of(os_name, arch, variant)
  return os_name .. "/" .. arch .. (variant and "/" .. variant or "")
end

local arch_names = { x86_64 = "amd64", aarch64 = "arm64", armhf = "arm", armel = "arm", i386 = "386", i686 = "386" }

--- "linux/amd64", "arm64", "linux/arm/v7" -> os, arch, variant. nil when it is none.
---@param s any
---@return string? os, string? arch, string? variant
function M.parse_platform(s)
  if type(s) ~= "string" or #s > 100 or not s:find "^[%w/._-]+$" then
    return nil
  end
  local parts = {}
  for part in s:lower():gmatch "[^/]+" do
    parts[#parts + 1] = part
  end
  if #parts == 1 then
    parts = { "linux", parts[1] }
  end
  if #parts > 3 then
    return nil
  end
  return parts[1], arch_names[parts[2]] or parts[2], parts[3]
end

--- A checker for options: "linux/amd64" in its usual spelling.
function M.platform_option(name, value, level)
  local os_name, arch, variant = M.parse_platform(value)
  if not os_name then
    error(("option '%s': %s is not a platform; write \"linux/amd64\""):format(
      name, type(value) == "string" and ("\"%s\""):format(text.harmless(value, 80)) or type(value)), (level or 1) + 1)
  end
  return platform_of(os_name, arch, variant)
end

--- The platform that containers of the engine have by themselves.
---@param engine moonsand.Engine
---@return string
function M.engine_platform(engine)
  local facts = engine:facts()
  return M.platform_option("arch", (facts.os or "linux") .. "/" .. (facts.arch or "amd64"))
end

--- Is the image for that platform? A variant counts only when both name one.
---@param engine moonsand.Engine
---@param ref string for the message
---@param facts moonsand.ImageFacts
---@param wanted string? nil: the engine's own
---@return boolean? ok, moonsand.Error? err code "unsupported", with both platforms and the way out
function M.check_platform(engine, ref, facts, wanted)
  local own = M.engine_platform(engine)
  local os_name, arch, variant = M.parse_platform(wanted or own)
  local image_os, image_arch, image_variant = M.parse_platform(facts.platform)
  if image_os == os_name and image_arch == arch and (not variant or not image_variant or variant == image_variant) then
    return true
  elseif wanted then
    return errors.fail("unsupported", ("image %s is for %s, and platform = \"%s\" was asked for: name an image that "
      .. "has it, or ask for \"%s\""):format(ref, facts.platform, wanted, facts.platform))
  end
  return errors.fail("unsupported", ("image %s is for %s, and the engine is %s: pull it with platform = \"%s\", or, if "
    .. "the engine emulates the other one, say platform = \"%s\" to engine:sandbox"):format(
    ref, facts.platform, own, own, facts.platform))
end

local function read_facts(answer)
  local id = type(answer) == "table" and reference.id(answer.Id)
  if not id then
    return errors.fail("protocol", "the engine's description of an image has no id")
  end
  local config = type(answer.Config) == "table" and answer.Config or {}
  local metadata = type(answer.Metadata) == "table" and answer.Metadata or {}
  local fs = type(answer.RootFS) == "table" and answer.RootFS or {}
  local facts = {
    id = id, refs = refs_of(answer.RepoTags), digests = refs_of(answer.RepoDigests), size = count(answer.Size),
    created = epoch(answer.Created), tagged = epoch(metadata.LastTagTime),
    os = text.maybe(answer.Os, 100) or "linux", arch = text.maybe(answer.Architecture, 100) or "unknown",
    variant = text.maybe(answer.Variant, 100), labels = labels_of(config.Labels), layers = #list_of(fs.Layers),
    config = {
      env = list_of(config.Env), cmd = list_of(config.Cmd), entrypoint = list_of(config.Entrypoint),
      workdir = text.maybe(config.WorkingDir, max_text), user = text.maybe(config.User, max_text),
      volumes = keys_of(config.Volumes), onbuild = list_of(config.OnBuild),
    },
  }
  facts.platform = platform_of(facts.os, facts.arch, facts.variant)
  return facts
end

-- Podman answers some questions about images that are not there with 500.
local function missing(err)
  return err.status == 404 or err.status == 500 and err.message:find("image not known", 1, true) ~= nil
end

local function shown(ref)
  return type(ref) == "table" and ref.id or ref
end

local look_tries = 5

-- Podman looks for an image's parents among all images, and fails when one of these goes at that moment.
local function others_went(err)
  return err.status == 500 and err.message:find("failed to convert", 1, true) ~= nil
end

local function look(engine, path)
  local answer, err
  for _ = 1, look_tries do
    answer, err = engine:request { path = "/images/" .. path .. "/json" }
    if answer then
      return read_facts(answer)
    elseif not others_went(err) then
      break
    end
  end
  if missing(err) then
    err.code = "not_found"
  end
  return nil, err
end

--- Is the image there? Raises for what cannot be a reference.
---@param ref string|moonsand.Image name, "name@sha256:..." or the full id
---@return boolean? there nil for errors
---@return moonsand.ImageFacts|moonsand.Error|nil facts_or_err
function M.has(engine, ref)
  local facts, err = look(engine, (reference.check_any(ref, 2)))
  if facts then
    return true, facts
  elseif err.code == "not_found" then
    return false
  end
  return nil, err
end

--- What the image is. err.code is "not_found" when it is not there. Raises for what cannot be a reference.
---@param ref string|moonsand.Image
---@return moonsand.ImageFacts? facts, moonsand.Error? err
function M.inspect(engine, ref)
  local facts, err = look(engine, (reference.check_any(ref, 2)))
  if not facts and err.code == "not_found" then
    err.message = ("image %s is not on the engine %s"):format(shown(ref), engine:facts().endpoint or "")
  end
  return facts, err
end

local list_schema = { all = options.flag, ours = options.flag }

--- What an image is to moonsand: "image", "tree", "packages", "base" (built, see engine:image), "run" (one with the
--- agent added, made by the first run), "data" (one with a sandbox's data added); nil for images of others.
---@param labels table<string, string>
---@param refs string[]
---@return string?
function M.kind(labels, refs)
  local kind = labels["moonsand.kind"]
  if kind then
    return kind
  end
  return refs[1] and refs[1]:find "^localhost/moonsand/run:" and "run" or nil
end

--- The images on the engine, newest first. all: those without a name, too (not the steps of a build).
--- ours: only what moonsand has made.
---@param given { all: boolean?, ours: boolean? }?
---@return moonsand.ImageEntry[]? list, moonsand.Error? err
function M.list(engine, given)
  local o = options.check("engine:images", given or {}, list_schema, 2)
  local answer, err = engine:request { path = "/images/json" }
  if not answer then
    return nil, err
  elseif type(answer) ~= "table" then
    return errors.fail("protocol", "the engine's list of images is no JSON array")
  end
  local out = {}
  for _, item in ipairs(answer) do
    local id = type(item) == "table" and reference.id(item.Id)
    if id then
      local entry = {
        id = id, refs = refs_of(item.RepoTags), digests = refs_of(item.RepoDigests), size = count(item.Size),
        created = count(item.Created), labels = labels_of(item.Labels),
      }
      entry.kind = M.kind(entry.labels, entry.refs)
      if (o.all or #entry.refs > 0) and (not o.ours or entry.kind) then
        out[#out + 1] = entry
      end
    end
  end
  table.sort(out, function(a, b)
    if a.created ~= b.created then
      return a.created > b.created
    end
    return a.id < b.id
  end)
  return out
end

local tag_tries = 5

--- Gives the image one more name; a name that another image had goes over to it. Where two give one image a name
--- at the same moment, Podman 4 answers both that it is done and keeps one: so it is looked at, and done again.
---@param source string|moonsand.Image
---@param ref string the new name, without a digest
---@return boolean? ok, moonsand.Error? err
function M.tag(engine, source, ref)
  local path = reference.check_any(source, 2)
  local new = reference.check(ref, 2)
  if new.digest then
    error(("%s: a digest is no name that can be given"):format(ref), 2)
  end
  local name, tag = reference.name_tag(new)
  for _ = 1, tag_tries do
    local ok, err = name_lock.change(engine, { method = "POST",
      path = ("/images/%s/tag?repo=%s&tag=%s"):format(path, name, tag) })
    if not ok then
      if missing(err) then
        err.code, err.message = "not_found", ("image %s is not on the engine, so it cannot be named %s"):format(
          shown(source), ref)
      end
      return nil, err
    end
    local there
    there, err = M.inspect(engine, ref)
    if there then
      return true
    elseif err.code ~= "not_found" then
      return nil, err
    end
  end
  return errors.fail("engine", ("the engine names image %s %s, and has no such name afterwards"):format(
    shown(source), ref), { op = "tag" })
end

--- The containers on the engine: id, name, state, image (id), and labels.
---@return { id: string, name: string, state: string, image: string?, labels: table<string, string> }[]? list
---@return moonsand.Error? err
function M.containers(engine)
  local answer, err = engine:request { path = "/containers/json?all=1" }
  if type(answer) ~= "table" then
    return nil, err or errors.new("protocol", "the engine's list of containers is no JSON array")
  end
  local out = {}
  for _, c in ipairs(answer) do
    if type(c) == "table" and type(c.Id) == "string" then
      local names = list_of(c.Names)
      out[#out + 1] = {
        id = text.harmless(c.Id, 64), name = (names[1] or c.Id:sub(1, 12)):gsub("^/", ""),
        state = text.maybe(c.State, 40) or "unknown", image = reference.id(c.ImageID), labels = labels_of(c.Labels),
      }
    end
  end
  return out
end

--- True for an image that our sandboxes and runs have made of another one (its label moonsand.base), by adding to it.
function M.is_added(kind)
  return kind == "run" or kind == "data"
end

--- The images that our sandboxes and runs have made of the image `id` by adding data and the agent; those that hang
--- on others of them come first.
function M.run_images(list, id)
  local out = {}
  for _, item in ipairs(list) do
    if M.is_added(item.kind) and item.labels["moonsand.base"] == id and item.id ~= id then
      if item.kind == "data" then
        table.move(M.run_images(list, item.id), 1, #list, #out + 1, out)
      end
      out[#out + 1] = item
    end
  end
  return out
end

local remove_schema = { force = options.flag }

local function delete(engine, path, force)
  local answer, err = name_lock.change(engine, { method = "DELETE",
    path = "/images/" .. path .. (force and "?force=1" or "") })
  if not answer then
    if missing(err) then
      err.code = "not_found"
    elseif err.status == 409 or err.message:find "in use" or err.message:find "force" then
      err.code = "conflict" -- Podman says 500
    end
    return nil, err
  end
  return type(answer) == "table" and answer or {}
end

-- Who keeps the image: containers of it, or of the images that our runs have made of it.
local function holders(engine, id, runs)
  local mine, out = { [id] = true }, {}
  for _, run in ipairs(runs) do
    mine[run.id] = true
  end
  for _, c in ipairs(M.containers(engine) or {}) do
    if c.image and mine[c.image] then
      out[#out + 1] = c
    end
  end
  return out
end

local function explain(engine, ref, facts, runs, err)
  if err.code ~= "conflict" then
    return err
  end
  local by = holders(engine, facts.id, runs)
  if #by > 0 then
    local names = {}
    for i, c in ipairs(by) do
      names[i] = i <= 5 and ("%s (%s)"):format(c.name, c.state) or nil
    end
    err.message = ("image %s is used by the container%s %s%s: remove %s first"):format(
      shown(ref), #by > 1 and "s" or "", table.concat(names, ", "),
      #by > 5 and (" and %d more"):format(#by - 5) or "", #by > 1 and "them" or "it")
    err.containers = by
  elseif #facts.refs > 1 then
    err.message = ("image %s has the names %s: remove it by its names, or with force"):format(
      shown(ref), table.concat(facts.refs, ", "))
  end
  return err
end

--- Takes the name away; with its last name goes the image. By id, an image with several names goes only with
--- force. What our sandboxes and runs have made of the image (data and the agent added) goes with it. err.code is
--- "conflict" when containers use it, and err.containers names them; "not_found" when it is not there. force: also
--- under containers that do not run.
---@param ref string|moonsand.Image
---@param given { force: boolean? }?
---@return { untagged: string[], deleted: string[] }? what, moonsand.Error? err
function M.remove(engine, ref, given)
  local path, name = reference.check_any(ref, 2)
  local o = options.check("engine:remove", given or {}, remove_schema, 2)
  local facts, err = M.inspect(engine, ref)
  if not facts then
    return nil, err
  end
  local what = { untagged = {}, deleted = {} }
  local function add(answer)
    for _, item in ipairs(answer) do
      if type(item) == "table" then
        what.untagged[#what.untagged + 1] = text.maybe(item.Untagged, 600)
        what.deleted[#what.deleted + 1] = reference.id(item.Deleted)
      end
    end
  end
  local runs = {}
  if not name or #facts.refs <= 1 then
    local list
    list, err = M.list(engine)
    if not list then
      return nil, err
    end
    runs = M.run_images(list, facts.id)
    if #holders(engine, facts.id, runs) == 0 or o.force then
      for _, run in ipairs(runs) do
        add(delete(engine, run.id, o.force) or {})
      end
    end
  end
  local answer
  answer, err = delete(engine, path, o.force)
  if not answer then
    return nil, explain(engine, ref, facts, runs, err)
  end
  add(answer)
  for _, id in ipairs(what.deleted) do
    used.forget(id)
  end
  return what
end

--- How the image came about, newest step first.
---@param ref string|moonsand.Image
---@return { created: integer, created_by: string, size: integer, comment: string?, refs: string[] }[]? steps
---@return moonsand.Error? err
function M.history(engine, ref)
  local answer, err = engine:request { path = "/images/" .. reference.check_any(ref, 2) .. "/history" }
  if type(answer) ~= "table" then
    if err and err.status and missing(err) then
      err.code, err.message = "not_found", ("image %s is not on the engine"):format(shown(ref))
    end
    return nil, err or errors.new("protocol", "the engine's history of an image is no JSON array")
  end
  local out = {}
  for _, item in ipairs(answer) do
    if type(item) == "table" then
      out[#out + 1] = {
        created = count(item.Created), created_by = text.maybe(item.CreatedBy, max_text) or "",
        size = count(item.Size), comment = text.maybe(item.Comment, max_text), refs = refs_of(item.Tags),
      }
    end
  end
  return out
end

return M
