--- One parameter's possible values. A dimension with a count has that many values, numbered from 0; one without is
--- continuous. Either way the numbers from 0 to 1 stand for its values: that is what samplers think in.
local options = require "moonsand.options"
local random = require "moonsand.sweep.random"

local M = {}

--- Values that one dimension may have at most: beyond, a float does not tell neighbours apart.
M.most = 1 << 53

---@class moonsand.Dimension
---@field kind "range"|"list"|"uniform"|"log_uniform"|"integers"|"constant"
---@field count integer? nil when it is continuous
---@field ordered boolean neighbours are alike: numbers in order, not names
local Dimension = {}

local When = { __name = "moonsand.when" }

local function class()
  local c = setmetatable({ __name = "moonsand.dimension" }, { __index = Dimension })
  c.__index = c
  return c
end

local Range, List, Uniform = class(), class(), class()

local function is_dimension(value)
  local meta = type(value) == "table" and getmetatable(value)
  return meta == Range or meta == List or meta == Uniform
end

--- A value as a text that says its type, too: 1, 1.0, "1" and true are four.
---@param value string|number|boolean
---@return string
function M.text(value)
  if type(value) == "string" then
    return (("%q"):format(value):gsub("\\\n", "\\n"))
  elseif math.type(value) == "float" then
    local text = ("%.17g"):format(value)
    return text:find "^-?%d+$" and text .. ".0" or text
  end
  return tostring(value)
end

local function finite(what, name, value, level)
  if type(value) ~= "number" then
    error(("%s: %s is a number, got %s"):format(what, name, options.show(value)), level + 1)
  elseif value ~= value or value == math.huge or value == -math.huge then
    error(("%s: %s is %s; it must be a number that ends somewhere"):format(what, name, tostring(value)), level + 1)
  end
end

local function in_order(what, a, b, level)
  if a > b then
    error(("%s: it starts at %s, beyond its end %s; give the smaller number first"):format(what, tostring(a),
      tostring(b)), level + 1)
  end
end

local function not_too_many(what, count, level)
  if count ~= count or count > M.most then
    error(("%s: has more than 2^53 values; take a larger step, or moonsand.uniform"):format(what), level + 1)
  end
end

--- The fewest digits after the point that write x exactly as it is, nil when it takes more than 15.
local function decimals(x)
  for digits = 0, 15 do
    if tonumber(("%." .. digits .. "f"):format(x)) == x then
      return digits
    end
  end
end

-- Steps of 0.1 are counted in tenths, and the division at the end is rounded once: 0.1 + 0.2 is 0.3 here.
local function in_decimals(self)
  local a, b = decimals(self.low), decimals(self.step)
  if not (a and b) then
    return
  end
  local scale = math.tointeger(10 ^ math.max(a, b))
  if (math.abs(self.low) + (self.count + 1.0) * self.step) * scale >= 2.0 ^ 53 then
    return
  end
  local first, every = math.floor(self.low * scale + 0.5), math.floor(self.step * scale + 0.5)
  if first / scale == self.low and every / scale == self.step then
    self.first, self.every, self.scale = first, every, scale
  end
end

--- a, a + step, ... up to b, which belongs to it when it lies on the grid. Of integers when a and step are; else the
--- values are floats, each the one that is nearest to what one would write down.
---@param a number
---@param b number
---@param step number? 1
---@return moonsand.Dimension
function M.range(a, b, step)
  local what = ("range(%s, %s, %s)"):format(tostring(a), tostring(b), tostring(step == nil and 1 or step))
  step = step == nil and 1 or step
  finite(what, "its start", a, 2)
  finite(what, "its end", b, 2)
  finite(what, "its step", step, 2)
  if step <= 0 then
    error(what .. ": the step must be above 0", 2)
  end
  in_order(what, a, b, 2)
  local steps = (b + 0.0 - a) / step
  not_too_many(what, steps + 1, 2)
  local self = { kind = "range", low = a, step = step, ordered = true }
  if math.type(a) == "integer" and math.type(step) == "integer" then
    b = math.floor(b)
    self.count = (b - a) // step + 1
    self.high = a + (self.count - 1) * step
  else
    self.low, self.step = a + 0.0, step + 0.0
    local near = math.floor(steps + 0.5)
    self.count = (math.abs(steps - near) <= math.max(1e-9, steps * 0x1p-50) and near or math.floor(steps)) + 1
    in_decimals(self)
  end
  setmetatable(self, Range)
  self.high = self:at(self.count - 1)
  return self
end

--- Whole numbers from a to b, both of them as well.
---@param a integer
---@param b integer
---@return moonsand.Dimension
function M.integers(a, b)
  local what = ("integers(%s, %s)"):format(tostring(a), tostring(b))
  for _, bound in ipairs { { "its start", a }, { "its end", b } } do
    finite(what, bound[1], bound[2], 2)
    if not math.tointeger(bound[2]) then
      error(("%s: %s is a whole number, got %s"):format(what, bound[1], tostring(bound[2])), 2)
    end
  end
  a, b = math.tointeger(a), math.tointeger(b)
  in_order(what, a, b, 2)
  not_too_many(what, b + 0.0 - a + 1, 2)
  return setmetatable({ kind = "integers", low = a, high = b, step = 1, count = b - a + 1, ordered = true }, Range)
end

---@param i integer from 0
---@return number
function Range:at(i)
  local scale = self.scale
  if scale then
    return (self.first + i * self.every) / scale
  end
  return self.low + i * self.step
end

---@return integer? index nil when it is none of the values
function Range:find(value)
  if type(value) ~= "number" or not (value >= self.low and value <= self.high) then
    return nil
  end
  local i = math.floor((value - self.low) / self.step + 0.5)
  if i < self.count and self:at(i) == value then
    return i
  end
end

local function interval(kind, a, b)
  local what = ("%s(%s, %s)"):format(kind, tostring(a), tostring(b))
  finite(what, "its start", a, 3)
  finite(what, "its end", b, 3)
  in_order(what, a, b, 3)
  if a == b then
    error(("%s: holds one number only; give %s as a constant"):format(what, tostring(a)), 3)
  elseif kind == "log_uniform" and a <= 0 then
    error(what .. ": its start must be above 0, since there is no logarithm of it", 3)
  elseif b - a == math.huge then
    error(what .. ": is wider than the largest number", 3)
  end
  local self = { kind = kind, low = a + 0.0, high = b + 0.0, ordered = true }
  if kind == "log_uniform" then
    self.log_low, self.log_width = math.log(a), math.log(b) - math.log(a)
  end
  return setmetatable(self, Uniform)
end

--- Any number from a to b.
---@param a number
---@param b number
---@return moonsand.Dimension
function M.uniform(a, b)
  local self = interval("uniform", a, b) -- no tail call: the levels of the errors count on it
  return self
end

--- Any number from a to b, each order of magnitude as likely as the others.
---@param a number above 0
---@param b number
---@return moonsand.Dimension
function M.log_uniform(a, b)
  local self = interval("log_uniform", a, b)
  return self
end

function Uniform:from_unit(u)
  local x
  if self.log_low then
    x = math.exp(self.log_low + u * self.log_width)
  else
    x = self.low + u * (self.high - self.low)
  end
  return math.max(self.low, math.min(self.high, x))
end

function Uniform:to_unit(value)
  if type(value) ~= "number" or not (value >= self.low and value <= self.high) then
    return nil
  end
  local u
  if self.log_low then
    u = (math.log(value) - self.log_low) / self.log_width
  else
    u = (value - self.low) / (self.high - self.low)
  end
  return math.max(0.0, math.min(u, 1 - 0x1p-53))
end

local function scalar(what, value, level)
  local kind = type(value)
  if kind == "number" then
    finite(what, "a value", value, level + 1)
  elseif kind == "string" and not utf8.len(value) then -- the journal, which is JSON, could not hold it
    error(("%s: the text %s is not valid UTF-8"):format(what, options.show(value)), level + 1)
  elseif kind ~= "string" and kind ~= "boolean" then
    error(("%s: a value is a text, a number, true or false, got a %s"):format(what, kind), level + 1)
  end
  return value
end

-- Neighbours of { 1, 2, 5, 10 } are alike, those of { 3, 1, 2 } and { "sma", "ema" } need not be.
local function is_ordered(values)
  local up, down = #values > 2, #values > 2
  for i, value in ipairs(values) do
    if type(value) ~= "number" then
      return false
    end
    up = up and (i == 1 or value > values[i - 1])
    down = down and (i == 1 or value < values[i - 1])
  end
  return up or down
end

-- Copied, because the caller may change his; what stands there twice is one value.
local function list(what, given, level)
  if type(given) ~= "table" then
    error(("%s: wants a list of values, got %s"):format(what, options.show(given)), level + 1)
  end
  local n = #given
  for key in pairs(given) do
    if math.type(key) ~= "integer" or key < 1 or key > n then
      error(("%s: is a list without holes, and has the key %s"):format(what, options.show(key)), level + 1)
    end
  end
  if n == 0 then
    error(what .. ": is empty; give at least one value, or leave the parameter away", level + 1)
  end
  local values, index = {}, {}
  for i = 1, n do
    if given[i] == nil then
      error(("%s: is a list without holes, and has nothing at %d"):format(what, i), level + 1)
    end
    local value = scalar(what, given[i], level + 1)
    if index[value] == nil then
      values[#values + 1] = value
      index[value] = #values - 1
    end
  end
  return setmetatable({
    kind = "list", values = values, index = index, count = #values, ordered = is_ordered(values),
  }, List)
end

--- One of these.
---@param values (string|number|boolean)[]
---@return moonsand.Dimension
function M.choice(values)
  local self = list("choice", values, 2)
  return self
end

function List:at(i)
  return self.values[i + 1]
end

function List:find(value)
  return value ~= nil and value == value and self.index[value] or nil
end

--- The value that u stands for.
---@param u number from 0, 1 left out
function Dimension:from_unit(u)
  local i = math.floor(u * self.count)
  return self:at(i < self.count and i or self.count - 1)
end

--- The middle of the numbers that stand for the value.
---@return number? u nil when it is none of the values
function Dimension:to_unit(value)
  local i = self:find(value)
  return i and (i + 0.5) / self.count
end

--- What a report shows of it; values only when they are at most 1,000.
---@return table
function Dimension:describe()
  local out = { kind = self.kind, low = self.low, high = self.high, step = self.step }
  out.log = self.kind == "log_uniform" or nil
  if self.count and self.count <= 1000 then
    out.values = {}
    for i = 1, self.count do
      out.values[i] = self:at(i - 1)
    end
  end
  return out
end

--- All of it as one text; a long list by a hash of its values.
---@return string
function Dimension:signature()
  local parts = {}
  if self.values then
    for i, value in ipairs(self.values) do
      parts[i] = M.text(value)
    end
    if #parts > 100 then
      local text = table.concat(parts, ",")
      parts = { #self.values, ("%016x%016x"):format(random.hash(0, text), random.hash(1, text)) }
    end
  else
    parts = { M.text(self.low), M.text(self.high), self.step and M.text(self.step) }
  end
  return ("%s(%s)"):format(self.kind, table.concat(parts, ","))
end

--- A dimension that exists only when the parameter `name` has this value, or one of these.
---@param name string
---@param values string|number|boolean|(string|number|boolean)[]
---@param given any a dimension, a list, a scalar, or another when
---@return table
function M.when(name, values, given)
  if type(name) ~= "string" or name == "" then
    error(("when: the other parameter's name is a text, got %s"):format(options.show(name)), 2)
  end
  local what = ("when(%s)"):format(options.show(name))
  if given == nil then
    error(what .. ": the third argument is what the parameter may be then", 2)
  end
  local set = list(what, type(values) == "table" and values or { values }, 2)
  local inner, conditions = M.of(what, given, 2)
  table.insert(conditions, 1, { name = name, values = set.values })
  return setmetatable({ dimension = inner, conditions = conditions }, When)
end

--- What a space's table says of one parameter.
---@param what string for the message
---@param given any
---@param level integer whom to blame
---@return moonsand.Dimension dimension, { name: string, values: any[] }[] conditions all of which must hold
function M.of(what, given, level)
  if is_dimension(given) then
    return given, {}
  elseif getmetatable(given) == When then
    return given.dimension, { table.unpack(given.conditions) }
  elseif type(given) == "table" then
    return list(what, given, level + 1), {}
  end
  scalar(what, given, level + 1)
  local one = list(what, { given }, level + 1)
  one.kind = "constant"
  return one, {}
end

return M
