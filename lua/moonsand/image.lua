--- An image: what sandboxes start from. engine:image() finds it or makes it (image/make.lua).
local build = require "moonsand.image.build"
local declare = require "moonsand.image.declare"
local errors = require "moonsand.errors"
local lock = require "moonsand.image.lock"
local make = require "moonsand.image.make"
local options = require "moonsand.options"
local reference = require "moonsand.image.reference"

local M = {}

---@class moonsand.Image
---@field id string "sha256:...", the engine's
---@field ref string its name: "localhost/moonsand/image:" and 32 digits of its hash, or the reference
---@field digest string? of a registry, for an image by reference
---@field base moonsand.Base? what it was built on; of a list of declarations, with what was tried before
---@field built boolean false: it was found
local Image = {}
Image.__index = Image
Image.__name = "moonsand.Image"

local function proxy(name, value, level)
  local schema = { http = options.text, https = options.text, no = options.text }
  return options.check("option '" .. name .. "'", value, schema, level + 1)
end

local how_schema = {
  on_progress = options.func,
  builder = options.one_of { "auto", "classic", "buildkit" },
  network = options.one_of { "on", "none" },
  ca = options.text,
  proxy = proxy,
  name = function(name, value, level)
    local ref = reference.check(value, level + 1)
    if ref.digest then
      error(("option '%s': a digest is no name that can be given"):format(name), level + 1)
    end
    return value
  end,
  pull = options.flag,
  timeout = options.duration,
  no_cache = options.flag,
}

--- engine:image(what, how): the image, found when it is there already, else made.
---
--- what is a reference ("python:3.10-slim": there, or pulled); or a declaration
---   { from = base or list of bases ("python:3.10-slim"), apt = { "libgomp1" }, pip = { "pandas==2.2.3" } or
---     { pandas = "2.2.3" }, requirements = path or { data = }, files = { ["/inside"] = "host path" or { data =,
---     mode = } }, env = {}, run = { "sh script" }, workdir =, user =, labels = {}, platform = "linux/arm64",
---     build_apt = { for source distributions }, lock = what image:lock() returned };
--- or { dockerfile = path or { data = }, context = directory, args = {}, target =, platform = } (without a
--- context, nothing is sent but the Dockerfile); or a list of these, of which the next one is taken when a
--- base or a package index of the one before cannot be had.
--- The order of keys means nothing. `from` in a list names bases in order of preference.
---
--- how changes nothing of what is made: on_progress(event); builder "auto", "classic", "buildkit"; network "on"
--- or "none", for the build; ca: path of a PEM bundle that pip and apt trust, too, while they build (not the steps
--- of `run` and of Dockerfiles; for apt, "auto" takes BuildKit, as Docker's classic builder cannot hand it over
--- without leaving it in the image); proxy { http =, https =, no = } for the build; name: one more name; pull: look
--- for newer bases; timeout, in seconds, for all of it; no_cache: build even if it is there.
---
--- err.code: "not_found", "unreachable", "denied" of a base; "unreachable" also when the package index
--- cannot be reached; "build" with err.step (the instruction) and err.log (its last lines); "conflict" when
--- files change while they are sent or a lock is for another base; "invalid" when a lock does not fit.
--- Raises for declarations that make no sense, options that do not exist, and what on_progress raises.
---@param engine moonsand.Engine
---@param what string|table
---@param how table?
---@return moonsand.Image? image, moonsand.Error? err
function M.image(engine, what, how)
  local o = options.check("engine:image, how", how or {}, how_schema, 2)
  local declaration, err = declare.read(what, 2)
  if not declaration then
    return nil, err
  end
  if o.ca then
    o.ca, err = make.read_ca(o.ca)
    if not o.ca then
      return nil, err
    end
  end
  local made
  made, err = make.make(engine, declaration, o)
  if not made then
    return nil, err
  end
  made.engine = engine
  return setmetatable(made, Image)
end

--- The text of the Dockerfile that makes it, in one piece; it builds with the files of the declaration beside it.
---@return string? text, moonsand.Error? err "unsupported" for an image by reference
function Image:dockerfile()
  if not self.text then
    return errors.fail("unsupported", ("%s was not built by moonsand"):format(self.ref), { op = "dockerfile" })
  end
  return self.text
end

--- Exact versions and hashes of everything that the build installed, as a plain table: lock = in a declaration.
---@return table? lock, moonsand.Error? err
function Image:lock()
  if not self.text then
    return errors.fail("unsupported", ("%s was not built by moonsand"):format(self.ref), { op = "lock" })
  end
  return lock.read(self.engine, self)
end

---@return moonsand.ImageFacts? facts, moonsand.Error? err
function Image:inspect()
  return self.engine:inspect(self.id)
end

---@return table[]? steps newest first, moonsand.Error? err
function Image:history()
  return self.engine:history(self.id)
end

--- Gives it one more name.
---@param ref string
---@return boolean? ok, moonsand.Error? err
function Image:tag(ref)
  return self.engine:tag(self.id, ref)
end

--- Removes its name, and with the last name the image. force as of engine:remove().
---@param how { force: boolean? }?
---@return table? what, moonsand.Error? err
function Image:remove(how)
  return self.engine:remove(self.ref, how)
end

--- Writes it to a file, as engine:save().
---@param target string|function
---@param how table?
function Image:save(target, how)
  return self.engine:save(self.ref, target, how)
end

--- Sends it to a registry under ref, which it is named before; as engine:push().
---@param ref string? nil: its own name, for an image by reference
---@param how table?
function Image:push(ref, how)
  if ref then
    local ok, err = self.engine:tag(self.id, ref)
    if not ok then
      return nil, err
    end
  end
  return self.engine:push(ref or self.ref, how)
end

function Image:__tostring()
  return ("moonsand.Image (%s, %s)"):format(self.ref, self.id:sub(8, 19))
end

--- Which builder a declaration would get: "classic", "buildkit", "podman".
M.builder = build.builder

return M
