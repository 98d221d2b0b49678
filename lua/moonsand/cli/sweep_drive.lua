--- Runs a sweep while the terminal is told and Ctrl-C is listened to; and tries three trials for an estimate.
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local journals = require "moonsand.sweep.journal"
local moonsand = require "moonsand"
local plugins = require "moonsand.sweep.plugin"
local progress = require "moonsand.sweep.progress"
local samplers = require "moonsand.sweep.sampler"
local sched = require "moonsand.sched"

local M = {}

local tick = 0.2 -- seconds until a Ctrl-C that came between two waits is seen

local function step()
  local ok, err = sched.sleep_until_due(tick)
  if not ok and err.code ~= "interrupted" then
    error(err, 0)
  end
  ok, err = sched.step()
  if not ok then
    error(err, 0)
  end
end

--- Runs it to its end. The first Ctrl-C (or SIGTERM, or a terminal that goes away) lets what runs finish, the second
--- one kills it, a third one ends this process as it stands (see core.catch_signals).
---@param sweep table of moonsand.sweep
---@param where moonsand.Sandbox|table
---@param line moonsand.cli.Live
---@return table? study, moonsand.Error? err, integer signals how many came, table? so_far when there is an error
function M.run(sweep, where, line)
  core.catch_signals(true)
  local _ <close> = setmetatable({}, { __close = function()
    core.catch_signals(false)
  end })
  local task <close> = moonsand.spawn(sweep.run, sweep, where)
  local seen = 0
  while not task:done() do
    local count, name = core.caught_signals()
    if count > 0 and seen == 0 then
      sweep:stop()
      line:set_ending(name == "INT" and "ending; Ctrl-C once more kills what runs" or "ending")
    end
    if count > 1 and seen < 2 then
      sweep:cancel()
      line:set_ending "killed"
    end
    seen = math.max(seen, count)
    if not task:done() then
      step()
    end
  end
  local study, err, so_far = task:wait()
  return study, err, math.max(seen, (core.caught_signals())), so_far
end

---@class moonsand.cli.Estimate
---@field trials integer? that are to be run; nil: there is no end
---@field done integer that a resumed journal has already
---@field counted boolean false: trials is about right
---@field tried number[] seconds of each trial that was tried
---@field jobs integer
---@field seconds number? of all together

-- Of the journal that is gone on with: how many trials have ended, and how many of them failed and are to run again.
local function ended(given)
  if not given.resume or not core.stat(given.journal) then
    return nil
  end
  local journal, err = journals.load(given.journal, { series = false, reports = false })
  if not journal then
    error(err, 0)
  end
  local again, failed = journals.again(journal.trials, given.resume), 0
  for _, trial in ipairs(again) do
    failed = failed + (journal.failed[trial.number] and 1 or 0)
  end
  return #journal.trials - #again, failed
end

--- The trials that a sweep will run, without running any.
---@param given table options of moonsand.sweep
---@param space moonsand.Space
---@return integer? trials, boolean counted, integer done
function M.count(given, space)
  local sampler = type(given.sampler) == "table" and given.sampler or { name = given.sampler }
  local ours = sampler.name == nil and not sampler.ask
  for _, name in ipairs(samplers.names) do
    ours = ours or sampler.name == name and not sampler.ask
  end
  local trials, counted = given.max_trials, true
  if ours then
    trials, counted = progress.of(space, sampler.name == "latin" and sampler.points or nil, given.max_trials)
  end
  local done, failed = ended(given)
  if done and given.resume == "failed" then
    return failed, true, done
  end
  return trials and math.max(trials - (done or 0), 0), counted, done or 0
end

-- Plugins that give their samplers and pruners and nothing else: what they do on events is theirs to do with a sweep
-- that is meant, such as to begin a file anew.
local function silent(given)
  local function nothing() end
  local function host_of(host)
    local quiet = { on = nothing, policy = nothing, exporter = nothing, section = nothing }
    return setmetatable(quiet, { __index = function(_, name)
      local value = host[name]
      return type(value) == "function" and function(_, ...)
        return value(host, ...)
      end or value
    end })
  end
  local out = {}
  for i, entry in ipairs(given or {}) do
    local with = { entry }
    if type(entry) == "table" and entry.setup == nil then
      with = {}
      for k, v in pairs(entry) do
        with[k] = v
      end
    end
    local plugin = with[1]
    if type(plugin) == "string" then
      plugin = plugins.read(plugin, 0) or plugin
    end
    if type(plugin) == "table" and type(plugin.setup) == "function" then
      local copy = {}
      for k, v in pairs(plugin) do
        copy[k] = v
      end
      function copy.setup(host, opts)
        return plugin.setup(host_of(host), opts)
      end
      with[1] = copy
    end
    out[i] = with
  end
  return out
end

--- Runs three trials, for real, and leaves nothing of them. No plugin hears of it.
---@param given table options of moonsand.sweep
---@param box moonsand.Sandbox
---@param line_of fun(sweep: table): moonsand.cli.Live
---@return moonsand.cli.Estimate
function M.estimate(given, box, space, line_of)
  local few = {}
  for k, v in pairs(given) do
    few[k] = v
  end
  few.journal, few.resume, few.cache, few.plugins, few.on_trial, few.keep = nil, nil, nil, nil, nil, nil
  few.max_trials = math.min(3, given.max_trials or 3)
  local trials, counted, done = M.count(given, space)
  local began = core.monotonic()
  local good, sweep = pcall(moonsand.sweep, few)
  if errors.is_interrupt(sweep) then
    error(sweep, 0)
  elseif not good then -- one of the plugins has the sampler
    few.plugins = silent(given.plugins)
    sweep = moonsand.sweep(few)
  end
  local line <close> = line_of(sweep)
  local study, err, signals = M.run(sweep, box, line)
  if not study then
    error(err, 0)
  elseif signals > 0 then
    error(errors.new("interrupted", "interrupted"), 0)
  end
  local out = { trials = trials, counted = counted, done = done, tried = {}, failed = 0, jobs = box.jobs
    or box.pool and box.pool:stats().workers or 1 }
  local sum = 0
  for _, trial in ipairs(study:trials()) do
    out.tried[#out.tried + 1] = trial.wall_s or 0
    sum = sum + (trial.wall_s or 0)
    if trial.state == "failed" then
      out.failed, out.message = out.failed + 1, out.message or trial.message
    end
  end
  local n = #out.tried
  -- The programs' time, and what was spent around them.
  local around = n > 0 and math.max(core.monotonic() - began - sum / math.min(out.jobs, n), 0) / n or 0
  if n > 0 and trials then
    out.seconds = trials * (sum / n / out.jobs + around)
  end
  return out
end

return M
