--- BuildKit's progress: each record of the build's stream holds a StatusResponse in protobuf. Only what is
--- shown is read: vertices (steps) and their output. The bytes are foreign: lengths are checked against
--- what is there, and the numbers of things against a bound.
local M = {}

local max_items = 10000 -- vertices and logs in one record
local max_text = 4096 -- bytes of a name or an error

--- A varint at `at`: its value and the position after it; nil when it is cut or too long.
local function varint(s, at)
  local value, shift = 0, 0
  while shift < 70 do
    local b = s:byte(at)
    if not b then
      return nil
    end
    if shift < 64 then
      value = value | (b & 0x7f) << shift
    end
    at = at + 1
    if b < 0x80 then
      return value, at
    end
    shift = shift + 7
  end
  return nil
end

--- Calls f(field, value) for each field of the message in s[from..to]: value is a number for a varint, and
--- from, to for bytes (then f gets two). False when the message is malformed.
local function fields(s, from, to, f)
  while from <= to do
    local tag, at = varint(s, from)
    if not tag then
      return false
    end
    local field, kind = tag >> 3, tag & 7
    if field == 0 then
      return false
    elseif kind == 0 then
      local value
      value, at = varint(s, at)
      if not value or at - 1 > to or f(field, value) == false then
        return false
      end
    elseif kind == 2 then
      local size, start = varint(s, at)
      if not size or size < 0 or size > to - start + 1 then
        return false
      end
      if f(field, start, start + size - 1) == false then
        return false
      end
      at = start + size
    elseif kind == 1 or kind == 5 then
      at = at + (kind == 1 and 8 or 4)
      if at - 1 > to then
        return false
      end
    else
      return false
    end
    from = at
  end
  return true
end

local function text(s, from, to)
  return to and s:sub(from, math.min(to, from + max_text - 1)) or ""
end

local function vertex(s, from, to)
  local out = { cached = false, started = false, completed = false }
  local ok = fields(s, from, to, function(field, a, b)
    if field == 1 then
      out.digest = text(s, a, b)
    elseif field == 3 then
      out.name = text(s, a, b)
    elseif field == 4 then
      out.cached = not b and a ~= 0
    elseif field == 5 then
      out.started = b ~= nil
    elseif field == 6 then
      out.completed = b ~= nil
    elseif field == 7 and b and b >= a then
      out.error = text(s, a, b)
    end
  end)
  return ok and out.digest and out or nil
end

local function log(s, from, to)
  local out = { stream = 1, data = "" }
  local ok = fields(s, from, to, function(field, a, b)
    if field == 1 then
      out.digest = text(s, a, b)
    elseif field == 3 then
      out.stream = not b and a or 1
    elseif field == 4 then
      out.data = b and s:sub(a, b) or ""
    end
  end)
  return ok and out.digest and out or nil
end

---@class moonsand.BuildRecord
---@field vertices { digest: string, name: string?, cached: boolean, started: boolean, completed: boolean,
--- error: string? }[]
---@field logs { digest: string, stream: integer, data: string }[]

--- Reads a record. Its strings are as BuildKit wrote them, cut at 4096 bytes but for data.
---@param bytes string
---@return moonsand.BuildRecord? record nil when it is malformed
function M.decode(bytes)
  local out, count = { vertices = {}, logs = {} }, 0
  local ok = fields(bytes, 1, #bytes, function(field, a, b)
    if field ~= 1 and field ~= 3 then
      return nil
    end
    count = count + 1
    local item = b and count <= max_items and (field == 1 and vertex or log)(bytes, a, b)
    if not item then
      return false
    end
    local list = field == 1 and out.vertices or out.logs
    list[#list + 1] = item
  end)
  return ok and out or nil
end

return M
