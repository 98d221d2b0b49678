--- The set of possible parameters of a sweep. It is described, never written out: 10^12 points take no memory.
---
---     local space = require "moonsand.sweep.space"
---     local s = space.new({
---       kind = { "sma", "ema" }, fast = space.range(5, 30, 5), cash = 10000,
---       alpha = space.when("kind", "ema", space.uniform(0.01, 0.5)),
---     }, function(p) return p.fast < 25 end)
local dimension = require "moonsand.sweep.dimension"
local errors = require "moonsand.errors"
local options = require "moonsand.options"
local points = require "moonsand.sweep.points"
local random = require "moonsand.sweep.random"
local text = require "moonsand.text"
local trials = require "moonsand.sweep.trial"

local M = {
  range = dimension.range, uniform = dimension.uniform, log_uniform = dimension.log_uniform,
  integers = dimension.integers, choice = dimension.choice, when = dimension.when,
}

---@class moonsand.Space
---@field names string[] sorted
---@field order { name: string, dimension: moonsand.Dimension, conditions: table[] }[] each after those it depends on
---@field dimensions table<string, moonsand.Dimension>
---@field continuous string? the first parameter that is; then there is no grid
---@field on_refused fun()? called now and then while points are refused; what it raises ends the search
local Space = { __name = "moonsand.Space" }
Space.__index = Space

--- "{ fast = 5, slow = 20 }": one line that can be shown.
---@param params table
---@return string
function M.show(params)
  local parts, names = {}, {}
  for name in pairs(params) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for i, name in ipairs(names) do
    parts[i] = ("%s = %s"):format(tostring(name), options.show(params[name]))
  end
  return #parts == 0 and "{}" or text.harmless("{ " .. table.concat(parts, ", ") .. " }", 300)
end

local function sorted_names(given, level)
  local names = {}
  for name in pairs(given) do
    if type(name) ~= "string" or name == "" or #name > 200 or not utf8.len(name) or name:find "%c" then
      error(("space: a parameter's name is a text of at most 200 bytes, got %s"):format(options.show(name)), level + 1)
    elseif trials.harmless(name, trials.max.name) ~= name then -- as it would stand in the journal
      error(("space: a parameter's name has no blanks at its ends nor two in a row, and nothing that cannot be seen, "
        .. "got %s"):format(options.show(name)), level + 1)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function check_condition(name, condition, dimensions, level)
  local what = ("space.%s"):format(name)
  local other = dimensions[condition.name]
  if not other then
    local known = {}
    for k in pairs(dimensions) do
      known[#known + 1] = k
    end
    table.sort(known)
    local near = errors.nearest(condition.name, known)
    error(("%s: when names the parameter %s, which the space does not have%s"):format(what,
      options.show(condition.name), near and (" (did you mean " .. near .. "?)") or ""), level + 1)
  elseif not other.count then
    error(("%s: when names the parameter %s, which is continuous: it hardly ever has one value; give it a list or "
      .. "a range"):format(what, condition.name), level + 1)
  end
  condition.allowed = {}
  for _, value in ipairs(condition.values) do
    if not other:find(value) then
      error(("%s: when wants %s to be %s, which it never is"):format(what, condition.name, options.show(value)),
        level + 1)
    end
    condition.allowed[value] = true
  end
end

-- Those that depend on nothing come first; names decide where nothing else does.
local function in_order(entries, level)
  local order, placed, left = {}, {}, entries
  while #left > 0 do
    local later = {}
    for _, entry in ipairs(left) do
      local ready = true
      for _, condition in ipairs(entry.conditions) do
        ready = ready and placed[condition.name]
      end
      if ready then
        order[#order + 1] = entry
      else
        later[#later + 1] = entry
      end
    end
    if #later == #left then
      local names = {}
      for i, entry in ipairs(left) do
        names[i] = entry.name
      end
      error(("space: %s depend on each other in a circle (when)"):format(table.concat(names, ", ")), level + 1)
    end
    for i = #placed + 1, #order do
      placed[i], placed[order[i].name] = true, true
    end
    left = later
  end
  return order
end

-- A function that copies parameters. One that is written out makes its table in the right size at once: a third of the
-- time that a loop takes, and some grids have millions of points that are only looked at.
local function copier(names)
  local fields = {}
  for i, name in ipairs(names) do
    fields[i] = ("[%q] = p[%q]"):format(name, name)
  end
  return assert(load("local p = ... return { " .. table.concat(fields, ", ") .. " }", "=copy", "t", {}))
end

--- A space of the parameters given by name: a list, a scalar (it never changes), or what range, integers, uniform,
--- log_uniform, choice and when make. Raises for what makes no sense.
---@param given table<string, any>
---@param where (fun(params: table): any)? says no to points that are not wanted; it gets a copy
---@param level integer? whom to blame, as for error()
---@return moonsand.Space
function M.new(given, where, level)
  level = (level or 1) + 1
  if type(given) ~= "table" or getmetatable(given) then
    error(("space: wants a table of parameters by name, for example { fast = moonsand.range(5, 30, 5) }, got %s")
      :format(options.show(given)), level)
  elseif where ~= nil and type(where) ~= "function" then
    error(("where: wants a function of the parameters that returns true or false, got %s"):format(type(where)), level)
  end
  local self = setmetatable({ names = sorted_names(given, level), dimensions = {}, where = where, refused = 0 }, Space)
  local entries = {}
  for i, name in ipairs(self.names) do
    local dim, conditions = dimension.of("space." .. name, given[name], level)
    local own = {}
    for j, condition in ipairs(conditions) do -- one when may stand in several spaces
      own[j] = { name = condition.name, values = condition.values }
    end
    entries[i] = { name = name, dimension = dim, conditions = own }
    self.dimensions[name] = dim
    self.continuous = self.continuous or not dim.count and name or nil
  end
  for _, entry in ipairs(entries) do
    for _, condition in ipairs(entry.conditions) do
      check_condition(entry.name, condition, self.dimensions, level)
    end
  end
  self.entries, self.order = entries, in_order(entries, level)
  self.copy = where and copier(self.names)
  if not self.continuous then
    local ok, tree = pcall(points.build, self.order)
    if not ok then
      error("space: " .. tree, level)
    end
    self.tree = tree
  end
  return self
end

--- Points of the grid, those that `where` says no to with them.
---@return integer|number|nil size a float beyond 2^63; nil when a parameter is continuous
function Space:size()
  return self.tree and self.tree.count
end

--- Point number i of the grid; each distinct point has one number. In the order of nested loops over the names.
---@param i integer from 0
---@return table? params nil when there are not so many
function Space:at(i)
  local tree, index = self.tree, math.tointeger(i)
  if not tree then
    error(("there is no grid: '%s' is continuous; make it a range, or sample the space"):format(self.continuous), 2)
  elseif not index then
    error(("at: a point's number is a whole one, got %s"):format(options.show(i)), 2)
  elseif index < 0 or index >= tree.count then
    return nil
  end
  return points.at(tree, index)
end

local function exists(entry, params)
  for _, condition in ipairs(entry.conditions) do
    local value = params[condition.name]
    if value == nil or not condition.allowed[value] then
      return false
    end
  end
  return true
end

--- Whether a parameter exists beside these others.
---@type fun(entry: table, params: table): boolean entry is one of space.order
Space.exists = exists

--- The point that numbers from 0 to 1 stand for; those of parameters that do not exist there are not looked at.
---@param u table<string, number> by name, from 0, 1 left out
---@return table params
function Space:from_unit(u)
  local params = {}
  for _, entry in ipairs(self.order) do
    if exists(entry, params) then
      local x = u[entry.name]
      if type(x) ~= "number" or not (x >= 0 and x < 1) then
        error(("from_unit: '%s' wants a number from 0, below 1, got %s"):format(entry.name, options.show(x)), 2)
      end
      params[entry.name] = entry.dimension:from_unit(x)
    end
  end
  return params
end

--- The other way. Parameters that do not exist at the point have no number.
---@param params table
---@return table<string, number>? u
---@return moonsand.Error? err when it is no point of the space
function Space:to_unit(params)
  local u = {}
  for _, entry in ipairs(self.order) do
    local name = entry.name
    local there = exists(entry, params)
    if there ~= (params[name] ~= nil) then
      return errors.fail("invalid", ("%s: '%s' %s"):format(M.show(params), name, there and "is missing"
        or "does not exist beside these"))
    elseif there then
      u[name] = entry.dimension:to_unit(params[name])
      if not u[name] then
        return errors.fail("invalid", ("%s: '%s' never is %s"):format(M.show(params), name,
          options.show(params[name])))
      end
    end
  end
  for name in pairs(params) do
    if not self.dimensions[name] then
      return errors.fail("invalid", ("%s: the space has no such parameters"):format(M.show(params)))
    end
  end
  return u
end

--- A random point, before `where`: each parameter that exists by itself, so that a rare kind with few points is as
--- likely as one with many.
---@param rng moonsand.Random
---@return table params
function Space:sample(rng)
  local params = {}
  for _, entry in ipairs(self.order) do
    if exists(entry, params) then
      params[entry.name] = entry.dimension:from_unit(rng:float())
    end
  end
  return params
end

--- A random point of a grid, before `where`: each of its points is as likely as the others.
---@param rng moonsand.Random
---@return table params
function Space:draw(rng)
  return points.draw(self.tree, rng)
end

local often = 256

--- To be called for each point that is not taken: now and then whoever waits for one gives way to others.
function Space:refuse()
  self.refused = self.refused + 1
  if self.refused % often == 0 and self.on_refused then
    self.on_refused()
  end
end

--- Whether `where` wants the point. A `where` that raises is an error with code "invalid" that names the point; it is
--- raised, as is Ctrl-C in it.
---@param params table
---@return boolean
function Space:admits(params)
  local where = self.where
  if not where then
    return true
  end
  local ok, answer = pcall(where, self.copy(params)) -- what it writes there is in no trial
  if not ok then
    if errors.is_interrupt(answer) then
      error(answer, 0)
    end
    error(errors.new("invalid", ("where failed at %s: %s"):format(M.show(params),
      text.harmless(tostring(answer), 300))), 0)
  end
  if not answer then
    self:refuse()
  end
  return answer and true or false
end

--- How many points of the grid `where` wants.
---@param most integer? a larger grid is not looked through but estimated from 10,000 points; 1,000,000
---@return integer|number|nil count nil when a parameter is continuous
---@return boolean exact
function Space:count(most)
  local size = self:size()
  if not size or not self.where then
    return size, size ~= nil
  end
  local admitted = 0
  if size <= (most or 1000000) then
    for i = 0, size - 1 do
      admitted = admitted + (self:admits(points.at(self.tree, i)) and 1 or 0)
    end
    return admitted, true
  end
  local rng, tries = random.new(0, "count"), 10000
  for _ = 1, tries do
    admitted = admitted + (self:admits(points.draw(self.tree, rng)) and 1 or 0)
  end
  local estimate = size * (admitted / tries)
  return math.tointeger(math.floor(estimate)) or estimate, false
end

--- A text that two points share only when they are the same point.
---@param params table
---@return string
function Space:key(params)
  local parts = {}
  for i, name in ipairs(self.names) do
    local value = params[name]
    if type(value) == "string" then
      value = #value .. ":" .. value
    elseif math.type(value) == "float" then
      value = math.tointeger(value) or ("%a"):format(value) -- JSON makes 1 of 1.0
    else
      value = tostring(value)
    end
    parts[i] = value
  end
  return table.concat(parts, ",")
end

--- What a report needs to know: by parameter, sorted by name, { name =, kind =, values = at most 1,000 of them, low =,
--- high =, step =, log =, when = { { name =, values = }, ... } }.
---@return table[]
function Space:describe()
  local out = {}
  for i, entry in ipairs(self.entries) do
    local one = entry.dimension:describe()
    one.name = entry.name
    for j, condition in ipairs(entry.conditions) do
      one.when = one.when or {}
      one.when[j] = { name = condition.name, values = { table.unpack(condition.values) } }
    end
    out[i] = one
  end
  return out
end

--- All of it as one text, the same for the same space; a `where` is not in it, since a function has no text.
---@return string
function Space:signature()
  local parts = {}
  for i, entry in ipairs(self.entries) do
    local line = { ("%q=%s"):format(entry.name, entry.dimension:signature()) }
    for _, condition in ipairs(entry.conditions) do
      local values = {}
      for j, value in ipairs(condition.values) do
        values[j] = dimension.text(value)
      end
      line[#line + 1] = ("when(%q,%s)"):format(condition.name, table.concat(values, ","))
    end
    parts[i] = table.concat(line, " ")
  end
  return table.concat(parts, ";")
end

return M
