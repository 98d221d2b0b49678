--- A walk-forward as one study: the trials of all its parts, numbered through, and what came of each window. The plugin
--- walkforward makes it while it runs, and M.load() makes it again of the journals.
---
--- The walk's own journal (wf.jsonl) has no trials: they are in the journals of the parts, beside it. It has in its
--- header walkforward = { from =, to = names of two parameters, windows = what was asked for }, and records
---     { type = "window", number, in_sample = { from, to }, out_of_sample = { from, to }, ended = true, chosen = number
---       of a trial in wf.NUMBER.jsonl, test = ID of wf.NUMBER.test-ID.jsonl, reason, params, in_value, out_value }
--- when a window begins for the first time, when the choice is made, and when it is done with; ended: nothing kept it
--- from its end. The last one of a window counts, and its params and values where the parts' journals are gone.
local core = require "moonsand.core"
local journals = require "moonsand.sweep.journal"
local json = require "moonsand.json"

local M = {}

--- What a trial's parameter "segment" says.
M.segments = { train = "in-sample", test = "out-of-sample" }

-- Of one walk: a journal that anybody may have written makes us look for so many files at most.
local most_windows = 10000

--- A path with a suffix before its extension: "wf.jsonl", "1" -> "wf.1.jsonl".
---@param path string
---@param suffix string|integer
---@return string
function M.beside(path, suffix)
  local stem, extension = path:match "^(.*)(%.[^./]*)$"
  return (stem or path) .. "." .. suffix .. (extension or "")
end

--- What stands for a choice in the name of its test's journal: another choice is another sweep, with another journal.
---@param params table<string, string|number|boolean>
---@return string
function M.id(params)
  return core.sha256(json.encode(params)):sub(1, 8)
end

--- Where the journal of a part is.
---@param path string the walk's own
---@param number integer of the window
---@param test string? of id(): the part out-of-sample
---@return string
function M.part(path, number, test)
  return M.beside(path, test and ("%d.test-%s"):format(number, test) or number)
end

---@class moonsand.study.Walk
---@field all table[] trials
---@field windows table[] what came of each: meta.walkforward.windows
---@field meta table of the first part
---@field warnings string[]
local Walk = {}
Walk.__index = Walk

---@param from string name of the parameter that has the first row
---@param to string name of the one that has the row behind the last
---@return moonsand.study.Walk
function M.new(from, to)
  return setmetatable({ from = from, to = to, all = {}, windows = {}, meta = {}, warnings = {} }, Walk)
end

---@param number integer
---@param in_sample { from: any, to: any }
---@param out_of_sample { from: any, to: any }
---@return table entry
function Walk:window(number, in_sample, out_of_sample)
  local entry = { number = number, in_sample = in_sample, out_of_sample = out_of_sample }
  self.windows[#self.windows + 1] = entry
  return entry
end

function Walk:warn(entry, part, text)
  self.warnings[#self.warnings + 1] = ("window %d, %s: %s"):format(entry.number, M.segments[part], text)
end

-- Numbered through, with the window they are of. Returns new numbers by old ones.
local function take_over(self, entry, part, trials)
  local map = {}
  for _, trial in ipairs(trials) do
    local copy, params = {}, {}
    for k, v in pairs(trial) do
      copy[k] = v
    end
    for k, v in pairs(trial.params) do
      params[k] = v
    end
    params.window, params.segment = entry.number, M.segments[part]
    copy.params, copy.number = params, #self.all + 1
    self.all[#self.all + 1], map[trial.number] = copy, copy.number
  end
  return map
end

--- The part in-sample.
---@param entry table of window()
---@param trials table[]
---@param best table? what was chosen of them
function Walk:trained(entry, trials, best)
  local map = take_over(self, entry, "train", trials)
  entry.trials = #trials
  if not best then
    return
  end
  entry.params, entry.in_value, entry.in_trial = {}, best.value, map[best.number]
  for name, value in pairs(best.params) do
    if name ~= self.from and name ~= self.to then
      entry.params[name] = value
    end
  end
end

--- The part out-of-sample.
---@param entry table of window()
---@param trials table[] one, or none
function Walk:tested(entry, trials)
  local map, trial = take_over(self, entry, "test", trials), trials[1]
  if trial then
    entry.out_value, entry.out_trial, entry.metrics = trial.value, map[trial.number], trial.metrics
    entry.reason = trial.state ~= "complete" and (trial.message or trial.reason or trial.state) or nil
  end
end

-- The space of all parts together: the window's own parameters have as many values as there are windows.
local function describe(self)
  local values = { window = {}, segment = { M.segments.train, M.segments.test }, [self.from] = {}, [self.to] = {} }
  local seen = {}
  for _, trial in ipairs(self.all) do
    for _, name in ipairs { "window", self.from, self.to } do
      local value, list = trial.params[name], values[name]
      local text = name .. tostring(value)
      if value ~= nil and not seen[text] then
        seen[text], list[#list + 1] = true, value
      end
    end
  end
  local params = {}
  for _, one in ipairs(type(self.meta.params) == "table" and self.meta.params or {}) do
    if type(one) == "table" and not values[one.name] then
      params[#params + 1] = one
    end
  end
  for name, list in pairs(values) do
    params[#params + 1] = { name = name, kind = "list", values = list }
  end
  table.sort(params, function(x, y)
    return tostring(x.name) < tostring(y.name)
  end)
  return params
end

local function mean_of(list, name)
  local sum, n = 0, 0
  for _, w in ipairs(list) do
    if type(w[name]) == "number" then
      sum, n = sum + w[name], n + 1
    end
  end
  return n > 0 and sum / n or nil
end

--- The meta of the whole: that of the first part, and what is known by now of the windows.
---@return table meta without started, ended, stopped, title and journal
function Walk:facts()
  local meta = {}
  for k, v in pairs(self.meta) do
    meta[k] = v
  end
  meta.params, meta.wall_s, meta.counts = describe(self), nil, nil
  local inside, outside = mean_of(self.windows, "in_value"), mean_of(self.windows, "out_value")
  meta.walkforward = {
    windows = self.windows, objective = type(meta.objective) == "string" and meta.objective or nil,
    in_mean = inside, out_mean = outside, efficiency = inside and outside and inside ~= 0 and outside / inside or nil,
  }
  return meta
end

local function is_number(n)
  return math.type(n) == "integer" and n > 0
end

-- The last record of each window, in the order of their numbers.
local function records_of(journal)
  local last, out = {}, {}
  for _, record in ipairs(journal.others) do
    if record.type == "window" and is_number(record.number) and record.number <= most_windows then
      last[record.number] = record
    end
  end
  for _, record in pairs(last) do
    out[#out + 1] = record
  end
  table.sort(out, function(a, b)
    return a.number < b.number
  end)
  return out
end

local function period(given)
  given = type(given) == "table" and given or {}
  return { from = given.from, to = given.to }
end

local scalar = { string = true, number = true, boolean = true }

-- What the record says that the parts' journals did not.
local function fill_in(entry, record)
  entry.reason = entry.reason or type(record.reason) == "string" and record.reason or nil
  for _, name in ipairs { "in_value", "out_value" } do
    entry[name] = entry[name] or type(record[name]) == "number" and record[name] or nil
  end
  if not entry.params and type(record.params) == "table" then
    entry.params = {}
    for name, value in pairs(record.params) do
      if type(name) == "string" and scalar[type(value)] then
        entry.params[name] = value
      end
    end
  end
end

-- What is not there yet of a part that may not have begun is nothing to warn of.
local function read_part(self, entry, part, path, wanted)
  local there, err = journals.load(path)
  if there then
    for _, warning in ipairs(journals.ended(there).warnings) do
      self:warn(entry, part, warning)
    end
    return there
  elseif wanted or err.code ~= "not_found" then
    self:warn(entry, part, tostring(err.message or err))
  end
  return nil
end

--- The study's parts, of a walk's own journal.
---@param path string
---@param journal table what journals.load() returned for it
---@return table[]? trials, table meta, string[] warnings nil when it is not that of a walk
function M.load(path, journal)
  local own = journal.header.walkforward
  if type(own) ~= "table" or type(own.from) ~= "string" or type(own.to) ~= "string" then
    return nil, journal.header, {}
  end
  local self = M.new(own.from, own.to)
  for _, record in ipairs(records_of(journal)) do
    local entry = self:window(record.number, period(record.in_sample), period(record.out_of_sample))
    local chosen = is_number(record.chosen) and record.chosen or nil
    local train = read_part(self, entry, "train", M.part(path, record.number), chosen or record.ended)
    if train then
      local best
      for _, trial in ipairs(train.trials) do
        best = best or trial.number == chosen and trial or nil
      end
      self:trained(entry, train.trials, best)
      if not next(self.meta) then
        self.meta = train.header
      end
    end
    local id = type(record.test) == "string" and record.test:match "^%x%x%x%x%x%x%x%x$"
    local test = id and read_part(self, entry, "test", M.part(path, record.number, id), record.ended)
    if test then
      self:tested(entry, test.trials)
    end
    fill_in(entry, record)
  end
  local meta = self:facts()
  for _, name in ipairs { "started", "ended", "stopped", "title" } do
    meta[name] = journal.header[name]
  end
  return self.all, meta, self.warnings
end

return M
