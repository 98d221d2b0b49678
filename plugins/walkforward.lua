--- Walk-forward: in each window of the data the best parameters are chosen in-sample, and tried out-of-sample, on the
--- data that follows. What the choices earned there is what a strategy would have earned, had it been tuned like that.
---
---     local walkforward = moonsand.plugin "walkforward"
---     local windows = walkforward.windows { bars = 2148, train = 1000, test = 250 }       -- rolling
---     local windows = walkforward.windows { bars = 2148, train = 1000, test = 250, anchored = true }
---     local study = assert(walkforward.run(box, { windows = windows, sweep = {
---       script = "sma_cross.py", space = { ... }, objective = "Sharpe Ratio", journal = "wf.jsonl", resume = true,
---     } }))
---     study:report "wf.html"
---
--- The program gets two more parameters, from and to: its data is rows from .. to - 1, counted from 0, as Python's
--- data[from:to]. Each window's trials are a sweep with a journal of its own (wf.jsonl gives wf.1.jsonl,
--- wf.1.test-3f2a9c01.jsonl, wf.2.jsonl ...; the letters stand for what was chosen), so an interrupted walk is gone on
--- with by resume = true. wf.jsonl itself has the windows, and what was chosen in each: moonsand.study "wf.jsonl" and
--- `moonsand report wf.jsonl` read all of them together. Plugins are set up for each part anew; the file of one with an
--- option `path` (csv) is the part's own (wf.1.csv, wf.1.test.csv).
local core = require "moonsand.core"
local journals = require "moonsand.sweep.journal"
local json = require "moonsand.json"
local text = require "moonsand.text"
local walks = require "moonsand.study.walk"

local function whole(what, name, value, least)
  local n = math.tointeger(value)
  if not n or type(value) == "string" or n < least then
    error(("walkforward.%s: %s is a whole number of at least %d, got %s"):format(what, name, least, tostring(value)), 3)
  end
  return n
end

local window_options = {
  bars = true, train = true, test = true, step = true, gap = true, anchored = true, labels = true,
}

--- Windows over so many bars (rows of the data).
---
--- bars: how many there are; train, test: how many of them a window has for choosing, and for trying what was chosen;
--- step (test): how far the next window is; gap (0): bars between the two that belong to neither, so that what a trade
--- of the first knows does not reach into the second; anchored: each window begins at the first bar, so that the part
--- for choosing grows; labels: a list of texts or numbers, one a bar (dates), for reports. A last test that would be
--- cut short is left out. Raises when not even one window fits.
---@param o table
---@return { number: integer, train: { from: integer, to: integer }, test: { from: integer, to: integer } }[]
local function windows(o)
  if type(o) ~= "table" then
    error(("walkforward.windows wants a table of options, got %s"):format(type(o)), 2)
  end
  for name in pairs(o) do
    if not window_options[name] then
      error(("walkforward.windows has no option '%s' (it has anchored, bars, gap, labels, step, test, train)"):format(
        tostring(name)), 2)
    end
  end
  local bars = whole("windows", "bars", o.bars or o.labels and #o.labels, 2)
  local train, test = whole("windows", "train", o.train, 1), whole("windows", "test", o.test, 1)
  local step, gap = whole("windows", "step", o.step or test, 1), whole("windows", "gap", o.gap or 0, 0)
  if o.labels and #o.labels ~= bars then
    error(("walkforward.windows: there are %d labels for %d bars"):format(#o.labels, bars), 2)
  end
  local out, first = {}, 0
  while first + train + gap + test <= bars do
    local split = first + train
    local window = {
      number = #out + 1,
      train = { from = o.anchored and 0 or first, to = split },
      test = { from = split + gap, to = split + gap + test },
    }
    if o.labels then
      for _, part in ipairs { window.train, window.test } do
        part.first, part.last = o.labels[part.from + 1], o.labels[part.to]
      end
    end
    out[#out + 1] = window
    first = first + step
  end
  if #out == 0 then
    error(("walkforward.windows: %d bars are too few for one window of %d + %d + %d"):format(bars, train, gap, test), 2)
  end
  return out
end

-- One part's files are not the next one's.
local function plugins_of(list, suffix)
  local out = {}
  for i, entry in ipairs(list) do
    out[i] = entry
    if type(entry) == "table" and entry.setup == nil and type(entry.path) == "string" then
      local own = {}
      for k, v in pairs(entry) do
        own[k] = v
      end
      own.path = walks.beside(entry.path, suffix)
      out[i] = own
    end
  end
  return out
end

-- "failed" runs nothing new, and there is something new to run when the test has not begun.
local function test_resume(resume, path)
  if resume ~= "failed" then
    return resume
  end
  local there = journals.load(path, { series = false, reports = false })
  return there and there.last > 0 and "failed" or true
end

-- The options of the sweep for one part of a window. Out-of-sample there is one point: what was chosen.
local function part_of(self, window, part, chosen)
  local o = {}
  for k, v in pairs(self.base) do
    o[k] = v
  end
  o.space = {}
  for k, v in pairs(chosen or self.base.space or {}) do
    o.space[k] = v
  end
  o.space[self.walk.from], o.space[self.walk.to] = window[part].from, window[part].to
  if chosen then
    o.where, o.sampler, o.pruner, o.max_trials, o.target = nil, nil, nil, nil, nil
    o.constants, o.data = nil, nil -- they are among what was chosen
  end
  local suffix = window.number .. (chosen and ".test" or "")
  if o.journal and chosen then
    o.journal = walks.part(o.journal, window.number, walks.id(chosen))
    o.resume = test_resume(o.resume, o.journal)
  elseif o.journal then
    o.journal = walks.part(o.journal, window.number)
  end
  o.plugins = type(o.plugins) == "table" and plugins_of(o.plugins, suffix) or o.plugins
  o.title = nil
  return o
end

local function bounds(part)
  return { from = part.first or part.from, to = part.last or part.to }
end

-- ---- the walk's own journal -----------------------------------------------------------------------------------------

-- Walks over other windows are other walks. What else makes two of them different, the parts' journals know.
local function header_of(self)
  local list = {}
  for i, w in ipairs(self.asked) do
    list[i] = json.array { w.train.from, w.train.to, w.test.from, w.test.to }
  end
  local own = { from = self.walk.from, to = self.walk.to, windows = json.array(list) }
  return {
    walkforward = own, signature = core.sha256(json.encode(own)), started = self.started, title = self.base.title,
    script = self.base.script,
  }
end

local function open_journal(self)
  local journal, err = journals.open(self.base.journal, {
    header = header_of(self), resume = self.base.resume and true or false, fsync = self.base.fsync,
  })
  self.journal, self.written = journal, {}
  for _, record in ipairs(journal and journal.others or {}) do
    if record.type == "window" and record.number then
      self.written[record.number] = true -- counts until something better is known
    end
  end
  return journal ~= nil, err
end

local function label(value)
  return type(value) == "string" and text.harmless(value, 64) or value
end

local function write(self, entry, more)
  if not self.journal then
    return true
  end
  local record = {
    type = "window", number = entry.number, reason = entry.reason, params = entry.params, in_value = entry.in_value,
    out_value = entry.out_value,
  }
  for _, name in ipairs { "in_sample", "out_of_sample" } do
    record[name] = { from = label(entry[name].from), to = label(entry[name].to) }
  end
  for k, v in pairs(more) do
    record[k] = v
  end
  return self.journal:append(record)
end

-- Says how it ended. A journal that was begun for nothing would only be in the way of the next try.
local function close_journal(self, err)
  local journal = self.journal
  if not journal then
    return true
  end
  self.journal = nil
  if not self.begun and not journal.resumed then
    os.remove(journal.path) -- while nobody else can have begun to write to it
    journal:close()
    return true
  end
  local ok, why = journal:append {
    type = "end", at = os.time(), stopped = err and "error" or self.stopped or "exhausted", done = #self.walk.all,
  }
  local closed, bad = journal:close()
  return ok and closed, why or bad
end

-- ---- the walk -------------------------------------------------------------------------------------------------------

local function whole_study(self, err)
  local meta, base = self.walk:facts(), self.base
  meta.started, meta.ended, meta.stopped = self.started, os.time(), err and "error" or self.stopped or "exhausted"
  meta.title, meta.journal = base.title, base.journal
  return require("moonsand.study").new { trials = self.walk.all, meta = meta, warnings = self.walk.warnings }
end

-- The sweep of one part of a window: its study, or what there is of it besides the error.
local function run_part(self, options, entry, window, part)
  local sweep = require("moonsand.sweep").new(options, self.level)
  if self.base.journal and not self.journal then -- not before the options are known to be good
    local ok, err = open_journal(self)
    if not ok then
      return nil, err
    end
  end
  if part == "train" and self.journal and not self.written[entry.number] then
    local ok, err = write(self, entry, {})
    if not ok then
      return nil, err
    end
  end
  if self.on_sweep then
    self.on_sweep(sweep, window, walks.segments[part])
  end
  local study, err, so_far = sweep:run(self.box)
  local got = study or so_far
  if not got then
    return nil, err
  end
  self.begun = true
  if not next(self.walk.meta) then
    self.walk.meta = got.meta
  end
  for _, warning in ipairs(got.warnings) do
    self.walk:warn(entry, part, warning)
  end
  return study, err, got
end

-- These ends are a part's own. Any other one, that of a plugin's policy too, ends the walk.
local own_ends = { exhausted = true, max_trials = true, target = true }

local function ends_walk(study)
  local why = study.meta.stopped
  return not own_ends[why] and why or nil
end

local function choose(self, window, entry)
  local study, err, got = run_part(self, part_of(self, window, "train"), entry, window, "train")
  local best = study and study:best()
  if got then
    self.walk:trained(entry, got:trials(), best)
  end
  if not study then
    return nil, err
  end
  self.stopped = ends_walk(study)
  if self.stopped then
    entry.reason = "stopped before the end: " .. self.stopped
  elseif not best then
    entry.reason = "no trial in-sample has a value"
  end
  return best or false
end

local function try(self, window, entry)
  local study, err, got = run_part(self, part_of(self, window, "test", entry.params), entry, window, "test")
  if got then
    self.walk:tested(entry, got:trials())
  end
  if not study then
    return nil, err
  end
  self.stopped = ends_walk(study)
  return true
end

-- One window: true, or nil, err.
local function walk_on(self, window, entry)
  local best, err = choose(self, window, entry)
  if best == nil then
    return nil, err
  end
  local known, ok = {}, true
  if best then
    known.chosen, known.test = best.number, walks.id(entry.params)
  end
  if best and not self.stopped then
    ok, err = write(self, entry, known)
    if ok then
      ok, err = try(self, window, entry)
    end
  end
  if not ok then
    return nil, err
  end
  known.ended = not self.stopped or nil
  ok, err = write(self, entry, known)
  return ok, err
end

local run_options = { sweep = true, windows = true, from = true, to = true, on_window = true, on_sweep = true }

local function check_run(o)
  if type(o) ~= "table" or type(o.sweep) ~= "table" or type(o.windows) ~= "table" or not o.windows[1] then
    error("walkforward.run wants { sweep = options of moonsand.sweep, windows = walkforward.windows { ... } }", 3)
  end
  for name in pairs(o) do
    if not run_options[name] then
      error(("walkforward.run has no option '%s' (it has from, on_sweep, on_window, sweep, to, windows)"):format(
        tostring(name)), 3)
    end
  end
  if type(o.sweep.objective) == "table" then
    error("walkforward.run: a choice is by one objective", 3)
  elseif o.sweep.keep == false then
    error("walkforward.run: the trials must be kept to choose among them; leave keep = false away", 3)
  end
  for _, name in ipairs { o.from or "from", o.to or "to", "window", "segment" } do
    if (o.sweep.space or {})[name] ~= nil or (o.sweep.constants or {})[name] ~= nil then
      error(("walkforward.run: the space has a parameter '%s', too, which is the window's; from = and to = give those "
        .. "two other names"):format(name), 3)
    end
  end
end

--- Runs the sweep in-sample in each window, and what it chose out-of-sample; returns one study of all.
---
--- o.sweep: options of moonsand.sweep, with one objective; o.windows: of windows(); o.from, o.to: the names of the
--- two parameters ("from", "to"); o.on_sweep: function(sweep, window, segment), called with each sweep before it
--- runs, for its progress() and stop(); o.on_window: function(window), called with each entry of the list below when
--- it is complete. A window whose trials all fail has no choice, and the walk goes on. A sweep that is ended early
--- (sweep:stop, halt, fail_fast, max_time, a plugin's policy) ends the walk.
---
--- The study's trials have two more parameters: window (a number) and segment ("in-sample", "out-of-sample").
--- study.meta.walkforward = { windows = { { number, in_sample = { from, to }, out_of_sample = { from, to }, params =
--- what was chosen, in_value, out_value, in_trial, out_trial = numbers of trials, trials = how many were looked at,
--- metrics = of the one out-of-sample, reason } }, objective, in_mean, out_mean, efficiency = out_mean / in_mean }.
---@param box moonsand.Sandbox|table
---@param o table
---@return moonsand.Study? study, moonsand.Error? err, moonsand.Study? so_far
local function run(box, o)
  check_run(o)
  local self = {
    box = box, base = o.sweep, asked = o.windows, walk = walks.new(o.from or "from", o.to or "to"),
    on_sweep = o.on_sweep, level = 5, started = os.time(),
  }
  -- After an error of the caller's, or Ctrl-C, nobody says how it ended.
  local _ <close> = setmetatable({}, { __close = function()
    if self.journal then
      self.journal:close()
    end
  end })
  local err
  for _, window in ipairs(o.windows) do
    local entry = self.walk:window(window.number, bounds(window.train), bounds(window.test))
    err = select(2, walk_on(self, window, entry))
    if err then
      entry.reason = entry.reason or tostring(err)
      break
    end
    if o.on_window then
      o.on_window(entry)
    end
    if self.stopped then
      break
    end
  end
  local closed, why = close_journal(self, err)
  err = err or not closed and why or nil
  local study = whole_study(self, err)
  if err then
    return nil, err, study
  end
  return study
end

return {
  api = 1,
  name = "walkforward",
  options = {},
  setup = function() end, -- its functions are what it has; reports show study.meta.walkforward by themselves
  windows = windows,
  run = run,
}
