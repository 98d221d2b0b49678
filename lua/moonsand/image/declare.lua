--- What engine:image() takes, in one normal form: checked, lists in their order, maps sorted, so that the
--- order of keys in a Lua table means nothing. Mistakes raise and name the option.
local bootstrap_field = "bootstrap"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local options = require "moonsand.options"
local reference = require "moonsand.image.reference"
local store = require "moonsand.image.store"

local M = {}

M.default_base = "python:3.10-slim"

local max_line = 60000 -- bytes; Docker's builder reads lines of less than 64 KiB

-- The checks raise without a position; read() adds that of its caller.
local nowhere = 1000

---@class moonsand.Declaration
---@field kind "reference"|"list"|"packages"|"dockerfile"

local function say(level, name, ...)
  error(("option '%s': "):format(name) .. string.format(...), level + 1)
end

-- Text that goes into the image's configuration, which is JSON.
local function line_of_text(name, value, level)
  if type(value) ~= "string" then
    say(level + 1, name, "a text is wanted, got %s", type(value))
  elseif value:find("\0", 1, true) or not utf8.len(value) then
    say(level + 1, name, "a text of valid UTF-8 without NUL bytes is wanted")
  elseif #value > max_line then
    say(level + 1, name, "a text of at most %d bytes is wanted", max_line)
  end
  return value
end

local function list(name, value, level, item)
  if type(value) == "string" then
    value = { value }
  elseif type(value) ~= "table" then
    say(level + 1, name, "a list is wanted, got %s", type(value))
  end
  local out, count = {}, 0
  for _ in pairs(value) do
    count = count + 1
  end
  if count ~= #value then
    say(level + 1, name, "a list without names is wanted")
  end
  for i, v in ipairs(value) do
    out[i] = item(("%s[%d]"):format(name, i), v, level + 1)
  end
  return out
end

--- { name = value } as a list of { name, value }, sorted by name.
local function map(name, value, level, check_name, check_value)
  if type(value) ~= "table" then
    say(level + 1, name, "a table { name = value } is wanted, got %s", type(value))
  end
  local out = {}
  for k, v in pairs(value) do
    if type(k) ~= "string" then
      say(level + 1, name, "a table { name = value } is wanted, and it has a value without a name")
    end
    out[#out + 1] = { check_name(name, k, level + 1), check_value(("%s.%s"):format(name, k), v, level + 1) }
  end
  table.sort(out, function(a, b)
    return a[1] < b[1]
  end)
  return out
end

local function debian_package(name, value, level)
  line_of_text(name, value, level + 1)
  if not value:find "^[%w][%w.+-]*[%w.+:=~/-]*$" then
    say(level + 1, name, "%q is not the name of a Debian package (\"gcc\" or \"gcc=4:12.2.0-3\")", value)
  end
  return value
end

local function requirement(name, value, level)
  line_of_text(name, value, level + 1)
  if value:find "[\r\n]" or not value:find "^%s*[%w.]" then
    say(level + 1, name, "%q is not a requirement; write \"pandas\" or \"pandas==2.2.3\"", value)
  end
  return value
end

--- A list of requirements, or { pandas = "2.2.3", numpy = ">=2", scipy = true }.
local function pip(name, value, level)
  if type(value) ~= "table" or #value > 0 or next(value) == nil then
    return list(name, value, level + 1, requirement)
  end
  local out = {}
  for _, pair in ipairs(map(name, value, level + 1, function(_, k, l)
    return requirement(name, k, l + 1)
  end, function(n, v, l)
    if v ~= true then
      line_of_text(n, v, l + 1)
    end
    return v
  end)) do
    local package, version = pair[1], pair[2]
    if version == true or version == "*" or version == "" then
      version = ""
    elseif not version:find "^%s*[<>=!~]" then
      version = "==" .. version
    end
    out[#out + 1] = requirement(("%s.%s"):format(name, package), package .. version, level + 1)
  end
  return out
end

--- A host path, or { data = "..." }.
local function content(name, value, level)
  if type(value) == "string" then
    return { host = options.text(name, value, level + 1) }
  elseif type(value) ~= "table" or type(value.data) ~= "string" then
    say(level + 1, name, "a path of this machine or { data = \"...\" } is wanted")
  end
  local o = options.check("option '" .. name .. "'", value, { data = function(_, v) return v end,
    mode = function(n, v, l)
      if math.type(v) ~= "integer" or v < 0 or v > 511 then
        say(l + 1, n, "permissions are wanted, for example tonumber(\"755\", 8)")
      end
      return v
    end }, level + 1)
  return { data = o.data, mode = o.mode }
end

local function inside(name, value, level)
  line_of_text(name, value, level + 1)
  if not value:find "^/" then
    say(level + 1, name, "%q is not an absolute path of the image", value)
  end
  for part in value:gmatch "[^/]+" do
    if part == ".." or part == "." then
      say(level + 1, name, "%q has \"%s\" in it", value, part)
    end
  end
  return value
end

local function files(name, value, level)
  local out = map(name, value, level + 1, function(n, k, l)
    local path = "/" .. inside(n, k, l + 1):gsub("^/+", ""):gsub("/+", "/"):gsub("/$", "")
    if path == "/" then
      say(l + 1, n, "a file is wanted, \"/\" is the whole image")
    end
    return path
  end, content)
  for i = 2, #out do
    if out[i][1] == out[i - 1][1] then
      say(level + 1, name, "%q stands there twice", out[i][1])
    end
  end
  return out
end

local function env(name, value, level)
  return map(name, value, level + 1, function(n, k, l)
    if not k:find "^[%a_][%w_]*$" then
      say(l + 1, n, "%q is not the name of a variable", k)
    end
    return k
  end, function(n, v, l)
    return line_of_text(n, type(v) == "number" and tostring(v) or v, l + 1)
  end)
end

local function labels(name, value, level)
  return map(name, value, level + 1, function(n, k, l)
    line_of_text(n, k, l + 1)
    if k == "" or k == "moonsand" or k:find "^moonsand%." or k:find "[%c ]" then
      say(l + 1, n, "%q cannot be the name of a label (moonsand.* is taken, and no blanks)", k)
    end
    return k
  end, line_of_text)
end

local function user(name, value, level)
  if math.type(value) == "integer" then
    value = tostring(value)
  end
  line_of_text(name, value, level + 1)
  if not value:find "^[%w_][%w_.-]*$" and not value:find "^[%w_][%w_.-]*:[%w_][%w_.-]*$" then
    say(level + 1, name, "%q is not a user; write \"app\", \"1000\" or \"1000:1000\"", value)
  end
  return value
end

local function from(name, value, level)
  local items = type(value) == "table" and not value[bootstrap_field] and value or { value }
  if #items == 0 then
    say(level + 1, name, "a base or a list of bases is wanted, got an empty list")
  end
  for _, item in ipairs(items) do
    if type(item) ~= "table" then
      reference.check_any(item, level + 1)
    elseif not item[bootstrap_field] and not reference.id(item.id) then
      say(level + 1, name, "a reference, moonsand.images.bootstrap{}, or a list of these is wanted")
    end
  end
  return value
end

local function hashes_ok(value)
  for _, h in ipairs(type(value) == "table" and value or {}) do
    if type(h) ~= "string" or not h:find "^sha256:%x+$" or #h ~= 71 then
      return false
    end
  end
  return type(value) == "table" and #value > 0
end

--- A lock: the table that image:lock() returned, its JSON, or the path of a file with that.
local function lock(name, value, level)
  if type(value) == "string" then
    local text = value
    if not text:find "^%s*{" then
      local f, why = io.open(value, "rb")
      if not f then
        say(level + 1, name, "%s", why)
      end
      text = f:read(16 << 20) or ""
      f:close()
    end
    value = json.decode(text)
  end
  if type(value) ~= "table" or value.version ~= 1 or type(value.base) ~= "table" or type(value.pip) ~= "table"
    or type(value.apt) ~= "table" then
    say(level + 1, name, "what image:lock() returned is wanted (version 1)")
  end
  local out = { version = 1, python = value.python, platform = value.platform, pip = {}, apt = {},
    base = { ref = value.base.ref, digest = value.base.digest, id = value.base.id } }
  for i, p in ipairs(value.pip) do
    if type(p) ~= "table" or type(p.name) ~= "string" or not p.name:find "^%w[%w._-]*$" or type(p.version) ~= "string"
      or not p.version:find "^%w[%w.+!_-]*$" or not hashes_ok(p.hashes) then
      say(level + 1, name, "pip[%d] is not { name =, version =, hashes = { \"sha256:...\" } }", i)
    end
    out.pip[i] = { name = p.name, version = p.version, hashes = p.hashes }
  end
  for i, p in ipairs(value.apt) do
    if type(p) ~= "table" or type(p.name) ~= "string" or type(p.version) ~= "string" then
      say(level + 1, name, "apt[%d] is not { name =, version =, arch =, sha256 = }", i)
    end
    debian_package(name, p.name .. "=" .. p.version, level + 1)
    out.apt[i] = { name = p.name, version = p.version }
  end
  if out.base.ref ~= nil then
    reference.check_any(out.base.ref, level + 1)
  end
  return out
end

local packages_schema = {
  from = from,
  apt = function(name, value, level)
    return list(name, value, level + 1, debian_package)
  end,
  build_apt = function(name, value, level)
    return list(name, value, level + 1, debian_package)
  end,
  pip = pip,
  requirements = content,
  files = files,
  env = env,
  run = function(name, value, level)
    return list(name, value, level + 1, line_of_text)
  end,
  workdir = inside,
  user = user,
  labels = labels,
  platform = store.platform_option,
  lock = lock,
}

local dockerfile_schema = {
  dockerfile = content,
  context = options.text,
  args = function(name, value, level)
    return map(name, value, level + 1, function(n, k, l)
      if not k:find "^[%a_][%w_]*$" then
        say(l + 1, n, "%q is not the name of an argument", k)
      end
      return k
    end, line_of_text)
  end,
  target = options.text,
  platform = store.platform_option,
}

--- Those of a lock's packages that a declaration asks for by name have to be in the lock.
local function check_locked(o)
  local known = {}
  local function plain(s)
    return (s:lower():gsub("[-_.]+", "-"))
  end
  for _, p in ipairs(o.lock.pip) do
    known[plain(p.name)] = true
  end
  for _, line in ipairs(o.pip or {}) do
    local name = line:match "^%s*(%w[%w._-]*)"
    if name and not known[plain(name)] then
      return errors.fail("invalid", ("the lock has no package %s: it was made for another declaration"):format(name))
    end
  end
  return true
end

local function read(what)
  local level = nowhere
  if type(what) == "string" then
    reference.check_any(what, level)
    return { kind = "reference", ref = what }
  elseif type(what) ~= "table" then
    error(("engine:image wants a reference or a declaration, got %s"):format(type(what)), 0)
  elseif what[bootstrap_field] then
    return read { from = what }
  elseif #what > 0 then
    local out = {}
    for i, item in ipairs(what) do
      local one, err = read(item)
      if not one then
        return nil, err
      end
      out[i] = one
    end
    return { kind = "list", list = out }
  elseif what.dockerfile ~= nil then
    local o = options.check("engine:image (of a Dockerfile)", what, dockerfile_schema, level)
    o.kind, o.args = "dockerfile", o.args or {}
    return o
  elseif reference.id(what.id) and what.ref ~= nil then
    return { kind = "reference", ref = what.id }
  end
  local o = options.check("engine:image", what, packages_schema, level)
  o.kind = "packages"
  if o.lock then
    local ok, err = check_locked(o)
    if not ok then
      return nil, err
    end
    o.from = o.from or o.lock.base.ref
    o.platform = o.platform or (o.lock.platform and store.platform_option("lock.platform", o.lock.platform, level))
  end
  o.from = o.from or M.default_base
  return o
end

--- Reads what engine:image() was given. Raises for mistakes; nil, err when a lock does not fit.
---@param what any
---@param level integer? whom to blame
---@return moonsand.Declaration? declaration, moonsand.Error? err
function M.read(what, level)
  local ok, o, err = pcall(read, what)
  if not ok then
    error(o, (level or 1) + 1)
  end
  return o, err
end

--- Does the declaration install Python packages?
---@param o moonsand.Declaration
---@return boolean
function M.has_packages(o)
  if o.lock then
    return #o.lock.pip > 0
  end
  return o.pip ~= nil and #o.pip > 0 or o.requirements ~= nil
end

--- The Debian packages of the declaration, with their versions when it is locked.
---@return string[]
function M.apt(o)
  if not o.lock then
    return o.apt or {}
  end
  local out = {}
  for i, p in ipairs(o.lock.apt) do
    out[i] = p.name .. "=" .. p.version
  end
  return out
end

return M
