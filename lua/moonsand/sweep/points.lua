--- The points of a grid with parameters that exist only for some values of others: how many there are and which one
--- is the i-th, without making any other. What does not depend on each other is multiplied; a parameter that others
--- depend on is looked at value by value, or rather by the few kinds of values that differ in what depends on them.
---
--- A product is { count =, parts = { ... } }; a part is a parameter, { count =, name =, dimension = }, or a choice,
--- { count =, name =, dimension =, cases = { { count =, values =, indices =, rest = product }, ... } }.
local M = {}

-- More is not a space that a person wrote; each costs some memory.
local most_products = 100000

-- Counts are integers as long as they fit, and floats beyond.
local function times(a, b)
  if math.type(a) == "integer" and math.type(b) == "integer" and a <= math.maxinteger // b then
    return a * b
  end
  return (a + 0.0) * b
end

local function plus(a, b)
  if math.type(a) == "integer" and math.type(b) == "integer" and a <= math.maxinteger - b then
    return a + b
  end
  return (a + 0.0) + b
end

-- Parameters that hang together by conditions, as lists in the order of their first names.
local function components(pending)
  local leader = {}
  local function lead(name)
    while leader[name] ~= name do
      name = leader[name]
    end
    return name
  end
  for _, entry in ipairs(pending) do
    leader[entry.name] = entry.name
  end
  for _, entry in ipairs(pending) do
    for _, condition in ipairs(entry.conditions) do
      local a, b = lead(entry.name), lead(condition.name)
      leader[a < b and b or a] = a < b and a or b
    end
  end
  local groups, found = {}, {}
  for _, entry in ipairs(pending) do
    local name = lead(entry.name)
    if not found[name] then
      found[name] = { first = name }
      groups[#groups + 1] = found[name]
    end
    table.insert(found[name], entry)
  end
  table.sort(groups, function(a, b)
    return a.first < b.first
  end)
  return groups
end

-- The first that others depend on and that depends on nothing itself. There is one, since there are no cycles.
local function controller(group)
  local wanted = {}
  for _, entry in ipairs(group) do
    for _, condition in ipairs(entry.conditions) do
      wanted[condition.name] = true
    end
  end
  for _, entry in ipairs(group) do
    if wanted[entry.name] and #entry.conditions == 0 then
      return entry
    end
  end
end

-- What is left of the group when the controller has a value: conditions that hold are gone, and so are parameters
-- that do not exist then, with those that depend on them. The group is in an order in which the others come first.
local function left(group, chosen, value)
  local out, gone = {}, {}
  for _, entry in ipairs(group) do
    if entry ~= chosen then
      local conditions, exists = {}, true
      for _, condition in ipairs(entry.conditions) do
        if condition.name ~= chosen.name then
          exists = exists and not gone[condition.name]
          conditions[#conditions + 1] = condition
        elseif value == nil or not condition.allowed[value] then
          exists = false
        end
      end
      if exists then
        out[#out + 1] = { name = entry.name, dimension = entry.dimension, conditions = conditions }
      else
        gone[entry.name] = true
      end
    end
  end
  return out
end

-- Values that no condition names are all alike, and may be many: they are not listed. The others are, by what
-- they allow.
local function cases_of(group, chosen)
  local dimension, mentioned, by_kind, cases = chosen.dimension, {}, {}, {}
  local texts = {}
  for e, entry in ipairs(group) do
    for c, condition in ipairs(entry.conditions) do
      if condition.name == chosen.name then
        for _, value in ipairs(condition.values) do
          local i = dimension:find(value)
          if not texts[i] then
            texts[i] = {}
            mentioned[#mentioned + 1] = i
          end
          table.insert(texts[i], e .. ":" .. c)
        end
      end
    end
  end
  table.sort(mentioned)
  for _, i in ipairs(mentioned) do
    local kind = table.concat(texts[i], " ")
    if not by_kind[kind] then
      by_kind[kind] = { first = i, indices = {}, value = dimension:at(i) }
      cases[#cases + 1] = by_kind[kind]
    end
    table.insert(by_kind[kind].indices, i)
  end
  for _, case in ipairs(cases) do
    case.values = #case.indices
  end
  if #mentioned < dimension.count then
    local first = 0
    while mentioned[first + 1] == first do
      first = first + 1
    end
    cases[#cases + 1] = { first = first, values = dimension.count - #mentioned, skip = mentioned }
  end
  table.sort(cases, function(a, b)
    return a.first < b.first
  end)
  return cases
end

local product

local function choice(group, state)
  local chosen = controller(group)
  local part = { name = chosen.name, dimension = chosen.dimension, count = 0 }
  part.cases = cases_of(group, chosen)
  for _, case in ipairs(part.cases) do
    case.rest = product(left(group, chosen, case.value), state)
    case.count = times(case.values, case.rest.count)
    part.count = plus(part.count, case.count)
  end
  return part
end

function product(pending, state)
  state.products = state.products + 1
  if state.products > most_products then
    return error("its conditions hang together in too many ways to count its points", 0)
  end
  local out = { count = 1, parts = {} }
  for i, group in ipairs(components(pending)) do
    local only = #group == 1 and group[1]
    out.parts[i] = only and { name = only.name, dimension = only.dimension, count = only.dimension.count }
      or choice(group, state)
    out.count = times(out.count, out.parts[i].count)
  end
  return out
end

--- The tree of a space's points. Raises a text when the conditions are too many.
---@param entries { name: string, dimension: moonsand.Dimension, conditions: table[] }[] each after those it depends
--- on; conditions have name, values and allowed, a set of values
---@return table tree its count is an integer up to 2^63 - 1 and a float beyond
function M.build(entries)
  return product(entries, { products = 0 })
end

local put

local function put_case(part, case, j, params)
  local count = case.rest.count
  local i = 0
  if math.type(count) == "integer" then
    i, j = j // count, j % count
  end
  if case.indices then
    i = case.indices[i + 1]
  else
    for _, skipped in ipairs(case.skip) do
      if skipped > i then
        break
      end
      i = i + 1
    end
  end
  params[part.name] = part.dimension:at(i)
  return put(case.rest, j, params)
end

-- The last part turns fastest, as the innermost of nested loops does.
function put(tree, i, params)
  local parts = tree.parts
  for p = #parts, 1, -1 do
    local part = parts[p]
    local count, j = part.count, i
    if math.type(count) == "integer" then
      j, i = i % count, i // count
    else
      i = 0
    end
    local cases = part.cases
    if not cases then
      params[part.name] = part.dimension:at(j)
    else
      for _, case in ipairs(cases) do
        if j < case.count then
          put_case(part, case, j, params)
          break
        end
        j = j - case.count
      end
    end
  end
  return params
end

--- Point number i.
---@param tree table
---@param i integer from 0, below tree.count
---@return table<string, string|number|boolean> params
function M.at(tree, i)
  return put(tree, i, {})
end

--- A random point, each as likely as the others, of trees of any size.
---@param tree table
---@param rng moonsand.Random
---@param params table? filled in and returned
---@return table params
function M.draw(tree, rng, params)
  params = params or {}
  for _, part in ipairs(tree.parts) do
    if not part.cases then
      params[part.name] = part.dimension:at(rng:below(part.count))
    else
      local cases, at = part.cases, rng:float() * part.count
      local k = 1
      while k < #cases and at >= cases[k].count do
        at, k = at - cases[k].count, k + 1
      end
      local case = cases[k]
      put_case(part, { indices = case.indices, skip = case.skip, rest = { count = 1, parts = {} } },
        rng:below(case.values), params)
      M.draw(case.rest, rng, params)
    end
  end
  return params
end

return M
