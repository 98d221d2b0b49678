--- A trial, and the line of text that it is in a journal.
---
--- A trial is a plain table:
---     number     integer, from 1 in the order of asking
---     state      "waiting", "running", "complete", "pruned" or "failed"
---     params     name -> string, integer, float or boolean; their types are kept exactly
---     key        text that stands for script, image, data and parameters
---     reason     of "failed": "error", "timeout", "oom", ...; message: one line about it, at most 500 bytes
---     value      the objective; values = { number, ... } of several
---     metrics    name -> number (NaN and infinities too), string or boolean
---     tags       name -> scalar: what a plugin wants kept, types exactly as in params
---     series     name -> list of numbers or short texts, at most 4096
---     reports    { { step = number, metrics = { ... } }, ... }; in the journal each is a line of its own
---     attempts, dropped, memory_peak (integers), started, ended (seconds since the epoch), wall_s, cpu_s, queue_s,
---     cached (boolean)
---
--- Names, texts and numbers of metrics come out of a container, and lines of a journal from a file that anybody may
--- have written: in both directions texts are made harmless and everything is bounded.
---
--- JSON has no NaN. So a line has, where it matters, a second member:
---     "nonfinite": { "metrics.Sharpe Ratio": "nan", "series.equity.17": "-inf" }
--- beside null; and null alone in a list is NaN. A float is always written as one (5.0): types come back as they were.
local core = require "moonsand.core"
local json = require "moonsand.json"
local text = require "moonsand.text"

local M = {}

--- The largest that is kept.
M.max = {
  message = 500, -- bytes
  name = 200, -- bytes, of a metric, parameter, tag or series
  text = 1000, -- bytes, of a metric's value that is a text
  param = 65536, -- bytes, of a parameter's value that is a text
  label = 64, -- bytes, of a text in a series
  scalars = 4096, -- metrics of a trial, or of a report
  series = 64,
  points = 4096, -- of one series
  reports = 10000, -- of a trial
}

M.states = { waiting = true, running = true, complete = true, pruned = true, failed = true }

--- Will this trial change no more?
---@param trial table
---@return boolean
function M.is_finished(trial)
  local state = trial.state
  return state == "complete" or state == "failed" or state == "pruned"
end

local null = json.null
local byte, find, format, floor = string.byte, string.find, string.format, math.floor
local type, math_type = type, math.type
local json_scalars = core.json_scalars
local specials = { nan = -(0 / 0), inf = math.huge, ["-inf"] = -math.huge }

-- At most that long, "..." and all; the same again for what came out of it. What is plain ASCII costs little.
local function harmless(s, max)
  local size = #s
  if size <= max and not find(s, "[^\32-\126]") and not find(s, "  ", 1, true) and byte(s) ~= 32 and
    byte(s, size) ~= 32 then
    return s
  end
  local out = text.harmless(s, max)
  return #out <= max and out or text.harmless(s, max - 3)
end

--- At most `most` of a list, evenly taken, the first and the last among them. The list itself when it is short enough.
---@param list any[]
---@param most integer
---@return any[]
function M.thin(list, most)
  local n = #list
  if n <= most then
    return list
  end
  local out = {}
  for i = 1, most do
    out[i] = list[1 + floor((i - 1) * (n - 1) / (most - 1) + 0.5)]
  end
  return out
end

-- ---- one name or number -----------------------------------------------------------------------------------------------

-- Bounded, as names come from outside.
local function cache(make)
  local n = 0
  return setmetatable({}, {
    __index = function(self, key)
      if n >= 4096 then
        for k in pairs(self) do
          self[k] = nil
        end
        n = 0
      end
      local value = make(key)
      rawset(self, key, value)
      n = n + 1
      return value
    end,
  })
end

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

-- ---- cleaning ---------------------------------------------------------------------------------------------------------

local function sorted_keys(t)
  local list = {}
  for k in pairs(t) do
    if type(k) == "string" then
      list[#list + 1] = k
    end
  end
  table.sort(list)
  return list
end

-- Scalars of harmless names, and of harmless texts if there are `texts`, in the same table. How
-- many were left out is returned.
local function clean_scalars(t, names, texts)
  local n, odd, dropped = 0, nil, 0
  for k, v in next, t do
    local kind = type(v)
    if type(k) ~= "string" or names[k] ~= k then
      odd = odd or {}
      odd[#odd + 1] = k
    elseif kind == "string" then
      t[k] = texts and texts[v] or v
    elseif kind ~= "number" and kind ~= "boolean" then
      t[k] = nil
      dropped = dropped + 1
      n = n - 1
    end
    n = n + 1
  end
  if odd then
    local moved = {}
    for _, k in ipairs(odd) do
      if type(k) == "string" then
        moved[k] = t[k]
      else
        dropped = dropped + 1
      end
      t[k] = nil
    end
    for _, k in ipairs(sorted_keys(moved)) do
      if t[names[k]] == nil then
        t[names[k]] = moved[k]
      else
        dropped = dropped + 1
      end
    end
    return dropped + clean_scalars(t, names, texts)
  end
  if n > M.max.scalars then
    local keys = sorted_keys(t)
    for i = M.max.scalars + 1, n do
      t[keys[i]] = nil
    end
    dropped = dropped + n - M.max.scalars
  end
  return dropped
end

-- Numbers, or short texts; anything else is NaN.
local function clean_list(list, texts)
  list = M.thin(list, M.max.points)
  local out = #list > 0 and list or {} -- an object is no list
  for i = 1, #list do
    local v = list[i]
    local kind = type(v)
    if kind == "string" and texts then
      out[i] = harmless(v, M.max.label)
    elseif kind ~= "number" then
      out[i] = specials.nan
    end
  end
  return out
end

local function clean_series(series, names)
  local out, dropped, n = {}, 0, 0
  for _, name in ipairs(sorted_keys(series)) do
    local list, to = series[name], names[name]
    if type(list) == "table" and out[to] == nil and n < M.max.series then
      out[to] = clean_list(list, true)
      n = n + 1
    else
      dropped = dropped + 1
    end
  end
  return out, dropped
end

-- ---- fields -----------------------------------------------------------------------------------------------------------

local function is_count(v)
  return math_type(v) == "integer" and v >= 0 and v
end

-- name -> what the value becomes, nil when it cannot be that.
local plain = {
  number = function(v)
    return math_type(v) == "integer" and v > 0 and v
  end,
  state = function(v)
    return M.states[v] ~= nil and v
  end,
  reason = function(v)
    return type(v) == "string" and harmless(v, M.max.label)
  end,
  message = function(v)
    return type(v) == "string" and harmless(v, M.max.message)
  end,
  key = function(v)
    return type(v) == "string" and harmless(v, M.max.name)
  end,
  value = function(v)
    return type(v) == "number" and v
  end,
  values = function(v)
    return type(v) == "table" and clean_list(v)
  end,
  cached = function(v)
    if v ~= true then
      return nil
    end
    return v
  end,
}
plain.step = plain.value
for _, name in ipairs { "attempts", "dropped", "memory_peak" } do
  plain[name] = is_count
end
for _, name in ipairs { "started", "ended", "wall_s", "cpu_s", "queue_s" } do
  plain[name] = plain.value
end

local texts = { reason = true, message = true, key = true }

-- Of a line, in this order; then tables, series last, as they are long.
local plain_order = {
  "number", "state", "reason", "attempts", "step", "key", "value", "message", "cached", "dropped", "started", "ended",
  "wall_s", "cpu_s", "queue_s", "memory_peak",
}
local groups = { "params", "metrics", "tags" }
local plain_keys, group_keys, scalars = {}, {}, {}
for i, name in ipairs(plain_order) do
  plain_keys[i] = '"' .. name .. '":'
end
for i, name in ipairs(groups) do
  group_keys[i] = ',"' .. name .. '":'
  scalars[name] = true
end

-- ---- lines ------------------------------------------------------------------------------------------------------------

---@class moonsand.sweep.Codec
local Codec = {}
Codec.__index = Codec

local function make_writer()
  local out, n = {}, 0
  local nonfinite = {} -- members, as text
  local orders, begins = {}, {} -- group -> the names of the last one, sorted, and '"name":': the next has the same
  local keys = cache(function(name)
    return quote(harmless(name, M.max.name)) .. ":"
  end)

  local function put(s)
    n = n + 1
    out[n] = s
  end

  local function put_number(group, name, v)
    if v - v == 0 then
      return put(digits(v))
    end
    local path = name and group .. "." .. harmless(name, M.max.name) or group
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
      names = sorted_keys(t)
      local begin = {}
      for i, name in ipairs(names) do
        begin[i] = keys[name]
      end
      orders[group], begins[group] = names, begin
    end
    return names, begins[group]
  end

  -- Parameters and tags are kept as they are.
  local function put_text(group, name, s)
    if group == "metrics" then
      put(quote(harmless(s, M.max.text)))
    elseif utf8.len(s) and #s <= M.max.param then
      put(quote(s))
    else
      error(("%s.%s is a text that is not UTF-8, or longer than %d bytes"):format(group, name, M.max.param), 0)
    end
  end

  local function put_scalars(group, t)
    local names, begin = order_of(group, t)
    local usual = json_scalars("{", t, names, begin, M.max.text)
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
    for i = 1, math.min(#list, M.max.points) do
      local v = list[i]
      if i > 1 then
        put ","
      end
      if type(v) == "number" and v == v then
        put_number(group, prefix .. i, v)
      else
        put(type(v) == "string" and quote(harmless(v, M.max.label)) or "null")
      end
    end
    put "]"
  end

  local function put_series(series)
    local before = "{"
    for i, name in ipairs(sorted_keys(series)) do
      if i <= M.max.series and type(series[name]) == "table" then
        put(before)
        put(keys[name])
        put_list("series", harmless(name, M.max.name) .. ".", M.thin(series[name], M.max.points))
        before = ","
      end
    end
    put(before == "{" and "{}" or "}")
  end

  -- Members that are no table, and raises for what no reader takes.
  local function put_plain(kind, from)
    local begin = '{"type":"' .. kind .. '",'
    for name, v in next, from do
      if texts[name] then
        if type(v) ~= "string" then
          error(("the %s's %s is a %s"):format(kind, name, type(v)), 0)
        end
      elseif plain[name] and plain[name](v) == false then
        error(("the %s's %s cannot be %s"):format(kind, name, tostring(v)), 0)
      end
    end
    local usual = json_scalars(begin, from, plain_order, plain_keys, M.max.label)
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
          put(texts[name] and quote(plain[name](v)) or '"' .. tostring(v) .. '"')
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

-- Strings and names harmless: a record of a kind that is not known.
local function tidy(v)
  local kind = type(v)
  if kind == "string" then
    return harmless(v, M.max.param)
  elseif kind == "table" then
    local out = {}
    for k, item in next, v do
      out[type(k) == "number" and k or harmless(k, M.max.name)] = tidy(item)
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
  return setmetatable({
    write = make_writer(),
    names = cache(function(name)
      return harmless(name, M.max.name)
    end),
    texts = cache(function(s) -- many are the same in all trials
      return harmless(s, M.max.text)
    end),
  }, Codec)
end

--- Makes what a program said of a trial fit to be shown and kept: the same table, and as it would come back out of a
--- journal. What is no scalar or too much is left out, and counted in trial.dropped.
---@param trial table
---@return table trial
function Codec:clean(trial)
  local dropped = 0
  if trial.metrics then
    dropped = clean_scalars(trial.metrics, self.names, self.texts)
  end
  if trial.series then
    local left
    trial.series, left = clean_series(trial.series, self.names)
    dropped = dropped + left
  end
  for name, make in next, plain do
    local v = trial[name]
    if v ~= nil and name ~= "number" and name ~= "state" then
      trial[name] = make(v) or nil
    end
  end
  for i, report in ipairs(trial.reports or {}) do
    if i > M.max.reports then
      trial.reports[i] = nil
    else
      dropped = dropped + clean_scalars(report.metrics, self.names, self.texts)
    end
  end
  if dropped > 0 then
    trial.dropped = (trial.dropped or 0) + dropped
  end
  return trial
end

--- The line for a trial as it is now, without its reports. Raises (no position) for a parameter or tag whose text JSON
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
function Codec:other(record)
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

--- What a line says that anybody may have written: record.type is "trial" (then the record is the trial, without
--- reports), "report", or something else. What is not known of those two is left out.
---@param record any as Journal:record() of the core gives it; changed
---@return table? record
---@return string? why "has no number": what is wrong with the line
---@return table? raw of a record of another type: as it was written, harmful texts included
function Codec:record(record)
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
      v = make(v)
      if v == false then
        return nil, ("has no %s that can be"):format(name)
      end
      record[name] = v
    elseif scalars[name] or name == "series" then
      if type(v) ~= "table" then
        return nil, ("has no %s that can be"):format(name)
      elseif name == "series" then
        record[name] = clean_series(v, self.names)
      else
        clean_scalars(v, self.names, name == "metrics" and self.texts)
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
