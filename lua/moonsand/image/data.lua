--- Input data of a sandbox: files that go in once, as one more layer on the image, and lie at /data in each of its
--- runs, which can read and not change them. The layer is found again by what is in it: by the hash of the files, of
--- the image below and of this machine's id, which a stranger does not know (core/src/layer.c says why).
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local pack = require "moonsand.pack"
local parts_of = require "moonsand.image.parts"
local program = require "moonsand.program"
local store = require "moonsand.image.store"
local used = require "moonsand.image.used"

local M = {}

--- Where they lie.
M.dir = "/data"

M.most_files = 10000
M.most_bytes = 4 << 30 -- of all files together

local repository = parts_of.prefix .. "data:"
local file_mode = 292 -- 0444: whoever it belongs to on this machine
local timeout = 300 -- seconds; a commit copies the whole image on some storage drivers

---@class moonsand.DataFile
---@field path string relative to /data
---@field host string? path on this machine
---@field bytes string? what is in it, instead

--- Checker of the option: { ["GOOG.csv"] = "host/path" or { data = "..." } }, or a list of host paths, which go under
--- their base names.
---@return moonsand.DataFile[] sorted by path
function M.option(name, value, level)
  level = (level or 1) + 1
  if type(value) ~= "table" then
    error(("option '%s' is a table { [\"prices.csv\"] = \"host/path\" }, got %s"):format(name, type(value)), level)
  end
  local out, seen = {}, {}
  for path, what in pairs(value) do
    local file = {}
    if math.type(path) == "integer" then
      program.check_path(what, level)
      path = program.base_name(what)
    end
    program.check_target(path, level, M.dir)
    if path:find "%c" then
      error(("option '%s': a file's name holds a control character"):format(name), level)
    elseif seen[path] then
      error(("option '%s': %q stands there twice"):format(name, path), level)
    end
    seen[path] = true
    file.path = path
    if type(what) == "table" then
      for key in pairs(what) do
        if key ~= "data" then
          error(("option '%s': %q has no option '%s' (it has data)"):format(name, path, tostring(key)), level)
        end
      end
      if type(what.data) ~= "string" then
        error(("option '%s': %q needs a string 'data'"):format(name, path), level)
      end
      file.bytes = what.data
    else
      program.check_path(what, level)
      file.host = what
    end
    out[#out + 1] = file
  end
  if #out == 0 then
    error(("option '%s' is empty; leave it away, or name files"):format(name), level)
  elseif #out > M.most_files then
    error(("option '%s' has %d files; %d are the most"):format(name, #out, M.most_files), level)
  end
  table.sort(out, function(a, b)
    return a.path < b.path
  end)
  return out
end

local function fail(code, message, cause)
  return errors.fail(code, message, { op = "data", cause = cause })
end

-- What can be said before the first byte is read. A link is told of when it is opened, which does not follow it.
local function look_at(file)
  if file.bytes then
    return #file.bytes
  end
  local facts, err = core.stat(file.host)
  if not facts then
    return fail(err.code == "not_found" and "io" or err.code, "data: " .. err.message, err)
  elseif facts.type == "directory" then
    return fail("invalid", ("data: %s is a directory; name the files in it"):format(file.host))
  elseif facts.type ~= "file" then
    return fail("invalid", ("data: %s is not a regular file"):format(file.host))
  end
  return facts.size
end

--- All of it as one archive, measured.
local function new_pack(list)
  local total = 0
  for _, file in ipairs(list) do
    local size, err = look_at(file)
    if not size then
      return nil, err
    end
    total = total + size
    if total > M.most_bytes then
      return fail("invalid", ("data: %s and the files before it have %d bytes, more than %d; for so much, bind a "
        .. "directory (option 'binds')"):format(file.host or file.path, total, M.most_bytes))
    end
  end
  local p, err = core.pack()
  if not p then
    return nil, err
  end
  for _, file in ipairs(list) do
    local ok
    local inside = M.dir:sub(2) .. "/" .. file.path
    if file.bytes then
      ok, err = p:data(inside, file.bytes, file_mode)
    else
      ok, err = p:file(inside, file.host, file_mode)
    end
    if not ok then
      p:close()
      return fail(err.code, "data: " .. err.message, err)
    end
  end
  local facts
  facts, err = pack.measure(p)
  if not facts then
    p:close()
    return fail(err.code == "not_found" and "io" or err.code, "data: " .. err.message, err)
  end
  return p, facts.sha256
end

--- A volume of the image would lie over the files, and take in what is copied there.
local function check_volumes(base, ref)
  local below = M.dir .. "/"
  for _, path in ipairs(base.config.volumes) do
    local dir = path:gsub("/*$", "/")
    if dir == below or dir:sub(1, #below) == below or below:sub(1, #dir) == dir then
      return fail("unsupported", ("data: image %s declares a volume at %s, so nothing can be put into %s"):format(
        ref or base.id, path, M.dir))
    end
  end
  return true
end

local function is_ours(facts, base, hash)
  return facts.labels["moonsand.data"] == hash and facts.labels["moonsand.base"] == base.id
end

--- A container that is never started, with the files in it, becomes the image.
local function build(engine, base, p, hash)
  local answer, err = engine:request { method = "POST", path = "/containers/create", body = {
    Image = base.id, Cmd = json.array { "/bin/true" }, NetworkDisabled = true, HostConfig = { NetworkMode = "none" },
    Labels = {
      moonsand = "1", ["moonsand.owner"] = core.owner_label(), ["moonsand.lease"] = tostring(os.time() + 2 * timeout),
      ["moonsand.kind"] = "data", ["moonsand.base"] = base.id, ["moonsand.data"] = hash,
    },
  } }
  if not answer then
    return nil, err
  elseif type(answer) ~= "table" or type(answer.Id) ~= "string" or not answer.Id:find "^%x+$" then
    return errors.fail("protocol", "the engine's answer to a create call has no id")
  end
  local id = answer.Id
  local _ <close> = setmetatable({}, { __close = function()
    engine:leave { method = "DELETE", path = "/containers/" .. id .. "?force=1&v=1", timeout = 30 }
  end })
  local ok
  ok, err = engine:request { method = "PUT", path = ("/containers/%s/archive?path=/"):format(id), body_pack = p,
    timeout = timeout }
  if not ok then
    return nil, err
  end
  answer, err = engine:request { method = "POST", path = ("/commit?container=%s&pause=0"):format(id), body = {},
    timeout = timeout }
  if not answer then
    return nil, err
  end
  local facts
  facts, err = store.inspect(engine, type(answer) == "table" and { id = answer.Id } or answer)
  if not facts then
    return nil, err
  elseif not is_ours(facts, base, hash) then
    return errors.fail("protocol", "the engine has made another image than it says")
  end
  return facts
end

--- Gives it its name; of two that were made at once, the first to have it stays.
local function name_it(engine, facts, ref, base, hash)
  local other = store.inspect(engine, ref)
  if other and is_ours(other, base, hash) then
    parts_of.forget(engine, facts.id .. "?noprune=1")
    return other
  end
  local ok, err = store.tag(engine, facts.id, ref)
  if not ok then
    return nil, err
  end
  return facts
end

--- The image `base` with the files: found, or made. err.op is "data"; err.code "io" for a file that is not there or
--- cannot be read, "invalid" for what is no regular file and for too much, "conflict" for a file that changes
--- meanwhile, "unsupported" for an image that has a volume there.
---@param engine moonsand.Engine
---@param base moonsand.ImageFacts
---@param list moonsand.DataFile[] from option()
---@param base_ref string? for messages
---@return { id: string, names: string[], hash: string }? made hash: of names and contents alone
---@return moonsand.Error? err
function M.make(engine, base, list, base_ref)
  local ok, err = check_volumes(base, base_ref)
  if not ok then
    return nil, err
  end
  local p <close>, hash = new_pack(list)
  if not p then
    return nil, hash
  end
  local owner
  owner, err = core.owner_label()
  if not owner then
    return nil, err
  end
  local ref = repository .. parts_of.short(parts_of.sha("moonsand data 1", owner:match "^[^/]*", base.id, hash))
  local facts = store.inspect(engine, ref)
  if not facts or not is_ours(facts, base, hash) then
    facts, err = build(engine, base, p, hash)
    facts, err = facts and name_it(engine, facts, ref, base, hash), err
    if not facts then
      return fail(err.code, "data: " .. err.message, err)
    end
  end
  used.touch(facts.id)
  local names = {}
  for i, file in ipairs(list) do
    names[i] = file.path
  end
  return { id = facts.id, names = names, hash = hash }
end

return M
