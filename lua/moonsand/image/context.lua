--- What a build sends beside its Dockerfile, from a declaration: its files, and what installs its packages.
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local json = require "moonsand.json"

local M = {}

local function read_all(path)
  local f, why = io.open(path, "rb")
  local data = f and f:read "a"
  if f then
    f:close()
  end
  if not data then
    return errors.fail("io", why or ("cannot read " .. path))
  end
  return data
end

--- The bytes of { host = } or { data = }.
---@return string? data, moonsand.Error? err
function M.bytes(source)
  if source.data then
    return source.data
  end
  return read_all(source.host)
end

-- With a lock, a requirements file says only where packages come from.
local index_options = { ["-i"] = true, ["--index-url"] = true, ["--extra-index-url"] = true, ["-f"] = true,
  ["--find-links"] = true, ["--no-index"] = true, ["--trusted-host"] = true }

local function index_lines(data)
  local out = {}
  for line in data:gmatch "[^\r\n]+" do
    if index_options[line:match "^%s*(%-%-?[%w-]+)" or ""] then
      out[#out + 1] = line .. "\n"
    end
  end
  return out
end

-- The packages stage's program, image/wheels.py, and its parts.
local program_files = { "wheels", "wheels_common", "wheels_fetch", "wheels_root", "wheels_unpack" }
local program

local function read_program()
  local out = {}
  for i, name in ipairs(program_files) do
    local path = assert(package.searchpath("moonsand.image." .. name, (package.path:gsub("%.lua", ".py"))))
    local data, err = read_all(path)
    if not data then
      return nil, err
    end
    out[i] = { path = ("moonsand/%s.py"):format(name), data = data }
  end
  return out
end

--- What the packages stage finds in moonsand/: its program, its options, requirements files. Each is
--- { path =, data = }. Certificates are not among them: they change nothing of what is installed.
---@return { path: string, data: string }[]? list, moonsand.Error? err
function M.packages(o)
  local given, err
  if not program then
    program, err = read_program()
    if not program then
      return nil, err
    end
  end
  if o.requirements then
    given, err = M.bytes(o.requirements)
    if not given then
      return nil, err
    end
  end
  local names, out = json.array {}, table.move(program, 1, #program, 1, {})
  local function add(name, data)
    names[#names + 1] = name
    out[#out + 1] = { path = "moonsand/" .. name, data = data }
  end
  if o.lock then
    local lines = index_lines(given or "")
    for _, p in ipairs(o.lock.pip) do
      lines[#lines + 1] = ("%s==%s --hash=%s\n"):format(p.name, p.version, table.concat(p.hashes, " --hash="))
    end
    add("requirements.txt", table.concat(lines))
  else
    if given then
      add("requirements.txt", given)
    end
    if o.pip and #o.pip > 0 then
      add("pip.txt", table.concat(o.pip, "\n") .. "\n")
    end
  end
  out[#out + 1] = { path = "moonsand/options.json", data = json.encode {
    requirements = names, locked = o.lock ~= nil, build_apt = json.array(o.build_apt or {}),
  } }
  return out
end

--- The declaration's files as they lie in the context, and where each part goes: files of one directory go
--- together, for an image has few layers. parts are { source = "files/1/", target = "/app/" }; entries have path
--- and one of data, file, tree, with mode.
---@return { entries: table[], parts: table[] }? files, moonsand.Error? err
function M.files(o)
  local entries, parts, by_target = {}, {}, {}
  local function part(target)
    if not by_target[target] then
      by_target[target] = { source = ("files/%d/"):format(#parts + 1), target = target }
      parts[#parts + 1] = by_target[target]
    end
    return by_target[target].source
  end
  for _, pair in ipairs(o.files or {}) do
    local target, source = pair[1], pair[2]
    local entry = { mode = source.mode, data = source.data }
    local facts, err
    if source.host then
      facts, err = core.stat(source.host)
      if not facts then
        return errors.fail("io", err.message, { cause = err }) -- "not_found" is said of images
      end
    end
    if facts and facts.type == "directory" then
      entry.tree, entry.path = source.host, part(target .. "/"):gsub("/$", "")
    else
      local dir, base = target:match "^(.*/)([^/]+)$"
      entry.file, entry.path = source.host, part(dir) .. base
    end
    entries[#entries + 1] = entry
  end
  return { entries = entries, parts = parts }
end

return M
