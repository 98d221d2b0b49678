--- Options as people write them ("512m", "5m", 0.5) into plain numbers. Every mistake raises an error
--- that names the option, the value and what would have been right.
local errors = require "moonsand.errors"
local json = require "moonsand.json"

local M = {}

local size_units = { b = 1, k = 1 << 10, m = 1 << 20, g = 1 << 30, t = 1 << 40 }
local time_units = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400, w = 604800 }

-- No size, time or number is longer. What is longer is not looked at: the patterns below go back and forth
-- over it, in quadratic time and worse.
local longest = 64

--- A value as one short line that can be shown, whatever it is.
function M.show(value)
  if type(value) ~= "string" then
    return tostring(value)
  elseif #value > longest then
    value = value:sub(1, longest) .. "..."
  end
  return json.encode(value)
end

local function short(value)
  return type(value) == "string" and #value <= longest and value or nil
end

--- A number, or the number that a text is. The command line has nothing but text.
local function to_number(value)
  return type(value) == "number" and value or tonumber(short(value))
end

local function bad(name, value, wanted, level)
  error(("option '%s': %s is not %s"):format(name, M.show(value), wanted), level + 1)
end

--- Bytes of 1048576, "512m", "1g", "64k", "1.5g" (powers of 1024; "mb" and "MiB" mean the same).
---@param name string for the message
---@param value string|number
---@param level integer? whom to blame, as for error()
---@return integer bytes
function M.size(name, value, level)
  level = (level or 1) + 1
  local wanted = 'a size above 0; write "512m", "1g", "64k" or a number of bytes'
  local number, factor, text = value, 1, short(value)
  if text then
    local digits, unit = text:lower():match "^%s*(%d*%.?%d*)%s*(%a*)%s*$"
    unit = unit and unit:gsub("i?b$", "")
    number = digits and tonumber(digits)
    factor = unit == "" and 1 or size_units[unit]
  end
  if type(number) ~= "number" or not factor then
    bad(name, value, wanted, level)
  end
  local bytes = number * factor
  -- Only with a unit may a fraction be rounded, and never to 0, which means "no limit" to an engine.
  local whole = math.tointeger(bytes) or factor > 1 and bytes < 2.0 ^ 62 and math.floor(bytes + 0.5)
  if not whole or whole < 1 or whole >= 1 << 62 then
    bad(name, value, wanted, level)
  end
  return whole
end

--- Seconds of 300, "300", "5m", "30s", "500ms", "1h30m", "7d", "2w".
---@param name string
---@param value string|number
---@param level integer?
---@return number seconds
function M.duration(name, value, level)
  level = (level or 1) + 1
  local wanted = 'a time above 0; write "30s", "5m", "500ms" or a number of seconds'
  local seconds, text = value, short(value)
  if text then
    text = text:lower():gsub("%s", "")
    seconds = tonumber(text:match "^%d*%.?%d+$")
    if not seconds then
      seconds = 0
      local rest = text:gsub("(%d*%.?%d+)(%a+)", function(digits, unit)
        local factor, number = time_units[unit], tonumber(digits)
        if not (factor and number) then
          return nil
        end
        seconds = seconds + number * factor
        return ""
      end)
      if rest ~= "" or text == "" then
        seconds = nil
      end
    end
  end
  if type(seconds) ~= "number" or not (seconds > 0 and seconds < 1e9) then
    bad(name, value, wanted, level)
  end
  return seconds
end

--- As duration(), and 0: how long ago something was.
---@param name string
---@param value string|number
---@param level integer?
---@return number seconds
function M.age(name, value, level)
  if to_number(value) == 0 then
    return 0
  end
  return M.duration(name, value, (level or 1) + 1)
end

--- A whole number, 1 or more. Text is taken, too: the command line has nothing else.
---@param name string
---@param value integer|string
---@param level integer?
---@return integer
function M.count(name, value, level)
  level = (level or 1) + 1
  local n = to_number(value)
  local whole = n and math.tointeger(n)
  if not whole or whole < 1 or whole > 0xffffffff then
    bad(name, value, "a whole number of at least 1, for example 128", level)
  end
  return whole
end

--- A number of processors, above 0.
---@param name string
---@param value number|string
---@param level integer?
---@return number
function M.cpus(name, value, level)
  level = (level or 1) + 1
  local n = to_number(value)
  if not n or not (n > 0 and n < 1e6) then
    bad(name, value, "a number of processors above 0, for example 0.5", level)
  end
  return n
end

--- A string without NUL bytes, not empty.
function M.text(name, value, level)
  level = (level or 1) + 1
  if type(value) ~= "string" or value == "" then
    bad(name, value, "a text", level)
  elseif value:find("\0", 1, true) then
    bad(name, value, "without NUL bytes", level)
  end
  return value
end

function M.flag(name, value, level)
  if type(value) ~= "boolean" then
    bad(name, value, "true or false", (level or 1) + 1)
  end
  return value
end

local function of_type(kind)
  return function(name, value, level)
    if type(value) ~= kind then
      bad(name, value, "a " .. kind, (level or 1) + 1)
    end
    return value
  end
end

M.table = of_type "table"
M.func = of_type "function"

--- A checker that takes one of a few words.
---@param words string[]
function M.one_of(words)
  return function(name, value, level)
    for _, word in ipairs(words) do
      if word == value then
        return value
      end
    end
    bad(name, value, 'one of "' .. table.concat(words, '", "') .. '"', (level or 1) + 1)
  end
end

--- Raises for a name that does not exist, with the nearest that does and the list of all.
---@param what string "engine:sandbox"
---@param name any
---@param schema table<string, any>
---@param level integer?
function M.unknown(what, name, schema, level)
  local names = {}
  for known in pairs(schema) do
    names[#names + 1] = known
  end
  table.sort(names)
  local shown, near = tostring(name), nil
  if type(name) == "string" then
    shown, near = M.show(name):sub(2, -2), errors.nearest(name, names)
  end
  error(
    ("%s has no option '%s'%s (it has %s)"):format(
      what, shown, near and ("; did you mean '" .. near .. "'?") or "", table.concat(names, ", ")
    ),
    (level or 1) + 1
  )
end

--- Checks a table of options against a schema name -> checker(name, value, level). Returns a new table.
---@param what string for the message
---@param given table
---@param schema table<string, fun(name: string, value: any, level: integer): any>
---@param level integer? whom to blame
---@return table
function M.check(what, given, schema, level)
  level = (level or 1) + 1
  if type(given) ~= "table" then
    error(("%s wants a table of options, got %s"):format(what, type(given)), level)
  end
  local out = {}
  for name, value in pairs(given) do
    local check = schema[name]
    if not check then
      M.unknown(what, name, schema, level)
    end
    out[name] = check(name, value, level)
  end
  return out
end

return M
