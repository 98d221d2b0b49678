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
--- with by resume = true. Plugins are set up for each part anew; the file of one with an option `path` (csv) is the
--- part's own (wf.1.csv, wf.1.test.csv).
local core = require "moonsand.core"
local journals = require "moonsand.sweep.journal"
local json = require "moonsand.json"

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

local function beside(path, suffix)
  local stem, extension = path:match "^(.*)(%.[^./]*)$"
  return (stem or path) .. "." .. suffix .. (extension or "")
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
      own.path = beside(entry.path, suffix)
      out[i] = own
    end
  end
  return out
end

-- A resumed part in-sample may choose otherwise than before: its test is another sweep then, and has another journal.
local function test_journal(path, number, chosen)
  return beside(path, ("%d.test-%s"):format(number, core.sha256(json.encode(chosen)):sub(1, 8)))
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
  o.space[self.from], o.space[self.to] = window[part].from, window[part].to
  if chosen then
    o.where, o.sampler, o.pruner, o.max_trials, o.target = nil, nil, nil, nil, nil
    o.constants, o.data = nil, nil -- they are among what was chosen
  end
  local suffix = window.number .. (chosen and ".test" or "")
  if o.journal and chosen then
    o.journal = test_journal(o.journal, window.number, chosen)
    o.resume = test_resume(o.resume, o.journal)
  elseif o.journal then
    o.journal = beside(o.journal, suffix)
  end
  o.plugins = type(o.plugins) == "table" and plugins_of(o.plugins, suffix) or o.plugins
  o.title = nil
  return o
end

-- One list for all parts: numbered through, with the window they are of.
local function take_over(all, study, window, segment)
  local map = {}
  for _, trial in ipairs(study) do
    local copy, params = {}, {}
    for k, v in pairs(trial) do
      copy[k] = v
    end
    for k, v in pairs(trial.params) do
      params[k] = v
    end
    params.window, params.segment = window.number, segment
    copy.params, copy.number = params, #all + 1
    all[#all + 1], map[trial.number] = copy, copy.number
  end
  return map
end

local function bounds(part)
  return { from = part.first or part.from, to = part.last or part.to }
end

local function mean_of(list, name)
  local sum, n = 0, 0
  for _, w in ipairs(list) do
    if w[name] then
      sum, n = sum + w[name], n + 1
    end
  end
  return n > 0 and sum / n or nil
end

local segments = { train = "in-sample", test = "out-of-sample" }

-- The space of all parts together: the window's own parameters have as many values as there are windows.
local function describe(self)
  local values = { window = {}, segment = { segments.train, segments.test }, [self.from] = {}, [self.to] = {} }
  local seen = {}
  for _, trial in ipairs(self.all) do
    for _, name in ipairs { "window", self.from, self.to } do
      local value, list = trial.params[name], values[name]
      if not seen[name .. value] then
        seen[name .. value], list[#list + 1] = true, value
      end
    end
  end
  local params = {}
  for _, one in ipairs(self.meta.params or {}) do
    if not values[one.name] then
      params[#params + 1] = one
    end
  end
  for name, list in pairs(values) do
    params[#params + 1] = { name = name, kind = "list", values = list }
  end
  table.sort(params, function(x, y)
    return x.name < y.name
  end)
  return params
end

local function whole_study(self, err)
  local meta, base = self.meta, self.base
  meta.params, meta.started, meta.ended = describe(self), self.started, os.time()
  meta.stopped = err and "error" or self.stopped or "exhausted"
  meta.title, meta.journal = base.title, base.journal
  meta.wall_s, meta.counts = nil, nil
  local inside, outside = mean_of(self.list, "in_value"), mean_of(self.list, "out_value")
  meta.walkforward = {
    windows = self.list, objective = type(base.objective) == "string" and base.objective or "(function)",
    in_mean = inside, out_mean = outside, efficiency = inside and outside and inside ~= 0 and outside / inside or nil,
  }
  return require("moonsand.study").new { trials = self.all, meta = meta, warnings = self.warnings }
end

-- The sweep of one part of a window: its study, and where its trials are in the whole.
local function run_part(self, options, window, part)
  local segment = segments[part]
  local sweep = require("moonsand.sweep").new(options, self.level)
  if self.on_sweep then
    self.on_sweep(sweep, window, segment)
  end
  local study, err, so_far = sweep:run(self.box)
  local got = study or so_far
  if not got then
    return nil, err
  end
  if not next(self.meta) then
    for k, v in pairs(got.meta) do
      self.meta[k] = v
    end
  end
  for _, text in ipairs(got.warnings) do
    self.warnings[#self.warnings + 1] = ("window %d, %s: %s"):format(window.number, segment, text)
  end
  return study, err, take_over(self.all, got, window, segment)
end

-- These ends are a part's own. Any other one, that of a plugin's policy too, ends the walk.
local own_ends = { exhausted = true, max_trials = true, target = true }

local function ends_walk(study)
  local why = study.meta.stopped
  return not own_ends[why] and why or nil
end

local function choose(self, window, entry)
  local study, err, places = run_part(self, part_of(self, window, "train"), window, "train")
  if not study then
    return nil, err
  end
  self.stopped = ends_walk(study)
  local best = study:best()
  entry.trials = #study
  if best then
    entry.params, entry.in_value, entry.in_trial = {}, best.value, places[best.number]
    for name, value in pairs(best.params) do
      if name ~= self.from and name ~= self.to then
        entry.params[name] = value
      end
    end
  else
    entry.reason = "no trial in-sample has a value"
  end
  if self.stopped then
    entry.reason = "stopped before the end: " .. self.stopped
  end
  return true
end

local function try(self, window, entry)
  local options = part_of(self, window, "test", entry.params)
  local study, err, places = run_part(self, options, window, "test")
  if not study then
    return nil, err
  end
  local trial = study[1]
  if trial then
    entry.out_value, entry.out_trial, entry.metrics = trial.value, places[trial.number], trial.metrics
    entry.reason = trial.state ~= "complete" and (trial.message or trial.reason or trial.state) or nil
  end
  self.stopped = ends_walk(study)
  return true
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
    box = box, base = o.sweep, from = o.from or "from", to = o.to or "to", on_sweep = o.on_sweep, level = 4,
    all = {}, list = {}, meta = {}, warnings = {}, started = os.time(),
  }
  for _, window in ipairs(o.windows) do
    local entry = {
      number = window.number, in_sample = bounds(window.train), out_of_sample = bounds(window.test),
    }
    self.list[#self.list + 1] = entry
    local ok, err = choose(self, window, entry)
    if ok and entry.params and not self.stopped then
      ok, err = try(self, window, entry)
    end
    if not ok then
      entry.reason = entry.reason or tostring(err)
      return nil, err, whole_study(self, err)
    end
    if o.on_window then
      o.on_window(entry)
    end
    if self.stopped then
      break
    end
  end
  return whole_study(self)
end

return {
  api = 1,
  name = "walkforward",
  options = {},
  setup = function() end, -- its functions are what it has; reports show study.meta.walkforward by themselves
  windows = windows,
  run = run,
}
