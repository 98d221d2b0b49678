--- JSON that may stand inside a <script> of a page, and text that may stand in its HTML. Whatever is written here was
--- said by somebody else: nothing of it may end the element that it is in.
local json = require "moonsand.json"

local M = {}

-- An HTML parser looks for "</script" and "<!--" before any JSON parser sees the text; U+2028 and U+2029 end a line in
-- older JavaScript.
local unsafe = { ["<"] = "\\u003c", [">"] = "\\u003e", ["&"] = "\\u0026" }
local line_ends = { ["\u{2028}"] = "\\u2028", ["\u{2029}"] = "\\u2029" }
local entities = { ["<"] = "&lt;", [">"] = "&gt;", ["&"] = "&amp;", ['"'] = "&quot;", ["'"] = "&#39;" }

--- Text for HTML, in an element or in a quoted attribute.
---@param s string
---@return string
function M.html(s)
  return (s:gsub("[<>&\"']", entities))
end

---@param s string
---@return string json with the quotes
function M.string(s)
  return (json.encode(s):gsub("[<>&]", unsafe):gsub("\u{2028}", line_ends):gsub("\u{2029}", line_ends))
end

--- At most 10 significant digits, integers exactly; what JSON has no word for is null.
---@param n number
---@return string
function M.number(n)
  if math.type(n) == "integer" then
    return ("%d"):format(n)
  elseif n ~= n or n == math.huge or n == -math.huge then
    return "null"
  end
  return ("%.10g"):format(n)
end

local raw = {}

--- JSON text that is written as it is.
---@param text string
---@return table
function M.raw(text)
  return setmetatable({ text = text }, raw)
end

--- A finite number that reads as the same again.
---@param n number
---@return string
function M.exact(n)
  if math.type(n) == "integer" then
    return ("%d"):format(n)
  end
  local short = ("%.15g"):format(n)
  return tonumber(short) == n and short or ("%.17g"):format(n)
end

--- A list of numbers; null stands for what is missing.
---@param values table<integer, number?>
---@param n integer
---@param exact boolean? with all digits that they need, not 10 at most
---@return table raw
function M.numbers(values, n, exact)
  -- A page has a million of them: no call more than needed.
  local parts, format, kind, huge, whole = {}, string.format, math.type, math.huge, M.exact
  for i = 1, n do
    local v = values[i]
    if not v or v ~= v or v == huge or v == -huge then
      parts[i] = "null"
    elseif exact then
      parts[i] = whole(v)
    else
      parts[i] = format(kind(v) == "integer" and "%d" or "%.10g", v)
    end
  end
  return M.raw("[" .. table.concat(parts, ",") .. "]")
end

local function keys_of(t)
  local keys = {}
  for k in pairs(t) do
    keys[#keys + 1] = k
  end
  table.sort(keys)
  return keys
end

--- Tables with [1], and those of json.array, are lists; all others are objects with string keys.
---@param value any
---@return string
function M.value(value)
  local kind = type(value)
  if kind == "string" then
    return M.string(value)
  elseif kind == "number" then
    return M.number(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind ~= "table" then
    return "null"
  elseif getmetatable(value) == raw then
    return value.text
  end
  local parts = {}
  if value[1] ~= nil or next(value) == nil then
    for i = 1, #value do
      parts[i] = M.value(value[i])
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for i, k in ipairs(keys_of(value)) do
    parts[i] = M.string(k) .. ":" .. M.value(value[k])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

return M
