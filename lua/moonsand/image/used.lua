--- When an image was last used, and first, by this user on this machine. Engines keep no record of it, and the
--- time in an image may be anything (reproducible builds have a fixed one); prune wants to know. A small file for
--- each image, named by its id, holds both times, below $XDG_STATE_HOME/moonsand/used
--- (~/.local/state/moonsand/used).
local core = require "moonsand.core"
local reference = require "moonsand.image.reference"

local M = {}

local fresh = {} -- id -> when this process wrote it last
local interval = 60 -- seconds between two writes for the same image

--- The directory of the records, nil where there is no home.
---@return string?
function M.dir()
  local state, home = os.getenv "XDG_STATE_HOME", os.getenv "HOME"
  if not state or not state:find "^/" then -- relative paths are to be ignored, says the XDG specification
    state = home and home:find "^/" and home .. "/.local/state"
  end
  return state and state .. "/moonsand/used"
end

local function path_of(id)
  local dir, full = M.dir(), reference.id(id)
  return dir and full and dir .. "/" .. full:sub(8), dir
end

local function write(path, text)
  -- By way of another file: a reader sees the old time or the new one, never half of it.
  local part = ("%s.%x"):format(path, math.random(0))
  local file, err = io.open(part, "w")
  if not file then
    return nil, err
  end
  local ok = file:write(text)
  ok = file:close() and ok and os.rename(part, path)
  if not ok then
    os.remove(part)
  end
  return ok, "cannot write " .. path
end

--- When it was last used, and first, in seconds since the epoch; nil when nothing is known.
---@param id string
---@return integer? last, integer? first
function M.last(id)
  local path = path_of(id)
  local file = path and io.open(path, "r")
  if not file then
    return nil
  end
  local text = file:read(64) or ""
  file:close()
  local last, first = text:match "^(%d+) (%d+)"
  return math.tointeger(tonumber(last)), math.tointeger(tonumber(first))
end

--- The image is used now. A machine where this cannot be written down loses no more than the record.
---@param id string
---@return boolean? ok, string? why
function M.touch(id)
  local path, dir = path_of(id)
  if not path then
    return nil, "no home directory, or no image id"
  end
  local now = os.time()
  if fresh[path] and now - fresh[path] < interval then
    return true
  end
  local _, first = M.last(id)
  local text = ("%d %d\n"):format(now, first or now)
  local ok, why = write(path, text)
  if not ok and core.make_dirs(dir) then
    ok, why = write(path, text)
  end
  fresh[path] = ok and now or nil
  return ok and true or nil, not ok and why or nil
end

--- The image is gone.
---@param id string
function M.forget(id)
  local path = path_of(id)
  if path then
    fresh[path] = nil
    os.remove(path)
  end
end

return M
