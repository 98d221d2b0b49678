--- The lock of an image: exactly what its build installed, to be given back as lock = for the same again.
--- It lies in the image itself (/usr/local/share/moonsand), so that it goes wherever the image goes, and is read
--- from a container that is never started. An image is foreign: what is read is bounded and checked.
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local store = require "moonsand.image.store"
local text = require "moonsand.text"

local M = {}

local dir = "/usr/local/share/moonsand"
local max_bytes = 8 << 20
local max_packages = 10000

local function guard(engine, id)
  return setmetatable({}, { __close = function()
    engine:leave { method = "DELETE", path = "/containers/" .. id .. "?force=1&v=1", timeout = 30 }
  end })
end

--- The files of the lock's directory, path -> bytes; an empty table when it is not there.
local function read_files(engine, id)
  local answer, err = engine:request { method = "POST", path = "/containers/create", body = {
    Image = id, Cmd = json.array { "/bin/true" }, Entrypoint = json.array {}, NetworkDisabled = true,
    Labels = { moonsand = "1" }, HostConfig = { NetworkMode = "none" },
  } }
  if not answer then
    return nil, err
  elseif type(answer) ~= "table" or type(answer.Id) ~= "string" or not answer.Id:find "^%x+$" then
    return errors.fail("protocol", "the engine's answer to a create call has no id")
  end
  local container <close> = guard(engine, answer.Id)
  local pieces, size = {}, 0
  local _ = container
  local ok
  ok, err = engine:request { path = ("/containers/%s/archive?path=%s"):format(answer.Id, dir), on_data = function(piece)
    size = size + #piece
    if size <= max_bytes then
      pieces[#pieces + 1] = piece
    end
  end }
  if not ok then
    if err.code == "not_found" or err.message:find "no such file" or err.message:find "ould not find" then
      return {}
    end
    return nil, err
  elseif size > max_bytes then
    return errors.fail("protocol", ("the lock in the image has more than %d bytes"):format(max_bytes))
  end
  local entries
  entries, err = core.untar(table.concat(pieces), { entries = 100, bytes = max_bytes })
  if not entries then
    return nil, err
  end
  local out = {}
  for _, e in ipairs(entries) do
    if e.type == "file" then
      out[e.path:match "[^/]*$"] = e.data
    end
  end
  return out
end

local function python_packages(data)
  local value = data and json.decode(data)
  local out, python, tree = json.array {}, nil, nil
  if type(value) == "table" and type(value.pip) == "table" then
    python, tree = text.maybe(value.python, 40), text.maybe(value.tree, 80)
    for i, p in ipairs(value.pip) do
      local name = type(p) == "table" and text.maybe(p.name, 200)
      local version = name and text.maybe(p.version, 200)
      local hashes = json.array {}
      for _, h in ipairs(version and type(p.hashes) == "table" and p.hashes or {}) do
        hashes[#hashes + 1] = #hashes < 10 and text.maybe(h, 80) or nil
      end
      if not version or #hashes == 0 or i > max_packages then
        return nil
      end
      out[i] = { name = name, version = version, hashes = hashes }
    end
  elseif data then
    return nil
  end
  return out, python, tree
end

local function debian_packages(data)
  local out = json.array {}
  for line in (data or ""):gmatch "[^\n]+" do
    local name, version, arch, sum = line:match "^(%S+) (%S+) (%S+) ?(%x*)$"
    if not name or #out >= max_packages then
      return nil
    end
    out[#out + 1] = { name = text.harmless(name, 200), version = text.harmless(version, 200),
      arch = text.harmless(arch, 40), sha256 = #sum == 64 and sum or nil }
  end
  return out
end

--- The lock of an image of ours: version (1), base { ref, digest, id }, platform, python (its version), tree (hash
--- of the installed files without bytecode), pip = { { name, version, hashes } }, apt = { { name, version, arch,
--- sha256 } }. A plain table, good for JSON. err.code is "not_found" when the image is gone.
---@param engine moonsand.Engine
---@param image { id: string, base: table? }
---@return table? lock, moonsand.Error? err
function M.read(engine, image)
  local facts, err = store.inspect(engine, image.id)
  if not facts then
    return nil, err
  end
  local files
  files, err = read_files(engine, image.id)
  if not files then
    return nil, err
  end
  local pip, python, tree = python_packages(files["lock.json"])
  local apt = debian_packages(files["apt.lock"])
  if not pip or not apt then
    return errors.fail("protocol", "the lock in the image is not one of ours", { op = "lock" })
  end
  local base = image.base or {}
  return {
    version = 1, base = { ref = base.ref, digest = base.digest, id = base.id }, platform = facts.platform,
    python = python, tree = tree, pip = pip, apt = apt,
  }
end

return M
