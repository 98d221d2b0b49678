--- A sweep: trials drawn from a space, each of them a run in a sandbox, and the study of what came of it.
---
---     local sweep = moonsand.sweep {
---       script = "sma_cross.py", objective = "Sharpe Ratio", journal = "sma.jsonl",
---       space = { fast = moonsand.range(5, 30, 5), slow = moonsand.range(20, 100, 10) },
---       where = function(p) return p.fast < p.slow end,
---     }
---     local study = assert(sweep:run(box))
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local executors = require "moonsand.sweep.executor"
local givens = require "moonsand.sweep.given"
local json = require "moonsand.json"
local journals = require "moonsand.sweep.journal"
local key = require "moonsand.sweep.key"
local options = require "moonsand.options"
local plugins = require "moonsand.sweep.plugin"
local pruners = require "moonsand.sweep.pruner"
local records = require "moonsand.sweep.trial"
local runners = require "moonsand.sweep.runner"
local samplers = require "moonsand.sweep.sampler"
local studies = require "moonsand.study"

local M = {}

local default_jobs = 2

---@class moonsand.Sweep
local Sweep = {}
Sweep.__index = Sweep
Sweep.__name = "moonsand.Sweep"

local function make_sampler(self, level)
  local o = self._o
  local made = samplers.new(o.sampler, { -- no tail calls: the levels of errors count on it
    space = o.space, seed = o.seed, direction = o.goals[1].maximize and "maximize" or "minimize",
    max_trials = o.max_trials,
  }, self._registry:makers "sampler", level + 1)
  return made
end

local function make_pruner(self, level)
  local o = self._o
  local made = o.pruner ~= nil and pruners.new(o.pruner, {
    space = o.space, seed = o.seed, direction = o.goals[1].maximize and "maximize" or "minimize",
    max_trials = o.max_trials,
    objective = o.prune_by or o.goals[1].name or o.goals[1].f,
  }, self._registry:makers "pruner", level + 1)
  return made or nil
end

-- Both, for one run. Raises for misuse; nil, err when it was a plugin's doing.
local function make(self, level)
  local good, sampler, pruner = pcall(function()
    return make_sampler(self, level + 3), make_pruner(self, level + 3)
  end)
  if good then
    self._sampler, self._pruner = sampler, pruner
    return true
  elseif self._registry.broken and sampler == self._registry.broken then
    return nil, sampler
  end
  error(sampler, 0)
end

--- moonsand.sweep(options): describes a sweep; nothing runs yet. Raises for options that do not exist or make no sense.
---
--- script (a path) or code; space: { name = list, moonsand.range(...), ..., or a constant }; where: function(params) ->
--- boolean; constants; data: names of the box's data sets, which become the parameter "data".
--- objective: a metric's name (of nested objects "a.b"), function(metrics, trial) -> number, or a list { { name or
--- function, direction }, ... }; direction "maximize".
--- sampler: "grid", "random", "latin", "sobol", "tpe", { name =, ... } or a table with ask; pruner: "median",
--- "halving", { name =, by = metric of the reports, ... } or a table with report; seed 0.
--- jobs: trials at the same time (as many as the box has workers, else 2); timeout of each; args: words or
--- function(params) -> words; files, env, trust_key as in box:run.
--- retry: function(trial, result, err) -> true, false, seconds to wait, or nil for what plugins and the default say; or
--- how often a lost run and an engine's fault are tried again (2). halt: { failures = 10 or "3%" }; fail_fast; target;
--- max_trials; max_time.
--- journal: a path; resume: true, or "failed": only what failed; fsync "1s", "always", "never". cache: false: the same
--- parameters may run twice; paths: journals of other sweeps whose results are taken.
--- plugins: { "csv", { "retry", times = 2 } }; on_trial: function(trial), for each that has ended; keep = false: the
--- study holds no trials but the best, and one that is like an earlier one has no series and reports.
---@param given table
---@param level integer?
---@return moonsand.Sweep
function M.new(given, level)
  level = (level or 1) + 1
  local o = givens.check(given, level)
  local self = setmetatable({ _o = o, _registry = plugins.registry() }, Sweep)
  for _, entry in ipairs(o.plugins or {}) do
    self._registry:use(entry, level)
  end
  self._registry:used()
  -- What is wrong with them is said now, not when the sweep has begun.
  local ok, err = make(self, level)
  if not ok then
    error(err.message, level)
  end
  return self
end

local function is_executor(value)
  local kind = type(value)
  return (kind == "table" or kind == "userdata") and type(value.run) == "function"
end

local function check_data(o, box)
  if not o.data then
    return true
  end
  local has = {}
  for _, name in ipairs(box.data or {}) do
    has[name] = true
  end
  for _, name in ipairs(o.data) do
    if not has[name] then
      return errors.fail("not_found", ("the sandbox has no data set %s (it has %s); give it to engine:sandbox { data = "
        .. "{ ... } }"):format(options.show(name), next(has) and table.concat(box.data, ", ") or "none"),
        { op = "sweep" })
    end
  end
  return true
end

-- Who runs the trials, and what makes their results besides the parameters.
local function executor_of(o, box, level)
  local parts, what = {}, nil
  if o.script or o.code then
    local err
    what, err = executors.read(o, level + 1)
    if not what then
      return nil, err
    end
    parts = executors.parts(what)
  end
  local program = key.context(parts)
  if not executors.is_box(box) then
    parts[#parts + 1] = tostring(box.identity or "")
    return box, nil, program, key.context(parts)
  end
  if not what then
    error("moonsand.sweep: a sandbox runs a program: give script or code", level + 1)
  end
  local ok, err = check_data(o, box)
  if not ok then
    return nil, err
  end
  parts[#parts + 1] = box.image
  parts[#parts + 1] = box.data_hash or ""
  for _, name in ipairs { "language", "interpreter", "preload_script" } do
    parts[#parts + 1] = box.prepared[name] or ""
  end
  return executors.box(box, what, o), nil, program, key.context(parts)
end

-- The words that a program gets, as far as they can be compared: not those that a function makes.
local function words_of(o)
  return type(o.args) == "table" and json.array { table.unpack(o.args) } or o.args and "(function)" or nil
end

-- The journal of a sweep with another program, other words for it, or another space, data or objective, is another
-- sweep's.
local function signature(o, program, data_hash)
  local parts = { program, o.space:signature(), "data " .. (data_hash or "") }
  local words = words_of(o)
  parts[#parts + 1] = words and "args " .. json.encode(words) or nil
  for _, g in ipairs(o.goals) do
    parts[#parts + 1] = (g.maximize and "max " or "min ") .. (g.name or "(function)")
  end
  return key.context(parts)
end

local function objective_of(o)
  local list = {}
  for i, g in ipairs(o.goals) do
    list[i] = { g.name or "(function)", g.maximize and "maximize" or "minimize" }
  end
  return #list == 1 and list[1][1] or list, #list == 1 and list[1][2] or nil
end

local function engine_of(box)
  local facts = executors.is_box(box) and box.engine:facts()
  return facts and ("%s %s"):format(facts.kind, facts.engine_version) or nil
end

local function header_of(o, box, executor, program)
  local objective, direction = objective_of(o)
  return {
    signature = signature(o, program, box.data_hash), program = program, args = words_of(o),
    script = o.script or o.code and "(code)" or nil,
    objective = objective, direction = direction, params = o.space:describe(), started = os.time(), seed = o.seed,
    jobs = o.jobs or math.tointeger(executor.jobs) or default_jobs, title = o.title, data = o.data,
    data_hash = box.data_hash, image = type(box.image) == "string" and box.image or nil, engine = engine_of(box),
  }
end

-- However it ends.
local function closing(runner)
  return setmetatable({}, { __close = function()
    runner.over = true
    if runner.journal then
      runner.journal:close()
      runner.journal = nil
    end
  end })
end

local function take_up(self, runner, header)
  local was = runner.journal.header.image
  if was and header.image and was ~= header.image then
    self._warnings[#self._warnings + 1] = ("the trials before were run in the image %s, these in %s"):format(was,
      header.image)
  end
  -- Where nothing failed because nothing ran, all of it is to be run.
  runner:resume(runner.journal, self._o.resume == "failed" and runner.journal.resumed)
end

local function reason_of(runner)
  return runner.err and "error" or runner.stopping or runner.no_more
end

local function note_end(meta, runner)
  meta.stopped = reason_of(runner)
  meta.error = runner.err and tostring(runner.err.message) or nil
end

-- The sweep's own, and what plugins have said until now.
local function warnings_of(self)
  local out = { table.unpack(self._warnings) }
  for _, text in ipairs(self._registry:warnings()) do
    out[#out + 1] = text
  end
  return out
end

local function make_study(self, runner, header)
  local o = self._o
  local trials = {}
  if o.keep then
    for _, trial in pairs(runner.trials) do -- a journal may have left numbers out, and many of them
      trials[#trials + 1] = trial
    end
    table.sort(trials, function(a, b)
      return a.number < b.number
    end)
  else
    trials[1] = runner.best
  end
  local meta = {}
  for k, v in pairs(header) do
    meta[k] = v
  end
  meta.ended, meta.wall_s = os.time(), core.monotonic() - runner.began
  note_end(meta, runner)
  meta.journal, meta.kept = o.journal, o.keep
  -- `here` ended in this process, in wall_s; the others count what an earlier run left, too.
  meta.counts = { done = runner.done, here = runner.done - runner.done_before, complete = runner.complete,
    pruned = runner.pruned, failed = runner.failed, cached = runner.cached, failures = runner.failures }
  local study = studies.new {
    trials = trials, meta = meta, warnings = warnings_of(self), exporters = self._registry:writers(),
    failures = not o.keep and runner.failures or nil,
  }
  study.sections = self._registry:write_sections(study)
  self._registry:fire("end", study)
  study.warnings = warnings_of(self) -- what the last hooks said, too
  return study
end

-- The samplers that ask for no point twice. On a space without end, points of "sobol" and "latin" are the same where
-- the parameters that differ do not exist.
local function is_distinct(sampler, space)
  local name = sampler.name
  return not sampler.inner and (name == "grid" or name == "random" or name == "tpe" or space:size() ~= nil)
end

-- All that is needed to run the trials.
local function prepare(self, executor, header, context)
  local o = self._o
  if not self._sampler then -- it ran before: what that one was told is over
    self._registry:again()
    local ok, err = make(self, 3)
    if not ok then
      return nil, err
    end
  end
  header.sampler, header.pruner = self._sampler.name, self._pruner and self._pruner.name
  local runner = runners.new(o, {
    sampler = self._sampler, pruner = self._pruner, executor = executor, registry = self._registry, context = context,
    jobs = header.jobs, distinct = is_distinct(self._sampler, o.space),
  })
  self._sampler, self._pruner, self._warnings = nil, nil, {}
  if type(o.cache) == "table" then
    local ok, err = runner.cache:load(o.cache)
    if not ok then
      return nil, err
    end
  end
  if o.journal then
    -- A long journal of trials that are not kept is not kept either.
    local journal, err = journals.open(o.journal, {
      fsync = o.fsync, header = header, resume = o.resume, keep = o.keep, on_trial = not o.keep and function(trial)
        if trial.state ~= "failed" then -- which may run again
          runner:take_over(trial)
        end
      end or nil,
    })
    if not journal then
      return nil, err
    end
    runner.journal = journal
  end
  return runner
end

-- Says in the journal how it ended.
local function append_end(runner, stopped, warnings)
  if runner.journal then
    runner:append { type = "end", at = os.time(), stopped = stopped, done = runner.done,
      wall_s = core.monotonic() - runner.began, warnings = records.warnings(warnings) }
  end
end

-- What was written last must be on the disk, or it is an error.
local function close_journal(runner)
  local journal = runner.journal
  if journal then
    runner.journal = nil
    local ok, err = journal:close()
    if not ok and err then
      runner:fail(err)
    end
  end
end

-- The study; and in the journal how it ended, at once, and again when sections and the last hooks had more to say.
local function conclude(self, runner, header)
  local stopped, before = reason_of(runner), warnings_of(self)
  append_end(runner, stopped, before)
  local study = make_study(self, runner, header)
  if table.concat(study.warnings, "\n") ~= table.concat(before, "\n") then
    append_end(runner, stopped, study.warnings)
  end
  close_journal(runner)
  if runner.err then
    note_end(study.meta, runner)
  end
  return study
end

--- Runs it, and returns the study. box: a moonsand.Sandbox, or an executor (see moonsand.executors). Blocks while it
--- drives the loop; inside a task it yields.
---
--- Trials that fail are in the study. nil, err is for what kept the sweep from going on: the program cannot be read,
--- the journal is another sweep's (of another program, other args, data, space or objective) or cannot be written, the
--- engine is gone; what had been reached by then is the third value, and in the journal. Raises what a callback raised,
--- and "interrupted!" after Ctrl-C; the journal is good then.
--- study.warnings: lines of plugins and the like. study.meta.stopped: "exhausted" (all of the space), "max_trials",
--- "max_time", "target", "failures", "fail_fast", "stop", "cancel", "error", or what a plugin said.
--- study.meta.counts: done, complete, pruned, failed, cached, failures (by reason), of all trials; here: how many ended
--- in this call, which took meta.wall_s seconds.
---@param box moonsand.Sandbox|table
---@return moonsand.Study? study, moonsand.Error? err, moonsand.Study? so_far
function Sweep:run(box)
  if self._runner and not self._runner.over then
    error("this sweep is running already", 2)
  elseif not is_executor(box) then
    error(("sweep:run wants a sandbox or an executor, a table with run, got %s"):format(options.show(box)), 2)
  end
  local o = self._o
  local executor, err, program, context = executor_of(o, box, 2)
  if not executor then
    return nil, err
  end
  local header = header_of(o, box, executor, program)
  local runner
  runner, err = prepare(self, executor, header, context)
  if not runner then
    return nil, err
  end
  local _ <close> = closing(runner)
  self._runner = runner
  if o.resume then
    take_up(self, runner, header)
  end
  runner:run()
  local study = conclude(self, runner, header)
  err = runner.err or self._registry.failure
  if err then
    return nil, err, study
  end
  return study
end

--- No more trials are begun; those that run are finished, and run() returns. Safe at any time, from anywhere.
function Sweep:stop()
  if self._runner then
    self._runner:stop "stop"
  end
end

--- Kills the trials that run, too; resume runs them again.
function Sweep:cancel()
  if self._runner then
    self._runner:cancel()
  end
end

--- Where it is: total (when it is known), done, running, complete, failed, pruned, cached, best (a trial), rate
--- (trials a second), eta_s, elapsed_s, stopping (why, when it does). nil before run().
---@return table?
function Sweep:progress()
  return self._runner and self._runner:progress()
end

function Sweep:__tostring()
  local p = self:progress()
  return p and ("moonsand.Sweep (%d%s trials)"):format(p.done, p.total and " of " .. p.total or "")
    or "moonsand.Sweep (not begun)"
end

return M
