--- A trial, and what of it is fit to be shown and kept.
---
--- A trial is a plain table:
---     number     integer, from 1 to max.number in the order of asking
---     state      "waiting", "running", "complete", "pruned" or "failed"
---     params     name -> string, integer, float or boolean; their types are kept exactly
---     key        text that stands for script, image, data and parameters
---     reason     of "failed": "error", "timeout", "oom", ...; message: one line about it, at most 500 bytes
---     value      the objective; values = { number, ... } of several
---     metrics    name -> number (NaN and infinities too), string or boolean
---     series     name -> list of numbers or short texts, at most 4096; of longer ones, see moonsand.sweep.curve
---     reports    { { step = number, metrics = { ... } }, ... }; in the journal each is a line of its own
---     attempts, dropped, memory_peak (integers), started, ended (seconds since the epoch), wall_s, cpu_s, queue_s,
---     cached (boolean)
---
--- Names, texts and numbers of metrics come out of a container, and lines of a journal from a file that anybody may
--- have written: in both directions texts are made harmless and everything is bounded.
local text = require "moonsand.text"

local M = {}

--- The largest that is kept.
M.max = {
  message = 500, -- bytes
  name = 200, -- bytes, of a metric, parameter or series
  text = 1000, -- bytes, of a metric's value that is a text
  param = 65536, -- bytes, of a parameter's value that is a text
  label = 64, -- bytes, of a text in a series
  scalars = 4096, -- metrics of a trial, or of a report
  series = 64,
  points = 4096, -- of one series
  reports = 10000, -- of a trial
  number = 1 << 40, -- of a trial; as Journal:record() of the core has them
  count = 1 << 53, -- attempts, bytes
  warnings = 100, -- of a sweep
  warning = 600, -- bytes
}

M.states = { waiting = true, running = true, complete = true, pruned = true, failed = true }

--- Will this trial change no more?
---@param trial table
---@return boolean
function M.is_finished(trial)
  local state = trial.state
  return state == "complete" or state == "failed" or state == "pruned"
end

local byte, find, floor = string.byte, string.find, math.floor
local type, math_type = type, math.type
local nan = -(0 / 0)

-- ---- texts ----------------------------------------------------------------------------------------------------------

--- One line of harmless text, at most `max` bytes with its "..."; the same again for what came out of it. What is plain
--- ASCII costs little.
---@param s string
---@param max integer
---@return string
function M.harmless(s, max)
  local size = #s
  if size <= max and not find(s, "[^\32-\126]") and not find(s, "  ", 1, true) and byte(s) ~= 32 and
    byte(s, size) ~= 32 then
    return s
  end
  local out = text.harmless(s, max)
  if #out > max then
    out = text.harmless(s, max - 3)
  end
  while true do
    local again = text.harmless(out, max)
    if again == out then
      return out
    end
    out = again
  end
end

local harmless = M.harmless

--- A table of texts that makes what is not in it, and forgets everything when that is too much: they come from outside.
---@param make fun(key: string): any
---@return table
function M.cache(make)
  local n = 0
  return setmetatable({}, {
    __index = function(self, key)
      if #key > 1000 then
        return make(key)
      elseif n >= 4096 then
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

--- What a journal keeps of a sweep's warnings, and a study takes from one: harmless lines, and not too many.
---@param list any
---@return string[]? nil when there are none
function M.warnings(list)
  local out = {}
  for i = 1, type(list) == "table" and #list or 0 do
    if #out == M.max.warnings then
      out[#out + 1] = "and more"
      break
    elseif type(list[i]) == "string" then
      out[#out + 1] = harmless(list[i], M.max.warning)
    end
  end
  return out[1] and out or nil
end

-- ---- tables ---------------------------------------------------------------------------------------------------------

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

--- Of the names that are texts.
---@param t table
---@return string[]
function M.sorted_keys(t)
  local list = {}
  for k in pairs(t) do
    if type(k) == "string" then
      list[#list + 1] = k
    end
  end
  table.sort(list)
  return list
end

-- See Cleaner:scalars.
local function clean_scalars(t, names, texts)
  local n, odd = 0, nil
  for k, v in next, t do
    local kind = type(v)
    if type(k) ~= "string" or names[k] ~= k then
      odd = odd or {}
      odd[#odd + 1] = k
    elseif kind == "string" then
      t[k] = texts and texts[v] or v
    elseif kind ~= "number" and kind ~= "boolean" then
      t[k] = nil
      n = n - 1
    end
    n = n + 1
  end
  if odd then
    local moved = {}
    for _, k in ipairs(odd) do
      if type(k) == "string" then
        moved[k] = t[k]
      end
      t[k] = nil
    end
    for _, k in ipairs(M.sorted_keys(moved)) do
      if t[names[k]] == nil then
        t[names[k]] = moved[k]
      end
    end
    return clean_scalars(t, names, texts)
  end
  if n > M.max.scalars then
    local keys = M.sorted_keys(t)
    for i = M.max.scalars + 1, n do
      t[keys[i]] = nil
    end
  end
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
      out[i] = nan
    end
  end
  return out
end

local function clean_series(series, names)
  local out, n = {}, 0
  for _, name in ipairs(M.sorted_keys(series)) do
    local list, to = series[name], names[name]
    if type(list) == "table" and out[to] == nil and n < M.max.series then
      out[to] = clean_list(list, true)
      n = n + 1
    end
  end
  return out
end

-- ---- members --------------------------------------------------------------------------------------------------------

--- Those of them that are integers from 0 to max.count.
M.counts = { attempts = true, dropped = true, memory_peak = true }

local function is_count(v)
  return math_type(v) == "integer" and v >= 0 and v <= M.max.count and v
end

-- name -> what the value becomes, false when it cannot be that.
local plain = {
  number = function(v)
    return math_type(v) == "integer" and v > 0 and v <= M.max.number and v
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
for name in next, M.counts do
  plain[name] = is_count
end
for _, name in ipairs { "started", "ended", "wall_s", "cpu_s", "queue_s" } do
  plain[name] = plain.value
end

M.plain = plain

--- Those of them that are texts.
M.texts = { reason = true, message = true, key = true }

--- Tables of scalars.
M.scalars = { params = true, metrics = true }

--- For the names and texts of one sweep after another: most are the same in all of its trials.
---@class moonsand.sweep.Cleaner
local Cleaner = {}
Cleaner.__index = Cleaner

---@return moonsand.sweep.Cleaner
function M.cleaner()
  return setmetatable({
    names = M.cache(function(name)
      return harmless(name, M.max.name)
    end),
    texts = M.cache(function(s)
      return harmless(s, M.max.text)
    end),
  }, Cleaner)
end

--- Scalars of harmless names, and harmless texts unless it is of those that are kept as they are, in the same table.
---@param t table
---@param as_they_are boolean?
function Cleaner:scalars(t, as_they_are)
  clean_scalars(t, self.names, not as_they_are and self.texts or nil)
end

---@param series table<string, any>
---@return table<string, any[]> series
function Cleaner:series(series)
  return clean_series(series, self.names)
end

return M
