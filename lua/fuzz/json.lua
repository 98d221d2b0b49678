-- Foreign JSON: what a program, an engine or a registry wrote. It is refused with a reason, or it is a
-- value that nests no deeper than promised and can be written; and what was written reads as the same.
local json = require "moonsand.json"

--- Checks the value's shape on the way; tables by content, as `{}` and `[]` are both an empty table.
local function same(a, b, depth)
  assert(depth <= json.max_depth, "nested too deeply")
  if type(a) ~= "table" then
    return a == b and math.type(a) == math.type(b)
  elseif type(b) ~= "table" then
    return false
  end
  for k, v in pairs(a) do
    assert(type(k) == "string" or math.type(k) == "integer", type(k))
    if not same(v, b[k], depth + 1) then
      return false
    end
  end
  for k in pairs(b) do
    if a[k] == nil then
      return false
    end
  end
  return true
end

local function nested(text)
  local value = json.decode(text)
  assert(value == nil or same(value, value, 0))
end

return function(bytes)
  local value, why = json.decode(bytes)
  if value == nil then
    assert(type(why) == "string" and why ~= "", "refused without a reason")
  else
    local text = json.encode(value)
    assert(utf8.len(text) and not text:find "%c", "not one line of UTF-8")
    local again = assert(json.decode(text))
    assert(same(value, again, 0), "reads otherwise: " .. text)
    assert(json.encode(again) == text, "is written otherwise: " .. text)
  end
  -- The same within more brackets than a stack holds.
  local half = #bytes // 2
  nested(("["):rep(65536) .. bytes)
  nested(('{"a":['):rep(20000) .. bytes:sub(1, half) .. ("]}"):rep(20000) .. bytes:sub(half + 1))
end
