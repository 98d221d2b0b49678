--- Errors of the Lua layer: the same kind of object as the core's.
---
--- Misuse raises; the world returns `nil, err`.
local core = require "moonsand.core"

local M = {}

---@param code string one of the codes of moonsand.Error
---@param message string
---@param fields table? status, op, cause
---@return moonsand.Error
function M.new(code, message, fields)
  local err = { code = code, message = message }
  for k, v in pairs(fields or {}) do
    err[k] = v
  end
  return core.error(err)
end

---@return nil, moonsand.Error
function M.fail(code, message, fields)
  return nil, M.new(code, message, fields)
end

--- True if a value that was raised or returned comes from Ctrl-C: the core's "interrupted", or what the
--- lua5.4 program raises from its signal handler.
---@return boolean
function M.is_interrupt(err)
  if type(err) == "table" then
    return err.code == "interrupted"
  end
  return type(err) == "string" and err:find("interrupted!", 1, true) ~= nil
end

--- Edit distance, small words.
---@param a string
---@param b string
---@return integer
function M.distance(a, b)
  local row = {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local change = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(above + 1, row[j - 1] + 1, diagonal + change)
      diagonal = above
    end
  end
  return row[#b]
end

--- The name nearest to `word`, or nil when none is near.
---@param word string
---@param names string[]
---@return string?
function M.nearest(word, names)
  local best, best_distance = nil, math.max(2, #word // 3) + 1
  for _, name in ipairs(names) do
    -- The distance is never less than the difference in length: a word of 64 KiB costs nothing.
    if math.abs(#word - #name) < best_distance then
      local d = M.distance(word:lower(), name:lower())
      if d < best_distance then
        best, best_distance = name, d
      end
    end
  end
  return best
end

return M
