--- Who runs a trial. An executor is a table that anybody can write:
---
---     { run = function(self, trial, hooks) -> moonsand.Result | nil, err, jobs = n?, close = function(self)?,
---       synchronous = true? (run never waits for anything: no tasks are made), identity = text? (of the image) }
---
--- hooks.report(step, metrics) says that the trial is to be ended; hooks.started(handle) makes known what has
--- handle:cancel(). A run that fails is a result; nil, err is for what kept it from running.
local errors = require "moonsand.errors"
local program = require "moonsand.program"

local M = {}

---@class moonsand.sweep.BoxExecutor
local Box = {}
Box.__index = Box

---@param box any
---@return boolean
function M.is_box(box)
  local meta = getmetatable(box)
  return type(meta) == "table" and meta.__name == "moonsand.Sandbox"
end

--- The program as it is now: what is edited, or removed, while the sweep goes on is for the next sweep.
---@param given table script or code, files, env
---@param level integer
---@return table? program argv, files by name; env as given
---@return moonsand.Error? err
function M.read(given, level)
  local built, err = program.build({
    script = given.script, code = given.code, language = given.language, files = given.files, env = given.env,
  }, nil, level + 1)
  if not built then
    return nil, err
  end
  local files = {}
  for _, file in ipairs(built.files) do
    files[file.path] = { data = file.data, mode = file.mode }
  end
  return { argv = built.argv, files = files, env = given.env }
end

--- What of a program makes its results: for the key.
---@param what table of M.read
---@return string[]
function M.parts(what)
  local parts = { table.concat(what.argv, "\0") }
  for _, part in ipairs { "files", "env" } do
    local names = {}
    for name in pairs(what[part] or {}) do
      names[#names + 1] = name
    end
    table.sort(names)
    parts[#parts + 1] = ("%d %s"):format(#names, part) -- or a file could stand for a variable
    for _, name in ipairs(names) do
      local value = what[part][name]
      parts[#parts + 1] = name
      if type(value) == "table" then
        parts[#parts + 1] = tostring(value.mode or "")
        value = value.data
      end
      parts[#parts + 1] = tostring(value)
    end
  end
  return parts
end

---@param box moonsand.Sandbox
---@param what table of M.read
---@param options { timeout: number?, trust_key: string? }
---@return moonsand.sweep.BoxExecutor
function M.box(box, what, options)
  local workers = box.pool and box.pool:stats().workers
  return setmetatable({ jobs = workers or 2, _box = box, _what = what, _options = options }, Box)
end

function Box:run(trial, hooks)
  local what, o = self._what, self._options
  local handle, err = self._box:start {
    argv = what.argv, files = what.files, env = what.env, args = trial.args, params = trial.params,
    timeout = o.timeout, trust_key = o.trust_key, on_report = function(report)
      local step = report.step
      report.step = nil
      return hooks.report(step, report) and "prune" or nil
    end,
  }
  if not handle then
    return nil, err
  end
  -- When the task is cancelled or Ctrl-C comes, the program must not go on.
  local _ <close> = handle
  hooks.started(handle)
  return handle:wait()
end

---@class moonsand.sweep.NoopExecutor
local Noop = {}
Noop.__index = Noop

--- Calls f(params, report, trial) in place of a program: for tests and benchmarks. f returns the metrics, and
--- optionally a table of what the result has besides (status = "lost"); or nil, err; what it raises is a program that
--- failed. report(step, metrics) returns true when f should end.
---@param given { f: function, jobs: integer? }
---@return table executor
function M.noop(given)
  if type(given) ~= "table" or type(given.f) ~= "function" then
    error("moonsand.executors.noop wants { f = function(params) -> metrics }", 2)
  end
  return setmetatable({ f = given.f, jobs = given.jobs or 1, synchronous = (given.jobs or 1) == 1 }, Noop)
end

function Noop:run(trial, hooks)
  local raised -- by the sweep's side of report(): not the program's doing
  local function report(...)
    local ok, prune = pcall(hooks.report, ...)
    if not ok then
      raised = { prune }
      error(prune, 0)
    end
    return prune
  end
  local ok, metrics, more = pcall(self.f, trial.params, report, trial)
  if raised then
    error(raised[1], 0)
  end
  if not ok then
    if errors.is_interrupt(metrics) then
      error(metrics, 0)
    end
    return { status = "exit", exit_code = 1, stderr = tostring(metrics) }
  elseif hooks.pruned then
    return { status = "cancelled" }
  elseif metrics == nil and type(more) == "table" and more.code then
    return nil, more
  end
  local result = { status = "ok", value = metrics }
  if more then
    for k, v in pairs(more) do
      result[k] = v
    end
  end
  return result
end

return M
