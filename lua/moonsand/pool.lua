--- A sandbox's pool: the containers that are kept ready for its runs.
local budget = require "moonsand.budget"
local errors = require "moonsand.errors"
local pool_options = require "moonsand.pool_options"
local sched = require "moonsand.sched"

local M = {}

---@class moonsand.PoolEvent
---@field type string "starting", "ready", "handed_out", "returned", "retired", "failed", "fell_back"
---@field container string? its name, when it has one
---@field reason string? of "retired": "used", "runs", "age", "key", "health", "oom" ..., as in stats().retired
---@field detail string? of "retired": what was found
---@field runs integer that it was handed out to so far
---@field duration_s number "ready": since starting; "handed_out": how long the run waited; "returned": since the run's
--- result; "retired": its age; else 0
---@field error moonsand.Error? of "failed" and "fell_back"
---@field missed integer? so many events before this one were lost, because nobody called the loop's step in time

---@class moonsand.Pool
local Pool = {}
Pool.__index = Pool
Pool.__name = "moonsand.Pool"

--- What on_pool raised comes out of the next call of the pool or the sandbox, once; until then it is not called
--- again. A pool that is closed before warns.
function Pool:_raise()
  local failure = self._failure
  if failure then
    self._failure = nil
    error(failure[1], 0)
  end
end

local function tell(self, event)
  if not self._on_pool or self._failure then
    return
  end
  local ok, err = pcall(self._on_pool, event)
  if not ok then
    if errors.is_interrupt(err) then
      error(err, 0)
    end
    self._failure = { err }
  end
end

--- Opens the gates of those that wait, when there is something to tell them.
local function open_gates(self)
  if not next(self._gates) then
    return
  end
  local closed, failure = self._closed or not self._raw:is_open(), self._start_failure
  local stats = not closed and self._raw:pool_stats()
  -- A container that is used once never comes back: only those that wait for a run count.
  local there = stats and stats.ready + (stats.mode == "fork" and stats.busy or 0)
  if closed or failure or self._failure or there >= stats.workers then
    for gate in pairs(self._gates) do
      gate.finished, gate.err = true, failure
      self._gates[gate] = nil
      sched.wake(gate)
    end
  end
end

local function look(self)
  while not self._closed and self._raw:is_open() do
    local event = self._raw:pool_event()
    if not event then
      break
    end
    if event.type == "failed" then
      self._start_failure = event.error
    elseif event.type == "ready" or event.type == "fell_back" then
      self._start_failure = nil
    end
    open_gates(self)
    tell(self, event)
  end
  open_gates(self)
end

function Pool:_news()
  if self._busy then
    self._again = true
    return
  end
  self._busy = true -- a callback that waits for something drives the loop again
  local ok, err
  repeat
    self._again = false
    ok, err = pcall(look, self)
  until not ok or not self._again
  self._busy = false
  if not ok then
    error(err, 0)
  end
end

--- Of a sandbox whose core object has just been made.
---@param raw moonsand.core.Sandbox
---@param engine moonsand.Engine
---@param want moonsand.Want
---@param on_pool function?
---@return moonsand.Pool
function M.new(raw, engine, want, on_pool)
  local self = setmetatable({ _raw = raw, _on_pool = on_pool, _gates = {} }, Pool)
  self._share = budget.join(engine:facts(), want, function(count)
    assert(raw:pool_resize(count)) -- fails for want of memory only, where Lua raises, too
  end, function()
    return raw:is_open()
  end)
  sched.register(raw, self)
  return self
end

--- Numbers, at this moment. mode: "container" or "fork", that of the runs ("container" when forks cannot be had:
--- fell_back is then true); tier: what keeps forks apart, "namespaces" or "landlock", else, and until the first is
--- ready, "none"; workers: how many there should be; ready, busy, starting: how many there are; retiring: how many of
--- the busy ones go after their run, because fewer are wanted; waiting: runs that wait for one; runs: how many were
--- handed out; failed: containers that could not be made ready; retired: reason -> how many; hand_out: how long runs
--- waited for a worker; refill: from a worker's start until it was ready. Both have count, since the sandbox was made,
--- and of the last 1024 p50_s, p99_s and max_s, in seconds.
--- Raises when the sandbox is closed, and what on_pool raised.
---@return table
function Pool:stats()
  self:_raise()
  return self._raw:pool_stats()
end

--- Waits until as many containers as are wanted are ready, in fork mode ready or busy with a run. When one cannot be
--- started: nil and why; the pool tries again by itself, at longer and longer intervals. That fork mode falls back to
--- container mode is no failure: it waits for those containers. After `seconds`: nil and an error with code "timeout".
--- Raises what on_pool raised.
---@param seconds number? nil: for ever
---@return boolean? ok, moonsand.Error? err
function Pool:wait_ready(seconds)
  self:_raise()
  local gate = { finished = false, _busy = self._busy }
  self._gates[gate] = true
  local _ <close> = setmetatable({}, { __close = function()
    self._gates[gate] = nil
  end })
  open_gates(self)
  if not sched.wait(gate, seconds) then
    return errors.fail("timeout", ("the pool's workers were not ready within %g s"):format(seconds))
  end
  self:_raise()
  if gate.err then
    return nil, gate.err
  elseif self._closed or not self._raw:is_open() then
    return errors.fail("closed", "the sandbox was closed")
  end
  return true
end

--- Another number of workers, or "auto". Those that are too many go when they have no run; new ones are started.
--- Raises when the sandbox is closed, and what on_pool raised. nil and an error with code "unsupported", and nothing
--- has changed, when so many do not fit four fifths of the machine's memory.
---@param workers integer|"auto"
---@return true? ok, moonsand.Error? err
function Pool:resize(workers)
  workers = pool_options.workers("workers", workers, 2)
  self:_raise()
  if not self._raw:is_open() then
    error("attempt to use a closed pool", 2)
  end
  if workers ~= "auto" then
    local ok, err = self._raw:pool_resize(workers)
    if not ok then
      return nil, err
    end
  end
  self._share:change(workers)
  open_gates(self)
  return true
end

--- The sandbox goes.
function Pool:_close()
  if self._closed then
    return
  end
  self._closed = true
  self._share:leave()
  open_gates(self)
  if self._failure then
    warn("moonsand: on_pool raised an error that nobody was told: ", tostring(self._failure[1]))
  end
end

function Pool:__tostring()
  return ("moonsand.Pool (%d workers)"):format(self._share.count)
end

return M
