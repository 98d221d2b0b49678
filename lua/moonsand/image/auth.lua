--- Credentials for registries: from Docker's config file and the credential helpers that it names, and the two
--- headers that hand them to an engine. No error, log or result ever holds a secret: messages name files,
--- helpers and registries only.
local base64 = require "moonsand.base64"
local command = require "moonsand.command"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local options = require "moonsand.options"
local text = require "moonsand.text"

local M = {}

local max_config, max_secret = 1 << 20, 64 << 10 -- bytes
local helper_timeout = 60 -- seconds; one that asks a person must not hang for ever

--- The name that Docker Hub has in config files, and towards helpers and engines.
local hub, hub_key = "docker.io", "https://index.docker.io/v1/"

---@class moonsand.Credentials exactly one of password, identity_token, registry_token
---@field username string?
---@field password string?
---@field identity_token string? exchanged for tokens by the registry's token service
---@field registry_token string? a bearer token

local credential_names = { username = true, password = true, identity_token = true, registry_token = true }

-- Never says what a value is.
local function secret(name, value, level)
  if type(value) ~= "string" or value == "" or #value > max_secret or value:find "%z" then
    error(("option 'auth.%s' is a text, not empty, without NUL bytes"):format(name), level + 1)
  end
  return value
end

--- A checker for the option `auth`.
function M.option(name, value, level)
  level = (level or 1) + 1
  local schema = {}
  for field in pairs(credential_names) do
    schema[field] = secret
  end
  local auth = options.check("option '" .. name .. "'", value, schema, level)
  local ways = (auth.password and 1 or 0) + (auth.identity_token and 1 or 0) + (auth.registry_token and 1 or 0)
  if ways ~= 1 or auth.password and not auth.username then
    error(("option '%s' is { username =, password = }, { identity_token = } or { registry_token = }"):format(name),
      level)
  end
  return auth
end

--- Docker's config file: $DOCKER_CONFIG/config.json, else ~/.docker/config.json.
---@return string?
function M.config_path()
  local dir, home = os.getenv "DOCKER_CONFIG", os.getenv "HOME"
  if not dir or dir == "" then
    dir = home and home ~= "" and home .. "/.docker"
  end
  return dir and dir .. "/config.json"
end

local function read_file(path)
  local file, why, errno = io.open(path, "rb")
  if not file then
    if errno == 2 then -- ENOENT: nobody has logged in
      return nil
    end
    return nil, errors.new("io", ("cannot read Docker's config file: %s"):format(why))
  end
  local bytes = file:read(max_config + 1)
  file:close()
  if bytes and #bytes > max_config then
    return nil, errors.new("invalid", ("Docker's config file %s has more than %d bytes"):format(path, max_config))
  end
  return bytes or ""
end

local function map(value)
  return type(value) == "table" and value or {}
end

--- Reads the text of a config file. Only what is about credentials, with its types checked.
---@param bytes string
---@return { auths: table<string, table>, helpers: table<string, string>, store: string? }? config
---@return string? why
function M.parse(bytes)
  if not bytes:find "%S" then
    return { auths = {}, helpers = {} }
  end
  local value = json.decode(bytes)
  if type(value) ~= "table" then
    return nil, "is no JSON object" -- the decoder's own words could quote from it
  end
  local config = { auths = {}, helpers = {}, store = nil }
  for key, entry in pairs(map(value.auths)) do
    if type(key) == "string" and type(entry) == "table" then
      config.auths[key] = entry
    end
  end
  for key, helper in pairs(map(value.credHelpers)) do
    if type(key) == "string" and type(helper) == "string" then
      config.helpers[key] = helper
    end
  end
  if type(value.credsStore) == "string" and value.credsStore ~= "" then
    config.store = value.credsStore
  end
  return config
end

-- "https://host:5000/v2/" -> "host:5000": keys are written both ways.
local function host_of(key)
  return (key:gsub("^%a+://", ""):gsub("/.*$", ""))
end

local function key_of(registry)
  return registry == hub and hub_key or registry
end

-- The entry of the registry: under its key, else under another spelling of it, the first in order.
local function entry_for(entries, registry)
  local key = key_of(registry)
  if entries[key] ~= nil then
    return entries[key]
  end
  local names, host = {}, host_of(key)
  for name in pairs(entries) do
    if host_of(name) == host or registry == hub and host_of(name) == hub then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return entries[names[1]]
end

local function usable(value)
  return type(value) == "string" and value ~= "" and #value <= max_secret and not value:find "%z" and value or nil
end

--- The credentials in one entry of `auths`.
---@param entry table
---@return moonsand.Credentials? auth nil when there are none in it
---@return string? why it is not what it should be
function M.from_entry(entry)
  local identity, token = usable(entry.identitytoken), usable(entry.registrytoken)
  if identity then
    return { identity_token = identity }
  elseif token then
    return { registry_token = token }
  end
  local username, password = usable(entry.username), usable(entry.password)
  if type(entry.auth) == "string" and entry.auth ~= "" then
    local plain = #entry.auth <= 2 * max_secret and base64.decode(entry.auth)
    username, password = (plain or ""):match "^([^:]+):(.*)$"
    password = password and password:gsub("%z+$", "") -- Docker pads so
    if not usable(username) or not usable(password) then
      return nil, "has an \"auth\" that is no base64 of \"user:password\""
    end
  end
  if username and password then
    return { username = username, password = password }
  end
  return nil
end

--- What a credential helper printed.
---@param bytes string
---@return moonsand.Credentials? auth
function M.from_helper(bytes)
  local value = json.decode(bytes)
  local username = type(value) == "table" and usable(value.Username)
  local password = username and usable(value.Secret)
  if not password then
    return nil
  elseif username == "<token>" then
    return { identity_token = password }
  end
  return { username = username, password = password }
end

local function ask(helper, registry)
  local name = "docker-credential-" .. helper
  if #helper > 200 or not helper:find "^[%w._-]+$" then
    return errors.fail("invalid", ("Docker's config file names the credential helper \"%s\", which cannot be the name "
      .. "of a program"):format(text.harmless(helper, 80)))
  end
  local answer, err = command.run({ name, "get" }, { stdin = key_of(registry), timeout = helper_timeout,
    max_output = 2 * max_secret })
  if not answer then
    if err.code == "not_found" then
      err.message = ("Docker's config file says that %s has the credentials for %s, and there is no such program "
        .. "in PATH"):format(name, registry)
    end
    return nil, err
  elseif answer.exit_code ~= 0 then
    -- The protocol's way to say that there are none; helpers say it on either stream.
    local said = (answer.stdout .. answer.stderr):lower()
    if said:find("credentials not found", 1, true) or said:find("no credentials", 1, true) then
      return nil
    end
    return errors.fail("denied", ("%s gives no credentials for %s (it ended with %s)"):format(name, registry,
      answer.signal == 0 and "status " .. answer.exit_code or "signal " .. answer.signal))
  end
  local auth = M.from_helper(answer.stdout)
  if not auth then
    return errors.fail("denied", ("%s printed no {\"Username\":, \"Secret\":} for %s"):format(name, registry))
  end
  return auth
end

--- The credentials for a registry, as `docker login` left them: the registry's own helper (credHelpers), else
--- the helper for all (credsStore), else the config file itself (auths). nil alone when there are none.
---@param registry string as in moonsand.Reference
---@return moonsand.Credentials? auth
---@return moonsand.Error? err "invalid", "io", "denied", "not_found" (no such helper)
function M.find(registry)
  local path = M.config_path()
  if not path then
    return nil
  end
  local bytes, err = read_file(path)
  if not bytes then
    return nil, err
  end
  local config, why = M.parse(bytes)
  if not config then
    return errors.fail("invalid", ("Docker's config file %s %s"):format(path, why))
  end
  local helper = entry_for(config.helpers, registry)
  if helper == nil then
    helper = config.store
  end
  if helper and helper ~= "" then
    return ask(helper, registry)
  end
  local entry = entry_for(config.auths, registry)
  if not entry then
    return nil
  end
  local auth
  auth, why = M.from_entry(entry)
  if why then
    return errors.fail("invalid", ("Docker's config file %s: the entry for %s %s"):format(path, registry, why))
  end
  return auth
end

local function wire(auth, registry)
  auth = auth or {}
  return {
    username = auth.username, password = auth.password, identitytoken = auth.identity_token,
    registrytoken = auth.registry_token, serveraddress = next(auth) and key_of(registry) or nil,
  }
end

--- The value of X-Registry-Auth, for pull and push. Without credentials: of an empty object, for Docker's push
--- takes no request without the header.
---@param auth moonsand.Credentials?
---@param registry string
---@return string
function M.header(auth, registry)
  return base64.encode_url(json.encode(wire(auth, registry)))
end

local max_registries = 100

-- The registries that the config file has something for, each once, in order.
local function known(config)
  local set, out = {}, {}
  for _, entries in ipairs { config.auths, config.helpers } do
    for key in pairs(entries) do
      local host = host_of(key)
      set[(key == hub_key or host == hub) and hub or host] = true
    end
  end
  for name in pairs(set) do
    out[#out + 1] = name
  end
  table.sort(out)
  return table.move(out, 1, math.min(#out, max_registries), 1, {})
end

--- The value of X-Registry-Config, for builds: the credentials of all registries that Docker's config file names, as
--- `docker build` sends them, for a builder finds names that nobody saw before (ONBUILD). Those that cannot be had
--- are left out: whoever needs them hears it of the registry.
---@return string? header nil when there are none
function M.config_header()
  local path = M.config_path()
  local config = path and M.parse(read_file(path) or "")
  local out = {}
  for _, registry in ipairs(config and known(config) or {}) do
    local auth = M.find(registry)
    if auth then
      out[key_of(registry)] = wire(auth, registry)
    end
  end
  return next(out) and base64.encode_url(json.encode(out)) or nil
end

return M
