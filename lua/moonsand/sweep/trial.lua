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
--- JSON has no NaN, and cjson reads every number as a float. So a line has, where it matters, a second member:
---     "nonfinite": { "metrics.Sharpe Ratio": "nan", "series.equity.17": "-inf" }   beside null; null alone in a list
---                                                                                 is NaN
---     "exact": { "params.rate": "5.0", "params.seed": "9007199254740993" }         beside the nearest number
local json = require "moonsand.json"
local text = require "moonsand.text"
local cjson = require "cjson.safe"

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

local max_depth = 32
local null = json.null
local byte, find, format, floor = string.byte, string.find, string.format, math.floor
local tointeger, math_type = math.tointeger, math.type
local specials = { nan = -(0 / 0), inf = math.huge, ["-inf"] = -math.huge }
local exact_to = 1 << 53 -- beyond it a float is not every integer

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

-- Reads as the same number. Most that a program computes need all 17 digits; those that people write look ugly with
-- them. Not for NaN and infinities.
local function digits(n)
  if math_type(n) == "integer" then
    return format("%d", n)
  end
  if n * 1e6 % 1 == 0 then
    local short = format("%.14g", n)
    if tonumber(short) == n then
      return short
    end
  end
  return format("%.17g", n)
end

-- As digits(), and of the same type.
local function typed(n)
  local s = digits(n)
  if math_type(n) == "float" and not find(s, "[.e]") then
    s = s .. ".0"
  end
  return s
end

-- Does a reader of JSON numbers, who takes whole ones for integers, get another value? Or, of parameters, another type?
local function is_inexact(n, keep_types)
  if math_type(n) == "integer" then
    return n > exact_to or n < -exact_to
  end
  return keep_types
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

-- Scalars of harmless names and texts, in the same table; whole numbers as integers unless `keep_types`. How many were
-- left out is returned.
local function clean_scalars(t, names, max_text, keep_types)
  local n, odd = 0, nil
  for k, v in next, t do
    local kind = type(v)
    if type(k) ~= "string" or names[k] ~= k then
      odd = odd or {}
      odd[#odd + 1] = k
    elseif kind == "number" then
      if not keep_types then
        t[k] = tointeger(v) or v
      end
    elseif kind == "string" then
      t[k] = max_text and harmless(v, max_text) or v
    elseif kind ~= "boolean" then
      t[k] = nil
      n = n - 1
    end
    n = n + 1
  end
  local dropped = 0
  if odd then
    local moved = {}
    for _, k in ipairs(odd) do
      if type(k) == "string" then
        moved[k] = t[k]
      end
      t[k] = nil
    end
    n = n - #odd
    for _, k in ipairs(sorted_keys(moved)) do
      if t[names[k]] == nil then
        t[names[k]] = moved[k]
        n = n + 1
      else
        dropped = dropped + 1
      end
    end
    return dropped + clean_scalars(t, names, max_text, keep_types)
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
  local out = #list > 0 and list or {}
  for i = 1, #list do
    local v = list[i]
    local kind = type(v)
    if kind == "number" then
      out[i] = tointeger(v) or v
    elseif kind == "string" and texts then
      out[i] = harmless(v, M.max.label)
    else
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
  return type(v) == "number" and v >= 0 and v <= exact_to and tointeger(v)
end

-- name -> what the value becomes, nil when it cannot be that.
local plain = {
  number = function(v)
    local n = is_count(v)
    return n and n > 0 and n
  end,
  state = function(v)
    return M.states[v] and v
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
    return type(v) == "number" and (tointeger(v) or v)
  end,
  values = function(v)
    return type(v) == "table" and clean_list(v)
  end,
  cached = function(v)
    return v == true or nil
  end,
}
plain.step = plain.value
for _, name in ipairs { "attempts", "dropped", "memory_peak" } do
  plain[name] = is_count
end
for _, name in ipairs { "started", "ended", "wall_s", "cpu_s", "queue_s" } do
  plain[name] = plain.value
end

-- Of a line, in this order; series last, as they are long.
local order = {
  "number", "state", "reason", "attempts", "params", "key", "value", "values", "metrics", "tags", "message", "cached",
  "dropped", "started", "ended", "wall_s", "cpu_s", "queue_s", "memory_peak", "series",
}
local order_short = table.move(order, 1, #order - 1, 1, {})
local scalars = { metrics = M.max.text, params = false, tags = false } -- how long their texts may be

-- ---- lines ------------------------------------------------------------------------------------------------------------

---@class moonsand.sweep.Codec
local Codec = {}
Codec.__index = Codec

local function make_writer()
  local out, n = {}, 0
  local nonfinite, exact = {}, {} -- members, as text
  local orders = {} -- group -> the names of the last one, sorted: the next has the same
  local keys = cache(function(name)
    return quote(harmless(name, M.max.name)) .. ":"
  end)

  local function put(s)
    n = n + 1
    out[n] = s
  end

  local function put_number(path, v)
    if v - v ~= 0 then
      nonfinite[#nonfinite + 1] = quote(path) .. ':"' .. special(v) .. '"'
      return put "null"
    end
    put(digits(v))
  end

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
      orders[group] = names
    end
    return names
  end

  local function put_scalars(group, t)
    local keep_types = group ~= "metrics"
    local before = "{"
    for _, name in ipairs(order_of(group, t)) do
      local v = t[name]
      local kind = type(v)
      if kind == "number" or kind == "string" or kind == "boolean" then
        put(before)
        put(keys[name])
        before = ","
        if kind == "number" then
          if v - v ~= 0 then
            put_number(group .. "." .. harmless(name, M.max.name), v)
          else
            put(digits(v))
            if v % 1 == 0 and is_inexact(v, keep_types) then
              exact[#exact + 1] = quote(group .. "." .. harmless(name, M.max.name)) .. ':"' .. typed(v) .. '"'
            end
          end
        elseif kind == "string" then
          if keep_types then
            if not utf8.len(v) or #v > M.max.param then
              error(("%s.%s is a text that is not UTF-8, or longer than %d bytes"):format(group, name, M.max.param), 0)
            end
            put(quote(v))
          else
            put(quote(harmless(v, M.max.text)))
          end
        else
          put(v and "true" or "false")
        end
      end
    end
    put(before == "{" and "{}" or "}")
  end

  local function put_list(path, list)
    put "["
    for i = 1, math.min(#list, M.max.points) do
      local v = list[i]
      if i > 1 then
        put ","
      end
      if type(v) == "number" and v == v then
        put_number(path .. "." .. i, v)
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
        put_list("series." .. harmless(name, M.max.name), M.thin(series[name], M.max.points))
        before = ","
      end
    end
    put(before == "{" and "{}" or "}")
  end

  local function put_field(name, v)
    put(',"' .. name .. '":')
    local kind = type(v)
    if scalars[name] ~= nil then
      put_scalars(name, v)
    elseif name == "series" then
      put_series(v)
    elseif name == "values" then
      put_list(name, v)
    elseif kind == "number" then
      put_number(name, v)
    elseif kind == "string" then
      put(quote(plain[name](v)))
    else
      put(tostring(v))
    end
  end

  return function(kind, fields, from)
    n = 0
    nonfinite, exact = {}, {}
    put('{"type":"' .. kind .. '"')
    for i = 1, #fields do
      local v = from[fields[i]]
      if v ~= nil then
        put_field(fields[i], v)
      end
    end
    if #nonfinite > 0 then
      put(',"nonfinite":{' .. table.concat(nonfinite, ",") .. "}")
    end
    if #exact > 0 then
      put(',"exact":{' .. table.concat(exact, ",") .. "}")
    end
    put "}"
    return table.concat(out, "", 1, n)
  end
end

-- What nonfinite and exact say, put in its place. Only where a null, or a number, stands already.
local function restore(record, members, convert, instead)
  for path, said in next, members do
    local v = type(path) == "string" and type(said) == "string" and convert(said)
    local group, name = nil, nil
    if v then
      group, name = path:match "^(%l+)%.(.*)$"
    end
    local t = group and record[group]
    if v and not group and instead(record[path]) and plain[path] then
      record[path] = v
    elseif type(t) == "table" and scalars[group] ~= nil then
      if instead(t[name]) then
        t[name] = v
      end
    elseif type(t) == "table" then
      local index
      if group == "series" then
        name, index = name:match "^(.*)%.(%d+)$"
        t = t[name]
      else
        index = name:match "^%d+$"
      end
      index = index and #index < 10 and tonumber(index)
      if index and type(t) == "table" and instead(t[index]) then
        t[index] = v
      end
    end
  end
end

local function is_null(v)
  return v == null
end

local function is_number(v)
  return type(v) == "number"
end

local function exact_number(s)
  return #s <= 32 and find(s, "^%-?%d[%d.e+-]*$") and tonumber(s) or nil
end

-- Strings and names harmless, whole numbers as integers, no null but in lists: a record of a kind that is not known.
local function tidy(v)
  local kind = type(v)
  if kind == "number" then
    return tointeger(v) or v
  elseif kind == "string" then
    return harmless(v, M.max.param)
  elseif kind == "table" then
    local out = {}
    for k, item in next, v do
      if type(k) == "number" then
        out[k] = tidy(item)
      elseif item ~= null then
        out[harmless(k, M.max.name)] = tidy(item)
      end
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
  local decoder = cjson.new()
  decoder.decode_max_depth(max_depth)
  decoder.decode_invalid_numbers(false)
  return setmetatable({
    decode = decoder.decode,
    write = make_writer(),
    names = cache(function(name)
      return harmless(name, M.max.name)
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
    dropped = clean_scalars(trial.metrics, self.names, M.max.text)
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
      dropped = dropped + clean_scalars(report.metrics, self.names, M.max.text)
    end
  end
  if dropped > 0 then
    trial.dropped = (trial.dropped or 0) + dropped
  end
  return trial
end

--- The line for a trial as it is now, without its reports. Raises (no position) for a parameter or tag whose text JSON
--- cannot hold.
---@param trial table
---@param without_series boolean?
---@return string
function Codec:trial(trial, without_series)
  local series = not without_series and trial.series
  return self.write("trial", series and next(series) and order or order_short, trial)
end

local report_order = { "number", "attempts", "step", "metrics" }

--- The line for one intermediate report.
---@param report { number: integer, attempts: integer?, step: number, metrics: table<string, number> }
---@return string
function Codec:report(report)
  return self.write("report", report_order, report)
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

--- Reads a line that anybody may have written: record.type is "trial" (then the record is the trial, without reports),
--- "report", or something else. What is not known of is left out.
---@param line string valid UTF-8
---@return table? record
---@return string? why "is not JSON (...)": what is wrong with the line
---@return table? raw of a record that is neither trial nor report: as it was written, harmful texts included
function Codec:record(line)
  local record, why = self.decode(line)
  if record == nil then
    return nil, "is not JSON (" .. harmless(tostring(why), 200) .. ")"
  end
  local kind = type(record) == "table" and record.type
  if type(kind) ~= "string" then
    return nil, "is no record"
  end
  if kind ~= "trial" and kind ~= "report" then
    return tidy(record), nil, record
  end
  local nonfinite, exact = record.nonfinite, record.exact
  if type(nonfinite) == "table" then
    restore(record, nonfinite, function(word)
      return specials[word]
    end, is_null)
  end
  for name, v in next, record do
    local make = plain[name]
    if name == "type" then
      make = nil -- as it is
    elseif v == null then
      record[name] = nil
    elseif make then
      local made = make(v)
      if not made and v ~= false then
        return nil, ("has no %s that can be"):format(name)
      end
      record[name] = made or nil
    elseif scalars[name] ~= nil or name == "series" then
      if type(v) ~= "table" then
        return nil, ("has no %s that can be"):format(name)
      elseif name == "series" then
        record[name] = clean_series(v, self.names)
      else
        clean_scalars(v, self.names, scalars[name])
      end
    else
      record[name] = nil
    end
  end
  for _, name in ipairs(required[kind]) do
    if record[name] == nil then
      return nil, "has no " .. name
    end
  end
  if type(exact) == "table" then
    restore(record, exact, exact_number, is_number)
  end
  return record
end

return M
