-- Options as people write them: the first byte says which kind, the rest is the text. Whatever that is,
-- the answer is a value in range that means the same when it is written out again, or the one documented
-- error: a line that names the option and can be shown.
local errors = require "moonsand.errors"
local options = require "moonsand.options"
local stretch = require "lua.fuzz.support.stretch"

local MESSAGE_MAX = 600

local function check_message(err, ...)
  assert(type(err) == "string", "raised a " .. type(err))
  assert(#err <= MESSAGE_MAX, "a message of " .. #err .. " bytes")
  assert(not err:find "%c" and utf8.len(err), "a message that cannot be shown")
  for _, part in ipairs { ... } do
    assert(err:find(part, 1, true), err)
  end
end

--- The value, or nil when the text is refused as it should be.
local function parse(check, text)
  local ok, value = pcall(check, "cell", text)
  if ok then
    return value
  end
  check_message(value, "option 'cell': ", " is not ")
  return nil
end

local function in_range(value, low, high)
  assert(type(value) == "number" and value > low and value < high, value)
end

--- A whole number's digits say the same as the number.
local function round_trip(check, value, ...)
  assert(check("cell", value) == value)
  if math.type(value) == "integer" then
    for _, unit in ipairs { "", ... } do
      assert(check("cell", value .. unit) == value, unit)
    end
  end
end

local kinds = {}

function kinds.s(text)
  local bytes = parse(options.size, text)
  if bytes then
    assert(math.type(bytes) == "integer")
    in_range(bytes, 0, 2.0 ^ 62)
    round_trip(options.size, bytes, "b", "B", " b ")
  end
end

function kinds.d(text)
  local seconds = parse(options.duration, text)
  if seconds then
    in_range(seconds, 0, 1e9)
    round_trip(options.duration, math.tointeger(seconds) or seconds, "s", " S")
  end
end

function kinds.n(text)
  local n = parse(options.count, text)
  if n then
    assert(math.type(n) == "integer")
    in_range(n, 0, 1 << 32)
    round_trip(options.count, n)
  end
end

function kinds.c(text)
  local n = parse(options.cpus, text)
  if n then
    in_range(n, 0, 1e6)
    round_trip(options.cpus, n)
  end
end

function kinds.t(text)
  local value = parse(options.text, text)
  assert(value == nil or value == text and text ~= "" and not text:find("\0", 1, true))
end

local word = options.one_of { "none", "bridge" }

function kinds.w(text)
  local value = parse(word, text)
  assert(value == nil or value == text)
end

local schema = { memory = options.size, timeout = options.duration, cpus = options.cpus, stdout = options.size }
local names = { "cpus", "memory", "stdout", "timeout" }

--- The name of an option: known, or refused with the names that there are.
function kinds.o(text)
  local ok, given = pcall(options.check, "box:run", { [text] = 1 }, schema)
  if ok then
    assert(schema[text] and given[text] == 1)
  else
    assert(not schema[text])
    check_message(given, "box:run has no option '", "(it has cpus, memory, stdout, timeout)")
  end
  local near = errors.nearest(text, names)
  assert(near == nil or schema[near])
  assert(not schema[text] or near == text)
  assert(near ~= nil or #text > 6 or errors.distance(text, "memory") > 2)
end

return function(bytes)
  local kind = kinds[bytes:sub(1, 1)]
  if not kind then
    return
  end
  local text = bytes:sub(2)
  kind(text)
  for long in stretch.each(text) do
    kind(long)
  end
end
