--- Files that are whole or not there: written beside the wanted one, which they replace when all is written.
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local options = require "moonsand.options"

local M = {}

local piece_bytes = 1 << 16

-- A name that nobody can know before: a link that somebody else laid there in a shared directory would be followed.
local function unguessable(path)
  local source <close> = io.open("/dev/urandom", "rb")
  local bytes = source and source:read(12)
  if not bytes then
    return nil
  end
  return path .. "." .. bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end) .. ".part"
end

local function cannot(path, why)
  return errors.fail("io", ("cannot write %s: %s"):format(options.show(path), tostring(why)), { op = "export" })
end

-- /dev/stdout, /dev/fd/3, /proc/self/fd/3: whatever they lead to, a file even (`> page.html`), the names themselves are
-- the system's, and root could replace them.
local function is_system(path)
  path = path:gsub("/%.?/+", "/"):gsub("/%.?/+", "/")
  return path:find "^/proc/" ~= nil or path:find "^/dev/" ~= nil and not path:find "^/dev/shm/"
end

-- What must keep its place: nil for what a file may replace.
local function lasting(path)
  local facts = core.stat(path)
  if facts and is_system(path) then
    return "stream of the system"
  elseif facts and facts.type == "other" then
    return "device or pipe"
  end
end

--- Gives make() a new name in the directory of `path`, and moves what it made there to `path`. What is there now
--- stays until then, and for ever when make() fails; nothing is left of the new one then.
--- A link to a file is replaced, not followed.
---@param path string
---@param make fun(part: string): boolean?, string? ok, why
---@return boolean? ok
---@return moonsand.Error? err code "io"
function M.replace(path, make)
  local facts = core.stat(path)
  local kind = lasting(path) or facts and facts.type ~= "file" and facts.type
  if kind then
    -- A rename would take the place of a device or a pipe, which is never what is meant.
    return cannot(path, "it is no regular file but a " .. kind)
  end
  local part = unguessable(path)
  if not part then
    return cannot(path, "no random name (/dev/urandom)")
  end
  local called, ok, why = pcall(make, part)
  if called and ok then
    ok, why = os.rename(part, path)
  end
  if not called or not ok then
    os.remove(part)
  end
  if not called then
    error(ok, 0)
  elseif not ok then
    why = tostring(why)
    if why:sub(1, #part + 2) == part .. ": " then
      why = why:sub(#part + 3) -- that name means nothing to anybody
    end
    return cannot(path, why)
  end
  return true
end

-- Collects small pieces; stops taking any after the first that could not be written.
local function writer(file)
  local pieces, n, bytes, failed = {}, 0, 0, nil

  local function flush()
    if not failed and n > 0 then
      local ok, why = file:write(table.concat(pieces, "", 1, n))
      failed = not ok and why or nil
    end
    pieces, n, bytes = {}, 0, 0
    return not failed, failed
  end

  return function(text)
    n = n + 1
    pieces[n] = text
    bytes = bytes + #text
    return bytes < piece_bytes and not failed or flush()
  end, flush
end

local function fill(path, mode, produce)
  local file, why = io.open(path, mode)
  if not file then
    return nil, why
  end
  local put, flush = writer(file)
  local called, problem = pcall(produce, put)
  local ok, failure = flush()
  -- What the C library has kept back is written here, so that here a full disk is seen, too.
  local closed, close_why = file:close()
  if not called then
    error(problem, 0)
  elseif not ok then
    return nil, failure
  end
  return closed, close_why
end

--- Writes what produce() puts. A device or a pipe is written to as it is, and what /dev/stdout leads to at its end.
---@param path string
---@param produce fun(put: fun(text: string): boolean) put returns false when there is no use in going on
---@return boolean? ok
---@return moonsand.Error? err code "io": the disk is full, or the directory is not there or not writable
function M.write(path, produce)
  if lasting(path) then
    local ok, why = fill(path, "ab", produce)
    if not ok then
      return cannot(path, why)
    end
    return true
  end
  return M.replace(path, function(part)
    return fill(part, "wb", produce)
  end)
end

return M
