--- Writes each trial as a line of a CSV file when it has ended, to be looked at while the sweep goes on:
---
---     plugins = { { "csv", path = "trials.csv", metrics = { "Sharpe Ratio", "# Trades" } } }
---
--- Without `metrics`, the columns are those of the first complete trial; failed ones before it wait for it. Of several
--- objectives there are the columns values.1, values.2, ..., as in a study's CSV.
---
--- A file that is there is written anew. A sweep that is resumed begins it with what ended before, out of the journal,
--- so that it is as if nothing had come between; what failed and ran again has a line for each. A journal is never
--- overwritten. In a walk-forward each part has a file of its own (trials.1.csv, trials.1.test.csv, ...).
local cell = require("moonsand.study.csv").cell
local journals = require "moonsand.sweep.journal"

local before, after = { "number", "state", "reason", "attempts", "wall_s" }, { "message" }
local most_held = 1000

local function line(cells)
  return table.concat(cells, ",") .. "\n"
end

local function sorted(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function write(self, text)
  local ok, why = self.file:write(text)
  if not ok then
    error(("%s cannot be written: %s"):format(self.path, why), 0)
  end
end

local function row(self, trial)
  local cells = {}
  for i, name in ipairs(before) do
    cells[i] = cell(trial[name])
  end
  local values = trial.values or { trial.value }
  for i = 1, #self.values do
    cells[#cells + 1] = cell(values[i])
  end
  for _, name in ipairs(after) do
    cells[#cells + 1] = cell(trial[name])
  end
  for _, name in ipairs(self.params) do
    cells[#cells + 1] = cell(trial.params[name])
  end
  for _, name in ipairs(self.metrics) do
    cells[#cells + 1] = cell((trial.metrics or {})[name])
  end
  return line(cells)
end

local function begin(self, metrics)
  self.metrics = metrics
  local cells = {}
  for _, list in ipairs { before, self.values, after, self.params, metrics } do
    for _, name in ipairs(list) do
      cells[#cells + 1] = cell(name)
    end
  end
  write(self, line(cells))
  for _, trial in ipairs(self.held) do
    write(self, row(self, trial))
  end
  self.held = {}
end

local function take(self, trial)
  if not self.metrics and trial.state ~= "complete" and #self.held < most_held then
    self.held[#self.held + 1] = trial
    return
  elseif not self.metrics then
    begin(self, sorted(trial.metrics or {}))
  end
  write(self, row(self, trial))
end

local journal_begins = '{"type":"sweep"'

local function open(self, event)
  local there <close> = io.open(self.path, "r")
  if there and there:read(#journal_begins) == journal_begins then
    error(("%s is the journal of a sweep, which would be lost: give another path"):format(self.path), 0)
  end
  local file, why = io.open(self.path, "w")
  if not file then
    error(("%s cannot be written: %s"):format(self.path, why), 0)
  end
  file:setvbuf "line"
  self.file, self.params, self.held, self.metrics = file, event.params, {}, nil
  self.values = { "value" }
  if #event.objectives > 1 then
    for k in ipairs(event.objectives) do
      self.values[k] = "values." .. k
    end
  end
  if self.given then
    begin(self, self.given)
  end
  if event.resumed then
    local old, err = journals.load(event.journal, {
      series = false, reports = false, keep = false, on_trial = function(trial)
        take(self, trial)
      end,
    })
    if not old then
      error(("the trials before are missing in %s: %s"):format(self.path, err.message), 0)
    end
  end
end

local function close(self)
  if not self.metrics then
    begin(self, {})
  end
  local file = self.file
  self.file = nil
  local ok, why = file:close()
  if not ok then
    error(("%s cannot be written to its end: %s"):format(self.path, why), 0)
  end
end

return {
  api = 1,
  name = "csv",
  options = {
    path = { type = "string", required = true },
    metrics = "table",
  },
  setup = function(host, opts)
    local self = { path = opts.path, given = opts.metrics }
    host:on("run", function(event)
      if event.type == "begin" then
        open(self, event)
      end
    end)
    host:on("trial", function(trial)
      if self.file then -- else it has been said that it cannot be written
        take(self, trial)
      end
    end)
    host:on("end", function()
      if self.file then
        close(self)
      end
    end)
  end,
}
