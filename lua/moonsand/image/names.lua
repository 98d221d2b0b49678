--- One change of an image's names at a time, where the engine needs that from us.
---
--- Podman reads an image's list of names, changes it, and writes it back, and keeps nobody out meanwhile (libimage,
--- Tag and Untag): of two changes at the same moment one is lost. A name that a build needs is then missing, or one
--- that was taken away stands there again. So our own changes exclude each other, by a file that is locked: those of
--- this user on this machine, which is who builds at the same time.
local core = require "moonsand.core"
local sched = require "moonsand.sched"
local used = require "moonsand.image.used"

local M = {}

local patience = 20 -- seconds; an engine that takes longer for a name is not made worse by a second change
local poll = 0.005

local function path_of()
  local dir = used.dir()
  return dir and dir .. "/.names", dir
end

local function try(path, dir)
  local file = core.lock(path)
  if file == nil and core.make_dirs(dir) then
    file = core.lock(path)
  end
  return file
end

--- Waits until nobody else changes names. Hold it in a `<close>` variable for as long as the change takes.
--- nil where that is not needed, or cannot be had: no home, no right to write there, or a task that is being ended
--- and cannot wait.
---@param engine moonsand.Engine
---@return file*?
function M.lock(engine)
  if engine:facts().kind ~= "podman" then
    return nil
  end
  local path, dir = path_of()
  local _, main = coroutine.running()
  local due = core.monotonic() + patience
  while path do
    local file = try(path, dir)
    if file ~= false then
      return file
    elseif not (main or coroutine.isyieldable()) or core.monotonic() > due then
      return nil
    end
    sched.sleep(poll)
  end
  return nil
end

--- engine:request, for a request that changes names.
---@param engine moonsand.Engine
---@param given table
---@return any answer, moonsand.Error? err
function M.change(engine, given)
  local _ <close> = M.lock(engine)
  local answer, err = engine:request(given)
  return answer, err -- no tail call: the lock lasts until the answer is there
end

--- Takes an image or a name away on the way out, as engine:leave does.
---@param engine moonsand.Engine
---@param what string id or name, with "?noprune=1" to leave the images below
function M.leave(engine, what)
  engine:leave({ method = "DELETE", path = "/images/" .. what, timeout = 30 }, M.lock(engine))
end

return M
