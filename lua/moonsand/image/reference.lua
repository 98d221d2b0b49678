--- Image references: "python:3.10-slim", "host:5000/team/app@sha256:...", and image ids.
--- The grammar is that of the registries (distribution/reference); names without a registry belong to
--- Docker Hub, as everywhere.
local text = require "moonsand.text"

local M = {}

local hub = "docker.io"
local max_name, max_tag, max_text = 255, 128, 512

---@class moonsand.Reference
---@field registry string "docker.io", "localhost", "host:5000"
---@field repository string "library/python"
---@field tag string? "latest" when neither tag nor digest was given
---@field digest string? "sha256:..."; then the tag, if any, is only for the reader
---@field text string all of it: "docker.io/library/python:3.10-slim"

-- Letters and digits, with one separator between two of them: ".", "_", "__" or any number of "-".
local function component_ok(s)
  if not s:find "^[a-z0-9][a-z0-9._-]*$" or s:find "[._-]$" then
    return false
  end
  for separator in s:gmatch "[._-]+" do
    if separator ~= "." and separator ~= "_" and separator ~= "__" and separator:find "[^-]" then
      return false
    end
  end
  return true
end

-- Does the part before the first "/" name a registry? Docker's rule: a dot, a port, or "localhost".
local function names_registry(s)
  return s == "localhost" or s:find "[.:%[A-Z]" ~= nil
end

local function registry_ok(s)
  local host, port = s:match "^(.-):(%d+)$"
  host = host or s
  if port and (#port > 5 or tonumber(port) < 1 or tonumber(port) > 65535) then
    return false
  end
  if host:find "^%[[%x:]+%]$" then
    return true
  end
  for label in (host .. "."):gmatch "([^.]*)%." do
    if not label:find "^%w[%w-]*$" or label:find "%-$" then
      return false
    end
  end
  return true
end

--- An image id as the engines print it, in full, with or without "sha256:".
---@param s any
---@return string? id "sha256:" and 64 digits
function M.id(s)
  local hex = type(s) == "string" and s:match "^sha256:(%x+)$" or s
  if type(hex) == "string" and #hex == 64 and hex:find "^[0-9a-f]+$" then
    return "sha256:" .. hex
  end
  return nil
end

local function digest_ok(s)
  local name, hex = s:match "^([a-z0-9+._-]+):([0-9a-f]+)$"
  return name and #hex >= 32 and #hex <= 128 and (name ~= "sha256" or #hex == 64)
end

local function split_name(name)
  local first, rest = name:match "^([^/]+)/(.+)$"
  local registry, repository = hub, name
  if first and names_registry(first) then
    registry, repository = first, rest
  end
  if registry == "index.docker.io" then
    registry = hub
  end
  if registry == hub and not repository:find("/", 1, true) then
    repository = "library/" .. repository
  end
  return registry, repository
end

--- Reads a reference. nil and what is wrong when it is none; an id is none either (see id()).
---@param s any
---@return moonsand.Reference? ref
---@return string? why
function M.parse(s)
  if type(s) ~= "string" then
    return nil, "is a " .. type(s)
  elseif s == "" then
    return nil, "is empty"
  elseif #s > max_text then
    return nil, ("has more than %d bytes"):format(max_text)
  elseif M.id(s) then
    return nil, "is an image id"
  end
  local name, digest = s:match "^([^@]*)@(.*)$"
  name = name or s
  if digest and not digest_ok(digest) then
    return nil, 'has no digest of the form "sha256:" and 64 lower-case hexadecimal digits after the "@"'
  end
  local before, tag = name:match "^(.*):([^/:%]]*)$"
  name = before or name
  if tag and (#tag > max_tag or not tag:find "^[%w_][%w_.-]*$") then
    return nil, "has no tag after the \":\" (letters, digits, \"_\", \".\", \"-\"; at most 128)"
  end
  local registry, repository = split_name(name)
  if not registry_ok(registry) then
    return nil, "names no registry before the first \"/\""
  end
  for component in (repository .. "/"):gmatch "([^/]*)/" do
    if not component_ok(component) then
      return nil, component:find "%u" and "has capital letters in its name"
        or "has a name with something else than small letters, digits and single \".\", \"_\", \"-\" between them"
    end
  end
  if #registry + 1 + #repository > max_name then
    return nil, ("has a name of more than %d bytes"):format(max_name)
  end
  if not tag and not digest then
    tag = "latest"
  end
  local full = registry .. "/" .. repository .. (tag and ":" .. tag or "") .. (digest and "@" .. digest or "")
  return { registry = registry, repository = repository, tag = tag, digest = digest, text = full }
end

--- The name without tag and digest, as the engines' API takes it.
---@param ref moonsand.Reference
---@return string
function M.name(ref)
  return ref.registry .. "/" .. ref.repository
end

--- As people write it: "python:3.10-slim", not "docker.io/library/python:3.10-slim".
---@param ref moonsand.Reference
---@return string
function M.short(ref)
  if ref.registry == hub then
    local s = ref.text:sub(#hub + 2):gsub("^library/", "")
    local again = M.parse(s)
    if again and again.text == ref.text then -- "localhost/x" of the Hub needs its registry
      return s
    end
  end
  return ref.text
end

--- Name and tag (or digest), the two parameters of the engines' API.
---@param ref moonsand.Reference|string a text is one that parse() takes
---@return string name, string tag
function M.name_tag(ref)
  if type(ref) == "string" then
    local why
    ref, why = M.parse(ref)
    if not ref then
      error("an image reference that " .. why, 2)
    end
  end
  return M.name(ref), ref.digest or ref.tag
end

--- What stands in a path of the engines' API. With a digest, the tag is left out: Podman takes no both.
---@param ref moonsand.Reference
---@return string
function M.path(ref)
  return M.name(ref) .. (ref.digest and "@" .. ref.digest or ":" .. ref.tag)
end

--- Reads a reference, or raises an error that says what is wrong with it.
---@param s any
---@param level integer? whom to blame, as for error()
---@return moonsand.Reference
function M.check(s, level)
  local ref, why = M.parse(s)
  if not ref then
    local shown = type(s) == "string" and ("\"%s\""):format(text.harmless(s, 80)) or type(s)
    error(("%s is not an image reference, for it %s; write \"python:3.10-slim\""):format(shown, why), (level or 1) + 1)
  end
  return ref
end

--- Reads a reference or an id. Returns what stands in a path of the API, and the reference, nil for an id.
--- A short id is not one: it could be the name of an image on Docker Hub.
---@param s any text; or a table with an id, as moonsand.Image
---@param level integer?
---@return string path, moonsand.Reference? ref
function M.check_any(s, level)
  if type(s) == "table" and M.id(s.id) then
    return M.id(s.id), nil
  end
  local id = M.id(s)
  if id then
    return id, nil
  end
  local ref = M.check(s, (level or 1) + 1)
  return M.path(ref), ref
end

return M
