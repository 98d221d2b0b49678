--- The journal of a sweep: a file of JSON lines that only grows. The first line says what sweep it is; each further one
--- is a change of a trial's state, with all that is known of the trial by then, or one of its intermediate reports, or
--- something else that happened. Whatever ends the process, what was appended before is there (sweep/line.lua has the
--- lines, core.journal the file).
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local lines = require "moonsand.sweep.line"
local opts = require "moonsand.options"
local same = require "moonsand.sweep.same"
local trials = require "moonsand.sweep.trial"

local M = {}

--- Of the lines' format, in the first one. Readers refuse a newer one.
M.version = 1

-- A record has at most so many bytes (MOONSAND_JOURNAL_LINE_MAX).
local max_line = 16 << 20

-- ---- putting records together ---------------------------------------------------------------------------------------

-- Takes records in the order of the file; known[number] is the trial as it is by then, or its line when it began and
-- nobody asked yet. With keep = false only those are known that are not complete and not pruned: what a resume may have
-- to run.
local function assembler(codec, options)
  local self = { known = {}, others = {}, last = 0, failed = {} }
  local keep, on_trial = options.keep ~= false, options.on_trial
  local with_series, with_reports = options.series ~= false, options.reports ~= false

  local function of_line(line)
    return assert(codec:record(core.json_value(line, lines.shape)))
  end

  local function known(number)
    local trial = self.known[number]
    if type(trial) == "string" then
      trial = of_line(trial)
      trial.type = nil
      self.known[number] = trial
    end
    return trial
  end

  local function report(record)
    local trial = known(record.number)
    if not trial or not with_reports or trial.attempts ~= record.attempts then
      return
    end
    local list = trial.reports
    if not list then
      list = {}
      trial.reports = list
    end
    if #list < trials.max.reports then
      list[#list + 1] = { step = record.step, metrics = record.metrics }
    end
  end

  function self.take(record)
    local kind = record.type
    if kind == "report" then
      return report(record)
    elseif kind ~= "trial" then
      self.others[#self.others + 1] = record
      return
    end
    local number, before = record.number, self.known[record.number]
    record.type = nil
    if not with_series then
      record.series = nil
    end
    if type(before) == "table" and before.attempts == record.attempts then
      record.reports = before.reports
    end
    if number > self.last then
      self.last = number
    end
    if on_trial and trials.is_finished(record) then
      on_trial(record)
    end
    local state = record.state
    -- An attempt that will be followed by another one is not written as failed: a trial that failed, and is running,
    -- was run again by a resume.
    if state == "failed" then
      self.failed[number] = true
    elseif self.failed[number] and trials.is_finished(record) then
      self.failed[number] = nil
    end
    if keep or state ~= "complete" and state ~= "pruned" then
      self.known[number] = record
    else
      self.known[number] = nil
    end
  end

  --- A trial that begins, and its line.
  function self.begin(number, line)
    local before = self.known[number]
    if type(before) == "table" and before.reports then
      return self.take(of_line(line))
    end
    self.known[number] = line
    if number > self.last then
      self.last = number
    end
  end

  --- A list in the order of numbers.
  function self.list()
    local list, n = {}, 0
    for number = 1, self.last do
      local trial = known(number)
      if trial == nil then
        break
      end
      list[number], n = trial, number
    end
    if n == self.last then
      return list
    end
    list = {}
    for number in pairs(self.known) do
      list[#list + 1] = known(number)
    end
    table.sort(list, function(a, b)
      return a.number < b.number
    end)
    return list
  end

  return self
end

-- ---- reading --------------------------------------------------------------------------------------------------------

-- The header as it stands there, and fit to be shown. `file` is at its beginning.
local function read_header(path, file, codec)
  local value, err = file:record()
  if value == nil and err then
    return nil, err
  elseif value == nil then
    return nil, errors.new("protocol", path .. " holds no record yet: no sweep has begun there"), true
  end
  local header, why, raw = codec:record(value)
  if not header then
    return file:damaged(why)
  elseif header.type ~= "sweep" then
    return file:damaged 'is no header of a sweep (its type is not "sweep")'
  elseif math.type(header.version) ~= "integer" or header.version < 1 then
    return file:damaged "has no version"
  elseif header.version > M.version then
    return errors.fail("unsupported", ("%s: a newer moonsand wrote it (format %d, and this one reads up to %d)"):format(
      path, header.version, M.version))
  end
  return header, raw
end

-- Every further record, until the end. true, or nil, err.
local function read_rest(file, codec, all)
  local begin, take = all.begin, all.take
  while true do
    local value, more = file:record(lines.shape)
    if type(more) == "string" then
      begin(value, more)
    elseif value == nil then
      return more == nil or nil, more
    else
      local record, why = codec:record(value, more)
      if not record then
        return file:damaged(why)
      end
      take(record)
    end
  end
end

-- Until it is closed, the collector comes when there is four times as much as it left, not twice: nearly all that is
-- read stays, so it would find little for its time.
local function patient()
  local before = collectgarbage("setpause", 400)
  return setmetatable({}, { __close = function()
    collectgarbage("setpause", before)
  end })
end

local load_schema = { series = opts.flag, reports = opts.flag, keep = opts.flag, on_trial = opts.func }

--- All of a journal, while a sweep may still be writing to it. A torn last line is not there.
---
--- options: series, reports = false leave those out. on_trial(trial) gets each finished trial as it comes, again when
--- it ran again; with keep = false besides, `trials` has only those that are neither complete nor pruned.
---@param path string
---@param options { series: boolean?, reports: boolean?, keep: boolean?, on_trial: fun(trial: table)? }?
---@return { header: table, trials: table[], others: table[], last: integer, failed: table, torn: integer }? journal in
--- the order of numbers; others: records of no trial; last: the highest number; failed: as Journal has it; torn: bytes
--- of a torn last line
---@return moonsand.Error? err code "protocol": damaged, the message names line, byte and the ways out
function M.load(path, options)
  opts.text("path", path, 2)
  options = opts.check("journal.load", options or {}, load_schema, 2)
  local file <close>, err = core.journal(path, { mode = "read" })
  if not file then
    return nil, err
  end
  local _ <close> = options.keep ~= false and patient() or nil
  local codec = lines.codec()
  local all = assembler(codec, options)
  local header, ok
  header, err = read_header(path, file, codec)
  if not header then
    return nil, err
  end
  ok, err = read_rest(file, codec, all)
  if not ok then
    return nil, err
  end
  return { header = header, trials = all.list(), others = all.others, last = all.last, failed = all.failed,
    torn = file:facts().torn }
end

--- How the last run of the sweep ended.
---@param journal { others: table[] } of load()
---@return { at: integer?, stopped: string?, warnings: string[] } empty when it has not ended, or not by itself
function M.ended(journal)
  local last = {}
  for _, record in ipairs(journal.others or {}) do
    if record.type == "end" then
      last = record
    elseif record.type == "resume" then
      last = {}
    end
  end
  return { at = last.at, stopped = last.stopped, warnings = trials.warnings(last.warnings) or {} }
end

-- ---- writing --------------------------------------------------------------------------------------------------------

---@class moonsand.sweep.Journal
---@field path string
---@field header table
---@field trials table[] what was there when it was resumed, in the order of numbers (see `keep`)
---@field others table[]
---@field last integer the highest number there
---@field failed table<integer, boolean> numbers of the trials that failed and have not ended otherwise since
---@field resumed boolean something was there
---@field torn integer bytes of a torn last line, cut off
local Journal = {}
Journal.__index = Journal

local function fsync(name, value, level)
  if value == "always" or value == "never" then
    return value
  end
  return opts.duration(name, value, level + 1)
end

local open_schema = {
  fsync = fsync,
  header = opts.table,
  resume = function(name, value, level)
    if value ~= "failed" then
      opts.flag(name, value, level + 1)
    end
    return value
  end,
  series = opts.flag,
  reports = opts.flag,
  keep = opts.flag,
  on_trial = opts.func,
}

-- A file whose only line is torn: of ours, or is it some other file that must not be cut?
local function is_torn_header(path)
  local f <close> = io.open(path, "rb")
  local wanted = '{"type":"sweep"'
  local bytes = f and f:read(#wanted)
  return bytes ~= nil and bytes == wanted:sub(1, #bytes)
end

-- Reads what is there. false: nothing; true: a sweep, the same; nil, err.
local function take_up(self, header, options)
  local all = assembler(self.codec, options)
  self.all = all
  local there, raw, empty = read_header(self.path, self.file, self.codec)
  local facts = self.file:facts()
  self.torn = facts.torn
  if empty then
    if facts.torn > 0 and not is_torn_header(self.path) then
      return errors.fail("protocol", self.path .. " is no journal; give another path, or move it away")
    end
    return false
  elseif not there then
    return nil, raw
  end
  local err = same.refusal(self.path, raw, json.decode(header))
  if err then
    return nil, err
  end
  local ok
  ok, err = read_rest(self.file, self.codec, all)
  if not ok then
    return nil, err
  end
  self.header = there
  self.torn = self.file:facts().torn
  return true
end

--- Begins a journal, or with `resume` goes on with one: reads it, cuts off a torn last line, and adds a record of type
--- "resume". To resume what is not there is to begin. Nobody else writes to it until it is closed.
---
--- options: header, whose `signature` must be equal to resume; fsync, "always", "never", or the time since the last one
--- after which a record is followed by one ("1s"); resume, true or "failed"; the others as for load().
---@param path string
---@param options table
---@return moonsand.sweep.Journal? journal to be closed
---@return moonsand.Error? err code "conflict": another process writes to it, it is another sweep's, or it is there and
--- resume was not asked for; "protocol": damaged
function M.open(path, options)
  opts.text("path", path, 2)
  options = opts.check("journal.open", options, open_schema, 2)
  if not options.header then
    error("journal.open wants a header", 2)
  end
  local resume = options.resume and true or false
  local file, err = core.journal(path, { mode = resume and "continue" or "create", sync = options.fsync })
  if not file then
    return nil, err
  end
  local self = setmetatable({ path = path, file = file, codec = lines.codec(), torn = 0 }, Journal)
  local header = { type = "sweep", version = M.version }
  for k, v in pairs(options.header) do
    if k ~= "type" and k ~= "version" then
      header[k] = v
    end
  end
  local line = self.codec:other(header)
  local found
  found, err = take_up(self, line, options)
  local ok = found ~= nil
  if found then
    ok, err = self:append { type = "resume", at = os.time(), failed = options.resume == "failed", torn = self.torn }
  elseif ok then
    self.header = self.codec:record(json.decode(line))
    ok, err = file:append(line)
  end
  if not ok then
    file:close()
    return nil, err
  end
  self.resumed = found
  self.trials, self.others, self.last = self.all.list(), self.all.others, self.all.last
  self.failed = self.all.failed
  self.all = nil
  return self
end

--- One record: a trial as it is now (type nil or "trial"), a report { type = "report", number, attempts, step,
--- metrics }, or any other table with a type. It is in the file when this returns. Raises for what is no record.
---@param record table
---@return boolean? ok
---@return moonsand.Error? err code "io", for instance of a full disk: then nothing of the record is in the file, and
--- the next one may succeed; only what could not be synced stays. "conflict": somebody else changed or removed the file
function Journal:append(record)
  local kind, line = record.type, nil
  if kind == nil or kind == "trial" then
    if math.type(record.number) ~= "integer" or not trials.states[record.state] or type(record.params) ~= "table" then
      error("a trial needs a number, a state and params", 2)
    end
    line = self.codec:trial(record)
    if #line > max_line then
      line = self.codec:trial(record, true)
    end
  elseif kind == "report" then
    line = self.codec:report(record)
  elseif type(kind) == "string" and kind ~= "sweep" then
    line = self.codec:other(record)
  else
    error("a record needs a type", 2)
  end
  return self.file:append(line)
end

--- Also __close, and when it is collected; safe twice.
---@return boolean? ok, moonsand.Error? err what was written last may not outlive a power failure
function Journal:close()
  return self.file:close()
end

Journal.__close = Journal.close

--- The trials of trials that have to run again after a resume: see again().
---@param mode boolean|"failed"
---@return table[]
function Journal:again(mode)
  return M.again(self.trials, mode)
end

-- What kept a trial from an end of its own.
local not_its_fault = { cancelled = true, lost = true, engine = true }

--- Which trials a resume has to run again, in the order of their numbers: those that were waiting or running when the
--- process died, as nobody knows what became of them, and those that ended for no fault of their own (reasons
--- "cancelled", "lost", "engine"). With mode "failed", all that failed besides.
---@param list table[]
---@param mode boolean|"failed"|nil
---@return table[]
function M.again(list, mode)
  local out = {}
  for _, trial in ipairs(list) do
    local failed = trial.state == "failed" and (mode == "failed" or not_its_fault[trial.reason])
    if failed or not trials.is_finished(trial) then
      out[#out + 1] = trial
    end
  end
  return out
end

return M
