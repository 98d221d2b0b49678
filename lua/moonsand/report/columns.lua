--- Trials as columns, the way a page reads them quickly: one list a parameter, an objective, a metric, a cost.
---
--- A column is { name =, kind = "param"|"objective"|"metric"|"cost", values = raw JSON list } and
---   of numbers: odd = { ["row"] = "NaN" } for cells that JSON has no number for (null in the list), or
---   of anything else: labels = list of texts, and values are places in it from 0, -1 for no value.
--- A parameter is to be copied for the next run, and so has besides, where it is needed: json = what each label is in
--- JSON, null where that was cut; float = true for numbers that are all floats, or floats = { ["row"] = true } for the
--- whole ones among integers; renamed = true when the name is not as it was.
--- Rows count from 0 in everything that the page reads.
local encode = require "moonsand.report.encode"
local text = require "moonsand.text"

local M = {}

--- Names and labels are cut here, in bytes.
M.longest_name, M.longest_label = 80, 120

-- A file of 20,000 trials stays near 10 MB. Programs choose how many metrics they have: hostile ones, too.
-- Nobody picks from a list of more columns than `most`.
local cells, fewest, most_columns = 1000000, 12, 200

-- Texts: what they take in all, in bytes, and how many different ones of one metric. Then they are "(others)".
local most_bytes, most_labels, others = 4000000, 1000, "(others)"

local function label(value, exact)
  if type(value) == "string" then
    return text.harmless(value, M.longest_label)
  elseif exact and type(value) == "number" and value - value == 0 then
    return encode.exact(value)
  elseif math.type(value) == "float" then
    return ("%.10g"):format(value)
  end
  return tostring(value)
end

-- JavaScript's numbers are exact up to here.
local largest = 1 << 53

-- nil: JSON and JavaScript have a number for it.
local function odd_text(n)
  if n > -largest and n < largest then
    return nil
  elseif math.type(n) == "integer" then
    return ("%d"):format(n)
  end
  return n ~= n and "NaN" or n == math.huge and "Infinity" or n == -math.huge and "-Infinity" or nil
end

-- Which of the numbers are floats: true for all of them; of mixed ones the rows of those that look like integers.
local function floats_of(values, n)
  local floats, all, some = nil, true, false
  for row = 1, n do
    local value = values[row]
    if math.type(value) == "float" then
      some = true
      if value % 1 == 0 then
        floats = floats or {}
        floats[tostring(row - 1)] = true
      end
    elseif value then
      all = false
    end
  end
  return all and some or nil, not all and floats or nil
end

local function of_numbers(values, n, exact)
  local odd
  for row = 1, n do
    local value = values[row]
    local special = value and odd_text(value)
    if special then
      odd = odd or {}
      odd[tostring(row - 1)] = special
    end
  end
  local out = { values = encode.numbers(values, n, exact), odd = odd }
  if exact then
    out.float, out.floats = floats_of(values, n)
  end
  return out
end

-- A parameter's value in JSON; nil when what is shown is not all of it.
local function literal(value, shown)
  if type(value) == "string" then
    return value == shown and encode.string(value) or nil
  elseif type(value) == "boolean" then
    return tostring(value)
  end
  local whole = math.type(value) == "float" and value % 1 == 0 and shown:find "^%-?%d+$"
  return value - value == 0 and (whole and shown .. ".0" or shown) or nil
end

local function of_labels(values, n, exact, room)
  local labels, json, place, out, plain = {}, {}, {}, {}, true
  local most, rest = exact and n or most_labels, nil
  local function add(shown, written)
    labels[#labels + 1], json[#labels + 1] = shown, written and encode.string(written) or "null"
    return #labels - 1
  end
  for row = 1, n do
    local value = values[row]
    local at = -1
    if value ~= nil then
      local shown = label(value, exact)
      local written = exact and literal(value, shown)
      local key = written or shown
      at = place[key]
      if not at and (#labels >= most or room.bytes < #shown) then
        rest = rest or add(others)
        at, plain, room.over = rest, false, true
      elseif not at then
        at = add(shown, written)
        place[key], room.bytes = at, room.bytes - #shown
        plain = plain and type(value) == "string" and written
      end
    end
    out[row] = at
  end
  return {
    values = encode.numbers(out, n), labels = labels,
    json = exact and not plain and encode.raw("[" .. table.concat(json, ",") .. "]") or nil,
  }
end

--- For the columns of one page.
---@return { bytes: integer, over: boolean? } room bytes for more texts; over: some are not there
function M.room()
  return { bytes = most_bytes }
end

--- One column of the values, of which some may be missing.
---@param name string
---@param kind string
---@param values table<integer, any>
---@param n integer rows
---@param room { bytes: integer } of M.room(); changed
---@return table? column nil when there is no value at all
function M.column(name, kind, values, n, room)
  local numbers, some = true, false
  for row = 1, n do
    local value = values[row]
    if value ~= nil then
      some = true
      if type(value) ~= "number" then
        numbers = false
        break
      end
    end
  end
  if not some then
    return nil
  end
  local column = (numbers and of_numbers or of_labels)(values, n, kind == "param", room)
  column.name, column.kind = text.harmless(name, M.longest_name), kind
  if kind == "param" and column.name ~= name then
    column.renamed = true
  end
  return column
end

local function scalar(value)
  local kind = type(value)
  if kind == "number" or kind == "string" or kind == "boolean" then
    return value
  end
  return nil
end

-- Names in trial[field], in the order given first, then those of the most trials first.
local function names_of(trials, field, first)
  local count, names, known = {}, {}, {}
  for _, trial in ipairs(trials) do
    for name in pairs(type(trial[field]) == "table" and trial[field] or {}) do
      if type(name) == "string" then
        if not count[name] then
          names[#names + 1] = name
        end
        count[name] = (count[name] or 0) + 1
      end
    end
  end
  for i, name in ipairs(first) do
    known[name] = i
  end
  table.sort(names, function(a, b)
    local at, bt = known[a] or math.huge, known[b] or math.huge
    if at ~= bt then
      return at < bt
    elseif count[a] ~= count[b] then
      return count[a] > count[b]
    end
    return a < b
  end)
  return names
end

local function pick(trials, field, name)
  local out = {}
  for row, trial in ipairs(trials) do
    local from = trial[field]
    if type(from) == "table" then
      out[row] = scalar(from[name])
    end
  end
  return out
end

local costs = {
  { "wall_s", "Time (s)" }, { "cpu_s", "CPU time (s)" }, { "memory_peak", "Peak memory (bytes)" },
  { "queue_s", "Wait (s)" }, { "attempts", "Attempts" },
}

--- Objectives first, then parameters, metrics, costs.
---@param trials table[]
---@param objectives { name: string, metric: string? }[]
---@param params string[] names, in the order wanted
---@return table[] columns, string[] notes what was left out
---@return boolean all_params has every parameter a column?
function M.build(trials, objectives, params)
  local n, out, notes, taken = #trials, {}, {}, {}
  local most = math.min(most_columns, math.max(fewest, cells // math.max(n, 1)))
  local left, all_params, room = 0, true, M.room()
  local function add(name, kind, values)
    if #out >= most then
      left = left + 1
      all_params = all_params and kind ~= "param"
      return
    end
    out[#out + 1] = M.column(name, kind, values, n, room)
  end
  for i, objective in ipairs(objectives) do
    local values = {}
    for row, trial in ipairs(trials) do
      local list = type(trial.values) == "table" and trial.values
      values[row] = scalar(list and list[i] or i == 1 and trial.value or nil)
    end
    add(objective.name, "objective", values)
    taken[objective.metric or objective.name] = true
  end
  for _, name in ipairs(names_of(trials, "params", params)) do
    add(name, "param", pick(trials, "params", name))
  end
  for _, cost in ipairs(costs) do
    local values = {}
    for row, trial in ipairs(trials) do
      local value = trial[cost[1]]
      values[row] = type(value) == "number" and value or nil
    end
    add(cost[2], "cost", values)
  end
  for _, name in ipairs(names_of(trials, "metrics", {})) do
    if not taken[name] then
      add(name, "metric", pick(trials, "metrics", name))
    end
  end
  if room.over then
    notes[1] = ('There are more different texts than this page has room for; "%s" stands for the rest.'):format(others)
  end
  if left > 0 then
    notes[#notes + 1] = ("%d columns more than the %d of this report are in the study only."):format(left, #out)
  end
  return out, notes, all_params
end

return M
