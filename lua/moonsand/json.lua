--- JSON: decoding by an instance of cjson of our own, whose settings no one else changes; encoding by
--- hand, because cjson 2.1.0 keeps 14 digits, mangles large integers, and emits broken UTF-8 as it is.
local cjson = require "cjson.safe"

local M = {}

--- Deepest nesting that is decoded, of what a hostile program wrote, too.
M.max_depth = 64

local decoder = cjson.new()
decoder.decode_max_depth(M.max_depth)
decoder.decode_invalid_numbers(false)

-- Also takes hexadecimal numbers and more: only for texts that were seen to hold NaN and infinities alone.
local lenient = cjson.new()
lenient.decode_max_depth(M.max_depth)
lenient.decode_invalid_numbers(true)

--- JSON's null.
M.null = cjson.null

-- cjson 2.1.0 decodes 3 as 3.0; other versions as 3. An integer either way is less of a surprise. It also
-- decodes 1e999 as an infinity, which could not be written again.
local function numbers(value, nonfinite)
  if type(value) == "number" then
    if not nonfinite and (value == math.huge or value == -math.huge) then
      error("a number that is too large", 0)
    end
    return math.tointeger(value) or value
  elseif type(value) == "table" then
    for k, v in pairs(value) do
      value[k] = numbers(v, nonfinite)
    end
  end
  return value
end

--- Broken UTF-8 becomes U+FFFD, byte by byte.
local function clean(s)
  if utf8.len(s) then
    return s
  end
  local out, i = {}, 1
  while i <= #s do
    local _, bad = utf8.len(s, i)
    if not bad then
      out[#out + 1] = s:sub(i)
      break
    end
    out[#out + 1] = s:sub(i, bad - 1)
    out[#out + 1] = "\u{FFFD}"
    i = bad + 1
  end
  return table.concat(out)
end

--- The text with 0 for each NaN, Infinity and -Infinity that stands outside of a string.
local function without_nonfinite(text)
  local out, at = {}, 1
  while true do
    local quote = text:find('"', at, true)
    local plain = text:sub(at, (quote or #text + 1) - 1)
    out[#out + 1] = plain:gsub("%f[%w_-]NaN%f[^%w_]", "0"):gsub("%f[%w_-]%-?Infinity%f[^%w_]", "0")
    if not quote then
      return table.concat(out)
    end
    local last = quote
    repeat
      last = text:find('["\\]', last + 1)
      local escaped = last and text:byte(last) == 92 -- "\"
      last = escaped and last + 1 or last
    until not escaped
    out[#out + 1] = text:sub(quote, last)
    if not last then
      return table.concat(out) -- no end: no JSON
    end
    at = last + 1
  end
end

local function decode(from, text, nonfinite)
  local value, why = from.decode(text)
  if value == nil then
    return nil, why
  end
  local good, result = pcall(numbers, value, nonfinite)
  if not good then
    return nil, result
  end
  return result
end

--- Whole numbers come as integers, null as `json.null`, strings as valid UTF-8.
--- nonfinite: NaN, Infinity and -Infinity are numbers, too, as Python writes them; nothing else that JSON has not.
---@param text string
---@param how { nonfinite: boolean? }?
---@return any value nil when it is not JSON
---@return string? why
function M.decode(text, how)
  text = clean(text)
  local value, why = decode(decoder, text, false)
  if value == nil and how and how.nonfinite then
    local masked = without_nonfinite(text)
    if masked ~= text and decode(decoder, masked, false) ~= nil then
      return decode(lenient, text, true)
    end
  end
  return value, why
end

local array_mark = {}

--- Marks a table as an array, so that an empty one becomes [].
---@generic T: table
---@param list T
---@return T
function M.array(list)
  return setmetatable(list, array_mark)
end

local short = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\b"] = "\\b", ["\f"] = "\\f",
}

local function escape(c)
  return short[c] or ("\\u%04x"):format(utf8.codepoint(c))
end

local encode

local function encode_number(n)
  if math.type(n) == "integer" then
    return ("%d"):format(n)
  elseif n ~= n or n == math.huge or n == -math.huge then
    error("JSON has no " .. tostring(n), 0)
  end
  local text = ("%.14g"):format(n)
  if tonumber(text) ~= n then
    text = ("%.17g"):format(n)
  end
  return text
end

local function is_array(t)
  if getmetatable(t) == array_mark then
    return true
  end
  local n = #t
  if n == 0 then
    return false
  end
  local count = 0
  for _ in pairs(t) do
    count = count + 1
  end
  return count == n
end

local function encode_table(t, depth)
  local parts = {}
  if is_array(t) then
    for i = 1, #t do
      parts[i] = encode(t[i], depth)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  local keys = {}
  for k in pairs(t) do
    if type(k) ~= "string" and math.type(k) ~= "integer" then
      error("JSON keys are strings, got a " .. type(k), 0)
    end
    keys[#keys + 1] = k
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for i, k in ipairs(keys) do
    parts[i] = encode(tostring(k), depth) .. ":" .. encode(t[k], depth)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

function encode(value, depth)
  local kind = type(value)
  if kind == "string" then
    -- DEL and U+0080..U+009F drive a terminal as the others do.
    return '"' .. clean(value):gsub('[%c"\\]', escape):gsub("\xc2[\x80-\x9f]", escape) .. '"'
  elseif kind == "number" then
    return encode_number(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif value == nil or value == M.null then
    return "null"
  elseif kind == "table" then
    if depth > M.max_depth then
      error("nested too deeply for JSON (a table that holds itself?)", 0)
    end
    return encode_table(value, depth + 1)
  end
  error("a " .. kind .. " cannot be written as JSON", 0)
end

--- Keys sorted, numbers exact, strings always valid UTF-8. An empty table is an object unless it was
--- marked by `json.array`. Raises for what JSON cannot hold.
---@param value any
---@return string
function M.encode(value)
  return encode(value, 0)
end

return M
