--- What `moonsand sweep FILE.py` says of a sweep without any Lua: --param, --where, --objective, --plugin.
--- All raise texts that name the option, what stood there and what would have been right.
local json = require "moonsand.json"
local moonsand = require "moonsand"
local options = require "moonsand.options"

local M = {}

local forms = "write NAME=5:30:5 (from, to, step), NAME=0.1:0.9 (any number between), NAME=log:1e-4:1e-1, NAME=a,b,c "
  .. "or NAME=7"

local function bad(given, why)
  error(("--param %s: %s; %s"):format(options.show(given), why, forms), 0)
end

-- tonumber() takes "0x10", "1e5", " 5 " and, in strings, neither "nan" nor "inf".
local function number(word)
  return word:find "^[+-]?[%d.]" and tonumber(word) or nil
end

--- A value as people write it: a number when it is one, true and false, else a text. "7" in double quotes is a text.
---@param word string
---@return string|number|boolean
local function scalar(word)
  if word == "true" or word == "false" then
    return word == "true"
  elseif word:find '^".*"$' then
    local value = json.decode("[" .. word .. "]")
    return value and value[1] or word
  end
  return number(word) or word
end

--- Splits at commas that are in no double quotes.
local function words_of(list)
  local words, word, quoted, escaped = {}, {}, false, false
  for c in list:gmatch "[\0-\x7f\x80-\xff]" do
    if c == "," and not quoted then
      words[#words + 1] = table.concat(word)
      word = {}
    else
      quoted = quoted ~= (c == '"' and not escaped)
      escaped = c == "\\" and not escaped
      word[#word + 1] = c
    end
  end
  words[#words + 1] = table.concat(word)
  return words
end

local function bounds(given, parts, least)
  local out = {}
  for i, part in ipairs(parts) do
    out[i] = number(part) or bad(given, ("%s is no number"):format(options.show(part)))
  end
  if #out < least then
    bad(given, "a number is missing")
  end
  return table.unpack(out)
end

local function split(text)
  local parts = {}
  for part in (text .. ":"):gmatch "([^:]*):" do
    parts[#parts + 1] = part
  end
  return parts
end

--- One dimension, of what stands behind the "=".
local function dimension(given, text)
  local kind, rest = text:match "^(%l+):(.*)$"
  if kind == "log" or kind == "uniform" or kind == "int" then
    local parts = split(rest)
    if #parts ~= 2 then
      bad(given, ("%s: takes two numbers"):format(kind))
    end
    local low, high = bounds(given, parts, 2)
    if low >= high then
      bad(given, ("%s is not below %s"):format(parts[1], parts[2]))
    elseif kind == "log" and low <= 0 then
      bad(given, "log: takes numbers above 0")
    elseif kind == "int" and not (math.tointeger(low) and math.tointeger(high)) then
      bad(given, "int: takes whole numbers")
    end
    local make = { log = moonsand.log_uniform, uniform = moonsand.uniform, int = moonsand.integers }
    return make[kind](low, high)
  end
  local parts = split(text)
  if text:find('"', 1, true) or #parts == 1 or not number(parts[1]) then
    local words = words_of(text)
    if #words == 1 then
      return scalar(text)
    end
    local list = {}
    for i, word in ipairs(words) do
      if word == "" then
        bad(given, "the list has an empty value (\"\" is the empty text)")
      end
      list[i] = scalar(word)
    end
    return moonsand.choice(list)
  elseif #parts > 3 then
    bad(given, ("%d parts with : between them"):format(#parts))
  end
  local low, high, step = bounds(given, parts, 2)
  if low >= high then
    bad(given, ("%s is not below %s"):format(parts[1], parts[2]))
  elseif step and step <= 0 then
    bad(given, ("the step %s is not above 0"):format(parts[3]))
  elseif step then
    return moonsand.range(low, high, step)
  elseif math.type(low) == "integer" and math.type(high) == "integer" then
    return moonsand.integers(low, high)
  end
  return moonsand.uniform(low, high)
end

--- The space of the --param options.
---@param list string[] "fast=5:30:5"
---@return table<string, any> space for moonsand.sweep
function M.space(list)
  local space = {}
  for _, given in ipairs(list) do
    local name, text = given:match "^([^=]*)=(.*)$"
    if not name then
      bad(given, "there is no = in it")
    elseif not name:find "^[%a_][%w_]*$" then
      bad(given, ("%s is no name: letters, digits and _"):format(options.show(name)))
    elseif text == "" then
      bad(given, "nothing stands behind the =")
    elseif space[name] ~= nil then
      bad(given, ("%s is given twice"):format(name))
    end
    space[name] = dimension(given, text)
  end
  return space
end

-- Copies: what an expression changes is gone with it. Without random and randomseed, whose state is everybody's.
local function math_copy()
  local copy = {}
  for name, value in pairs(math) do
    copy[name] = value
  end
  copy.random, copy.randomseed = nil, nil
  return copy
end

--- The function of a --where expression. It sees the parameters, the methods of those that are texts (kind:upper()),
--- and math without random and randomseed; nothing else.
---@param text string "fast<slow"
---@param space table<string, any> of M.space
---@return fun(params: table): boolean
function M.where(text, space)
  local names = {}
  for name in pairs(space) do
    names[#names + 1] = name
  end
  table.sort(names)
  local current
  local environment = setmetatable({}, {
    __index = function(_, name)
      if space[name] ~= nil then
        return current[name] -- nil: a conditional parameter that does not exist at this point
      elseif name == "math" then
        return math_copy()
      end
      error(("--where knows no %s (it has %s and math)"):format(options.show(name), table.concat(names, ", ")), 0)
    end,
    __newindex = function()
      error("--where cannot set anything", 0)
    end,
  })
  local function compile(code)
    return load(code, "=--where", "t", environment)
  end
  -- By itself first: "fast<slow) or (true" must not pass because of what we put around it.
  local chunk, why = compile("return " .. text .. "\n")
  if not text:find "%S" then
    chunk, why = nil, "there is nothing"
  end
  if not chunk then
    error(("--where %s: %s; it is a Lua expression over the parameters, for example 'fast<slow and kind~=\"a\"'")
      :format(options.show(text), (why:gsub("^%-%-where:%d+: ", ""))), 0)
  end
  return function(params)
    current = params
    local value = chunk()
    if type(value) ~= "boolean" then
      error(("--where %s gives %s; it should say true or false, for example 'fast<slow'"):format(options.show(text),
        value == nil and "nothing" or "a " .. type(value)), 0)
    end
    return value
  end
end

--- "Sharpe Ratio", or several, each with a direction of its own: "Max. Drawdown [%]=maximize".
---@param list string[]
---@param direction string of those that say none
---@return string|table objective, string? direction
function M.objective(list, direction)
  if #list == 1 and not list[1]:find "=m%a+$" then
    return list[1], direction
  end
  local out = {}
  for i, given in ipairs(list) do
    local name, word = given:match "^(.*)=(m%a+)$"
    name = name or given
    if word and word ~= "maximize" and word ~= "minimize" then
      error(("--objective %s: %s is neither maximize nor minimize"):format(options.show(given), word), 0)
    elseif name == "" then
      error(("--objective %s: names no metric; write --objective 'Sharpe Ratio'"):format(options.show(given)), 0)
    end
    out[i] = { name, word or direction }
  end
  if #out == 1 then
    return out[1][1], out[1][2]
  end
  return out
end

--- "retry:times=2,wait=1.5" -> { "retry", times = 2, wait = 1.5 }.
---@param given string
---@return table
function M.plugin(given)
  local name, rest = given:match "^([^:]+):?(.*)$"
  if not name then
    error(("--plugin %s: write NAME, or NAME:OPTION=VALUE,OPTION=VALUE"):format(options.show(given)), 0)
  end
  local out = { name }
  if rest ~= "" then
    for _, word in ipairs(words_of(rest)) do
      local key, value = word:match "^([%a_][%w_]*)=(.+)$"
      if not key then
        error(("--plugin %s: %s is not of the form OPTION=VALUE"):format(options.show(given), options.show(word)), 0)
      end
      out[key] = scalar(value)
    end
  end
  return out
end

--- "3%" stays; "5" becomes 5.
---@param given string
---@return string|integer
function M.failures(given)
  local percent = given:match "^(%d+%.?%d*)%%$"
  if percent and tonumber(percent) > 0 and tonumber(percent) <= 100 then
    return given
  end
  local n = math.tointeger(tonumber(given))
  if not n or n < 1 then
    error(("--halt-failures %s: write a number of trials of at least 1, or a part such as 3%%"):format(
      options.show(given)), 0)
  end
  return n
end

return M
