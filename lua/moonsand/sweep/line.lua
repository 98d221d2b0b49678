--- The lines of a journal: a trial or a report as text, and back.
---
--- JSON has no NaN. So a line has, where it matters, a second member:
---     "nonfinite": { "metrics.Sharpe Ratio": "nan", "series.equity.17": "-inf" }
--- beside null; and null alone in a list is NaN. A float is always written as one (5.0): types come back as they were.
local core = require "moonsand.core"
local json = require "moonsand.json"
local trials = require "moonsand.sweep.trial"

local M = {}

local null, max, harmless = json.null, trials.max, trials.harmless
local plain, texts, scalars = trials.plain, trials.texts, trials.scalars
local find, format = string.find, string.format
local type, math_type = type, math.type
local json_scalars = core.json_scalars
local specials = { nan = -(0 / 0), inf = math.huge, ["-inf"] = -math.huge }

-- Of a line, in this order; then tables, series last, as they are long.
local plain_order = {
  "number", "state", "reason", "attempts", "step", "key", "value", "message", "cached", "dropped", "started", "ended",
  "wall_s", "cpu_s", "queue_s", "memory_peak",
}
local groups = { "params", "metrics" }
local plain_keys, group_keys = {}, {}
for i, name in ipairs(plain_order) do
  plain_keys[i] = '"' .. name .. '":'
end
for i, name in ipairs(groups) do
  group_keys[i] = ',"' .. name .. '":'
end

-- ---- writing --------------------------------------------------------------------------------------------------------

local function quote(s)
  return find(s, '[%c"\\\127-\255]') and json.encode(s) or '"' .. s .. '"'
end

-- Reads as the same number of the same type. Most that a program computes need all 17 digits; those that people write
-- look ugly with them. Not for NaN and infinities.
local function digits(n)
  if math_type(n) == "integer" then
    return format("%d", n)
  end
  local out
  if n % 1 == 0 then
    out = n < 1e15 and n > -1e15 and format("%.1f", n) or format("%.16e", n)
  else
    out = n * 1e6 % 1 == 0 and format("%.14g", n)
    if not out or tonumber(out) ~= n then
      out = format("%.17g", n)
    end
  end
  return find(out, ",", 1, true) and out:gsub(",", ".") or out -- the host program's locale
end

local function special(n)
  return n ~= n and "nan" or n > 0 and "inf" or "-inf"
end

---@class moonsand.sweep.Codec
local Codec = {}
Codec.__index = Codec

local function refuse()
  return false
end

local function make_writer()
  local out, n = {}, 0
  local nonfinite = {} -- members, as text
  local orders, begins = {}, {} -- group -> the names of the last one, sorted, and '"name":': the next has the same
  local keys = trials.cache(function(name)
    return quote(harmless(name, max.name)) .. ":"
  end)

  local function put(s)
    n = n + 1
    out[n] = s
  end

  local function put_number(group, name, v)
    if v - v == 0 then
      return put(digits(v))
    end
    local path = name and group .. "." .. harmless(name, max.name) or group
    nonfinite[#nonfinite + 1] = quote(path) .. ':"' .. special(v) .. '"'
    put "null"
  end

  -- The names in t, sorted, and how each begins.
  local function order_of(group, t)
    local names, count = orders[group], 0
    for _ in next, t do
      count = count + 1
    end
    local same = names and #names == count
    for i = 1, same and count or 0 do
      if t[names[i]] == nil then
        same = false
        break
      end
    end
    if not same then
      names = trials.sorted_keys(t)
      local begin = {}
      for i, name in ipairs(names) do
        begin[i] = keys[name]
      end
      orders[group], begins[group] = names, begin
    end
    return names, begins[group]
  end

  -- Parameters are kept as they are.
  local function put_text(group, name, s)
    if group == "metrics" then
      put(quote(harmless(s, max.text)))
    elseif utf8.len(s) and #s <= max.param then
      put(quote(s))
    else
      error(("%s.%s is a text that is not UTF-8, or longer than %d bytes"):format(group, name, max.param), 0)
    end
  end

  local function put_scalars(group, t)
    local names, begin = order_of(group, t)
    local usual = json_scalars("{", t, names, begin, max.text)
    if usual then
      put(usual)
      return put "}"
    end
    local before = "{"
    for i, name in ipairs(names) do
      local v = t[name]
      local kind = type(v)
      if kind == "number" or kind == "string" or kind == "boolean" then
        put(before)
        put(begin[i])
        before = ","
        if kind == "number" then
          put_number(group, name, v)
        elseif kind == "string" then
          put_text(group, name, v)
        else
          put(v and "true" or "false")
        end
      end
    end
    put(before == "{" and "{}" or "}")
  end

  local function put_list(group, prefix, list)
    put "["
    for i = 1, math.min(#list, max.points) do
      local v = list[i]
      if i > 1 then
        put ","
      end
      if type(v) == "number" and v == v then
        put_number(group, prefix .. i, v)
      else
        put(type(v) == "string" and quote(harmless(v, max.label)) or "null")
      end
    end
    put "]"
  end

  local function put_series(series)
    local before = "{"
    for i, name in ipairs(trials.sorted_keys(series)) do
      if i <= max.series and type(series[name]) == "table" then
        put(before)
        put(keys[name])
        put_list("series", harmless(name, max.name) .. ".", trials.thin(series[name], max.points))
        before = ","
      end
    end
    put(before == "{" and "{}" or "}")
  end

  -- Members that are no table. Raises for what no reader takes.
  local function put_plain(kind, from)
    local begin = '{"type":"' .. kind .. '",'
    for name, v in next, from do
      local make = plain[name]
      if texts[name] then
        make = type(v) ~= "string" and refuse or nil
      end
      if make and make(v) == false then
        error(("the %s's %s cannot be %s"):format(kind, name, tostring(v)), 0)
      end
    end
    local usual = json_scalars(begin, from, plain_order, plain_keys, max.label)
    if usual then
      return put(usual)
    end
    for i, name in ipairs(plain_order) do
      local v = from[name]
      if v ~= nil then
        put(begin)
        begin = ","
        put(plain_keys[i])
        if type(v) == "number" then
          put_number(name, nil, v)
        else
          put(type(v) == "string" and quote(plain[name](v)) or tostring(v))
        end
      end
    end
  end

  return function(kind, from, without_series)
    n = 0
    nonfinite = {}
    put_plain(kind, from)
    for i, group in ipairs(groups) do
      local t = from[group]
      if t then
        put(group_keys[i])
        put_scalars(group, t)
      end
    end
    if from.values then
      put ',"values":'
      put_list("values", "", from.values)
    end
    if from.series and not without_series then
      put ',"series":'
      put_series(from.series)
    end
    if #nonfinite > 0 then
      put(',"nonfinite":{' .. table.concat(nonfinite, ",") .. "}")
    end
    put "}"
    return table.concat(out, "", 1, n)
  end
end

-- ---- reading --------------------------------------------------------------------------------------------------------

-- What `nonfinite` says, where nothing or null stands.
local function restore(record, nonfinite)
  for path, word in next, nonfinite do
    local v = type(path) == "string" and specials[word]
    local group, name = nil, nil
    if v then
      group, name = path:match "^(%l+)%.(.*)$"
    end
    local t = group and record[group]
    if v and not group then
      if record[path] == nil and plain[path] then
        record[path] = v
      end
    elseif type(t) == "table" then
      local index = name
      if group == "series" then
        name, index = name:match "^(.*)%.(%d+)$"
        t = t[name]
      end
      if scalars[group] then
        if t[name] == nil then
          t[name] = v
        end
      elseif type(t) == "table" then
        index = find(index, "^%d+$") and #index < 10 and tonumber(index)
        if index and t[index] == null then
          t[index] = v
        end
      end
    end
  end
end

-- Strings and names harmless, numbers as json.decode() has them: a record of a kind that is not known.
local function tidy(v)
  local kind = type(v)
  if kind == "number" then
    return math.tointeger(v) or v
  elseif kind == "string" then
    return harmless(v, max.param)
  elseif kind == "table" then
    local out = {}
    for k, item in next, v do
      out[type(k) == "number" and k or harmless(k, max.name)] = tidy(item)
    end
    return out
  end
  return v
end

-- What JSON lacks, as text.
local function writable(v)
  if type(v) == "number" and v - v ~= 0 then
    return special(v)
  elseif type(v) == "table" then
    local out = setmetatable({}, getmetatable(v))
    for k, item in next, v do
      out[k] = writable(item)
    end
    return out
  end
  return v
end

--- Holds what makes the next line cheaper than the first: have one for a journal, and use it for all.
---@return moonsand.sweep.Codec
function M.codec()
  return setmetatable({ write = make_writer(), cleaner = trials.cleaner() }, Codec)
end

--- The line for a trial as it is now, without its reports. Raises (no position) for a parameter whose text JSON
--- cannot hold, and for a member that is of another type than it says above.
---@param trial table
---@param without_series boolean?
---@return string
function Codec:trial(trial, without_series)
  return self.write("trial", trial, without_series)
end

--- The line for one intermediate report. Raises as trial() does.
---@param report { number: integer, attempts: integer?, step: number, metrics: table<string, number> }
---@return string
function Codec:report(report)
  return self.write("report", report)
end

--- The line for any other record, `type` first. NaN and infinities become texts.
---@param record table
---@return string
function Codec.other(_, record)
  local rest = {}
  for k, v in next, record do
    if k ~= "type" then
      rest[k] = writable(v)
    end
  end
  local body = json.encode(rest):sub(2, -2)
  return '{"type":' .. quote(record.type) .. (body ~= "" and "," or "") .. body .. "}"
end

local required = { trial = { "number", "state", "params" }, report = { "number", "step", "metrics" } }

--- For Journal:record() of the core: a trial that is as it should be, nearly all are.
M.shape = { type = { trial = true }, state = trials.states, number = "positive", cached = "true" }
for name in next, plain do
  M.shape[name] = M.shape[name] or texts[name] and "text" or trials.counts[name] and "count" or "number"
end
for name in next, scalars do
  M.shape[name] = "scalars"
end
M.shape.values = nil -- a list is not simple

--- What a line says that anybody may have written: record.type is "trial" (then the record is the trial, without
--- reports), "report", or something else. What is not known of those two is left out.
---@param record any as Journal:record() of the core gives it, with the shape above; changed
---@param fit boolean? what it gave besides
---@return table? record
---@return string? why "has no number": what is wrong with the line
---@return table? raw of a record of another type: as it was written, harmful texts included
function Codec:record(record, fit)
  if fit and record.type and record.number and record.state and record.params then
    return record
  end
  local kind = type(record) == "table" and record.type
  if type(kind) ~= "string" then
    return nil, "is no record"
  end
  if kind ~= "trial" and kind ~= "report" then
    return tidy(record), nil, record
  end
  local nonfinite = record.nonfinite
  if type(nonfinite) == "table" then
    restore(record, nonfinite)
  end
  for name, v in next, record do
    local make = plain[name]
    if make then
      local made = make(v)
      if made == false then
        return nil, ("has no %s that can be"):format(name)
      elseif made ~= v then
        record[name] = made
      end
    elseif scalars[name] or name == "series" then
      if type(v) ~= "table" then
        return nil, ("has no %s that can be"):format(name)
      elseif name == "series" then
        record[name] = self.cleaner:series(v)
      else
        self.cleaner:scalars(v, name ~= "metrics")
      end
    elseif name ~= "type" then
      record[name] = nil
    end
  end
  for _, name in ipairs(required[kind]) do
    if record[name] == nil then
      return nil, "has no " .. name
    end
  end
  return record
end

return M
