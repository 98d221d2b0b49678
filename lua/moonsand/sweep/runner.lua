--- The running of a sweep: asks the sampler, has each trial run, keeps what came of it, and knows when to end.
local attempt = require "moonsand.sweep.attempt"
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local key = require "moonsand.sweep.key"
local outcome = require "moonsand.sweep.outcome"
local policy = require "moonsand.sweep.policy"
local progress = require "moonsand.sweep.progress"
local records = require "moonsand.sweep.trial"
local sched = require "moonsand.sched"

local M = {}

-- A sampler that has nothing new to say so many times in a row has come to its end.
local most_repeated = 10000
-- Trials that are not kept are still remembered for a while: the same parameters are not run twice.
local remembered = 10000
-- Seconds after which a sweep that never waits lets the others of its loop go on.
local patience = 0.01
local stopped = {} -- raised to get out of a sampler that finds nothing

---@class moonsand.sweep.Runner
---@field stopping string? why it ends before what is there to be run has been run
---@field no_more string? why it asks for no more trials; some may have to be run again
---@field err moonsand.Error? what ended it
local Runner = {}
Runner.__index = Runner

--- o: options of moonsand.sweep, checked. parts: sampler, pruner, journal, executor, registry, context, distinct.
---@param o table
---@param parts table
---@return moonsand.sweep.Runner
function M.new(o, parts)
  local self = setmetatable({
    o = o, goals = o.goals, space = o.space,
    sampler = parts.sampler, pruner = parts.pruner, journal = parts.journal, executor = parts.executor,
    registry = parts.registry, context = parts.context, jobs = parts.jobs,
    trials = {}, asked = 0, pending = {}, first_pending = 1, last_pending = 0, known = {}, known_left = 0, repeated = 0,
    done = 0, complete = 0, failed = 0, pruned = 0, running = 0, cached = 0, done_before = 0, failures = {},
    best = nil, handles = {}, flying = {}, waits = {},
    gave_way = 0, began = core.monotonic(), epoch = os.time() - core.monotonic(),
  }, Runner)
  -- What never asks for the same twice needs no memory of it.
  if o.cache ~= false and (not parts.distinct or type(o.cache) == "table") then
    self.cache = key.cache(parts.distinct and 1 or not o.keep and remembered or nil)
  end
  self.deadline = o.max_time and self.began + o.max_time
  self.space.on_refused = function()
    self:give_way()
    if self.asking and self.stopping then
      error(stopped, 0)
    end
  end
  return self
end

--- No more trials are asked for; those that run are finished.
---@param why string
function Runner:stop(why)
  if not self.stopping then
    self.stopping = why
    if self.registry:has "run" then
      self.registry:fire("run", { type = "stopping", reason = why })
    end
    self:wake()
  end
end

--- Stops when its time is over.
---@return boolean over
function Runner:look_at_time()
  local over = self.deadline ~= nil and core.monotonic() >= self.deadline
  if over then
    self:stop "max_time"
  end
  return over
end

--- Ends the sweep with an error, once what runs has ended.
function Runner:fail(err)
  if not self.err then
    self.err = err
    self:stop "error"
  end
end

--- Lets others go on when that is due: who stops a sweep may be among them.
function Runner:give_way()
  local now = core.monotonic()
  if now - self.gave_way >= patience then
    self.gave_way = now
    sched.give_way()
    self:look_at_time()
  end
end

--- Those that wait before they try again need not wait any longer: they will not.
function Runner:wake()
  for gate in pairs(self.waits) do
    gate.finished = true
    sched.wake(gate)
  end
end

--- Kills what runs.
function Runner:cancel()
  self.cancelled = true
  self:stop "cancel"
  for _, handle in pairs(self.handles) do
    handle:cancel()
  end
end

--- Writes a record; when that fails, the sweep ends.
function Runner:append(record)
  if not self.journal then
    return
  end
  local ok, err = self.journal:append(record)
  if not ok then
    self:fail(errors.new(err.code or "io", ("the journal cannot be written, so the sweep ends: %s"):format(
      err.message or tostring(err)), { op = "sweep", cause = err }))
  end
end

local function better(self, trial)
  local best = self.best
  if #self.goals > 1 or not trial.value then
    return false
  elseif not best then
    return true
  elseif trial.value == best.value then
    return trial.number < best.number -- as study:best() has it
  elseif self.goals[1].maximize then
    return trial.value > best.value
  end
  return trial.value < best.value
end

local function count(self, trial)
  self.done = self.done + 1
  local state = trial.state
  self[state] = self[state] + 1
  if state == "failed" then
    local reason = trial.reason or "unknown"
    self.failures[reason] = (self.failures[reason] or 0) + 1
  elseif state == "complete" and better(self, trial) then
    self.best = trial
  end
  if trial.cached then
    self.cached = self.cached + 1
  end
end

local function tell(self, trial)
  local sampler, pruner = self.sampler, self.pruner
  if sampler.tell then
    sampler:tell(trial)
  end
  if pruner and pruner.tell then
    pruner:tell(trial)
  end
end

local function push(self, trial)
  self.last_pending = self.last_pending + 1
  self.pending[self.last_pending] = trial
end

local function pop(self)
  local trial = self.pending[self.first_pending]
  if trial then
    self.pending[self.first_pending] = nil
    self.first_pending = self.first_pending + 1
    if self.first_pending > self.last_pending then -- empty: the numbers begin anew
      self.pending, self.first_pending, self.last_pending = {}, 1, 0
    end
  end
  return trial
end

local function look_whether_to_end(self, trial)
  local why = policy.ended(self.o, trial, self.done - self.done_before, self.failed - self.failed_before)
  if not why then
    for _, entry in ipairs(self.registry.policies.halt) do
      local ok, said = self.registry:call(entry, "its policy 'halt'", trial, self:progress())
      why = why or ok and said and tostring(said) or nil
    end
  end
  if why then
    self:stop(why)
  end
end

local settle_twins

-- Everything that follows from a trial's end.
local function finish(self, trial)
  trial.args = nil
  self:append(trial)
  if self.cache then
    self.cache:put(trial)
  end
  count(self, trial)
  tell(self, trial)
  if self.registry:has "trial" then
    self.registry:fire("trial", trial)
  end
  if self.o.on_trial then
    self.o.on_trial(trial)
  end
  look_whether_to_end(self, trial)
  if self.registry.failure then -- of any plugin that is fatal, in all that has happened to the trial
    self:fail(self.registry.failure)
  end
  if self.cache then
    settle_twins(self, trial)
  end
end

-- The same content gives the same result; the objective may be another one than then.
local function take_from(self, trial, twin)
  trial.metrics, trial.series, trial.reports = twin.metrics, twin.series, twin.reports
  trial.wall_s, trial.cpu_s, trial.memory_peak = twin.wall_s, twin.cpu_s, twin.memory_peak
  trial.cached, trial.started = true, self.epoch + core.monotonic()
  if twin.state == "failed" then
    outcome.fail(trial, twin.reason, twin.message)
    return true
  elseif twin.state == "pruned" then
    trial.state = "pruned"
    return true
  end
  trial.state = "complete"
  if twin.brief then -- an objective may look at series, which it does not have
    trial.value, trial.values = twin.value, twin.values
    return true
  end
  return outcome.judge(trial, self.goals)
end

function settle_twins(self, trial)
  local twins = self.flying[trial.key]
  self.flying[trial.key] = nil
  if twins == true or not twins then
    return
  end
  local twin = self.cache:own(trial.key)
  for _, other in ipairs(twins) do
    if twin and take_from(self, other, twin) then
      finish(self, other)
    else
      push(self, other) -- what happened to the first says nothing about it
    end
  end
end

-- One at a time: a sampler that looks for a point may give way in the middle.
local function ask(self)
  local gate = { finished = false }
  self.asking = gate
  local ok, params = pcall(self.sampler.ask, self.sampler)
  self.asking, gate.finished = nil, true
  sched.wake(gate)
  if ok then
    return params
  elseif params == stopped then
    return nil
  elseif errors.is_interrupt(params) then
    error(params, 0)
  elseif type(params) == "table" and params.code then
    self:fail(params)
    return nil
  end
  error(("sampler '%s': %s"):format(tostring(self.sampler.name or "?"), tostring(params)), 0)
end

-- A point that is in the journal already was asked for in an earlier run of the sweep.
local function is_known(self, canonical)
  local n = self.known_left > 0 and self.known[canonical]
  if not n then
    return false
  end
  self.known[canonical] = n > 1 and n - 1 or nil
  self.known_left = self.known_left - 1
  return true
end

--- Fills in what is made of the parameters.
local function complete_trial(self, trial, canonical)
  local args = self.o.args
  if type(args) == "function" then
    args = args(trial.params)
    if args ~= nil and type(args) ~= "table" then
      error(("option 'args': the function returns a list of words, got a %s"):format(type(args)), 0)
    end
  end
  trial.args = args
  trial.key = key.of(self.context, canonical, args)
end

--- True when the trial needs no run of its own: it has ended, or will with the one that is like it.
local function is_twin(self, trial)
  local cache = self.cache
  if not cache then
    return false
  end
  local twin = cache:own(trial.key) or cache:earlier(trial.key)
  if twin and take_from(self, trial, twin) then
    finish(self, trial)
    return true
  elseif twin then
    trial.metrics, trial.series, trial.reports, trial.cached = nil, nil, nil, nil
    trial.state = "waiting"
  end
  local twins = self.flying[trial.key]
  if twins then
    twins = twins == true and {} or twins
    twins[#twins + 1] = trial
    self.flying[trial.key] = twins
    return true
  end
  self.flying[trial.key] = true
  return false
end

-- A new trial; false when it needs no run; nil when there is no further one.
local function draw(self)
  if self.asking then
    sched.wait(self.asking)
    return false
  elseif self.only_pending then
    self.no_more = "exhausted"
  elseif self.asked >= (self.o.max_trials or records.max.number) then
    self.no_more = "max_trials"
  end
  local params = not self.no_more and ask(self)
  if not params then
    self.no_more = self.no_more or "exhausted"
    return nil
  end
  local canonical = key.canonical(params)
  if is_known(self, canonical) then
    return false
  end
  self.asked = self.asked + 1
  local trial = { number = self.asked, params = params, state = "waiting", attempts = 0 }
  complete_trial(self, trial, canonical)
  if self.o.keep then
    self.trials[self.asked] = trial
  end
  if not is_twin(self, trial) then
    self.repeated = 0
    return trial
  end
  self.repeated = self.repeated + 1
  if self.repeated >= most_repeated then
    self.no_more = "exhausted"
  end
  return false
end

--- The next trial to be run; nil when there is none.
---@return table? trial
function Runner:next()
  while not self.stopping do
    if self:look_at_time() then
      return nil
    end
    local trial = pop(self)
    if trial then
      if not is_twin(self, trial) then -- those like it wait for what becomes of it
        return trial
      end
    elseif self.no_more then
      return nil
    else
      trial = draw(self)
      if trial then
        return trial
      end
      self:give_way()
    end
  end
  return nil
end

local function work(self)
  local hooks = attempt.hooks(self)
  for trial in self.next, self do
    if attempt.run(self, trial, hooks) then
      finish(self, trial)
    end
    self:give_way()
  end
end

-- So many at the same time; what one of them raises ends all and is raised here.
local function work_in_tasks(self)
  local gate, left = { finished = false }, self.jobs
  local failure
  local function guarded()
    local ok, err = pcall(work, self)
    left = left - 1
    if not ok and not failure then
      failure = { err }
    end
    if failure or left == 0 then
      gate.finished = true
      sched.wake(gate)
    end
  end
  local tasks <close> = setmetatable({}, { __close = function(self_)
    for _, task in ipairs(self_) do
      task:cancel()
      task._reported = true
    end
  end })
  for i = 1, self.jobs do
    if failure then
      break
    end
    tasks[i] = sched.spawn(guarded)
  end
  sched.wait(gate)
  if failure then
    error(failure[1], 0)
  end
end

-- It is known: the sampler will ask for it again.
local function remember(self, trial)
  local canonical = key.canonical(trial.params)
  self.known[canonical] = (self.known[canonical] or 0) + 1
  self.known_left = self.known_left + 1
  if self.o.keep then
    self.trials[trial.number] = trial
  end
  return canonical
end

--- A trial of an earlier run that will change no more.
function Runner:take_over(trial)
  remember(self, trial)
  if self.cache then
    self.cache:put(trial)
  end
  count(self, trial)
  tell(self, trial)
end

--- Goes on where an earlier run of the sweep was: takes over its trials (unless take_over() was called with them
--- already), and has those run that have not ended.
---@param journal moonsand.sweep.Journal
---@param only_failed boolean
function Runner:resume(journal, only_failed)
  local open = {}
  for _, trial in ipairs(journal:again(only_failed and "failed" or true)) do
    open[trial] = not only_failed or journal.failed[trial.number]
  end
  self.asked = journal.last
  for _, trial in ipairs(journal.trials) do
    if open[trial] then
      complete_trial(self, trial, remember(self, trial))
      trial.state, trial.attempts = "waiting", trial.attempts or 0
      push(self, trial)
    elseif records.is_finished(trial) then
      self:take_over(trial)
    else
      remember(self, trial)
    end
  end
  self.only_pending = only_failed
  self.done_before, self.failed_before = self.done, self.failed
  if only_failed then
    self.total_known = self.done + self.last_pending - self.first_pending + 1
  end
end

-- As a study has them.
local function objectives_of(goals)
  local out = {}
  for i, goal in ipairs(goals) do
    out[i] = { name = goal.name or "(function)", direction = goal.maximize and "maximize" or "minimize" }
  end
  return out
end

--- Until there is nothing more to do. Raises what a callback raised.
function Runner:run()
  self.failed_before = self.failed_before or 0
  self.registry:fire("run", {
    type = "begin", params = self.o.names, objectives = objectives_of(self.goals), total = self:total(),
    jobs = self.jobs,
    resumed = self.journal ~= nil and self.journal.resumed, journal = self.journal and self.journal.path,
  })
  if self.registry.failure then
    self:fail(self.registry.failure)
  end
  -- What an earlier run was looking for may be there already.
  if self.best and policy.ended(self.o, self.best, 0, 0) then
    self:stop "target"
  end
  if self.executor.synchronous then
    work(self)
  else
    work_in_tasks(self)
  end
  self.ended = core.monotonic()
end

Runner.total, Runner.progress = progress.total, progress.now

return M
