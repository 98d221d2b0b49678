--- Packs: files from memory and disk that are sent to an engine as one tar stream (core.pack()).
local sched = require "moonsand.sched"

local M = {}

-- What one call may read: a few milliseconds, so that other tasks and Ctrl-C are not kept waiting.
local step_bytes = 8 << 20

--- Checker for option schemas.
function M.check(name, value, level)
  local meta = type(value) == "userdata" and getmetatable(value)
  if not meta or meta.__name ~= "moonsand.core.Pack" then
    error(("option '%s' is a pack, got %s"):format(name, type(value)), (level or 1) + 1)
  end
  return value
end

--- Reads all of the pack once, in pieces between which everything else goes on. Measured before: at once.
---@param pack moonsand.core.Pack
---@param on_progress fun(bytes: integer)? bytes of the tar stream seen so far
---@return table? facts as of Pack:measure() in core.d.lua, moonsand.Error? err
function M.measure(pack, on_progress)
  while true do
    local facts, err = pack:measure(step_bytes)
    if facts or err then
      return facts, err
    end
    if on_progress then
      on_progress(pack:seen())
    end
    sched.breathe()
  end
end

return M
