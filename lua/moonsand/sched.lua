--- One loop per Lua state, and coroutines on top of it.
---
--- A handle is a table with `finished` (boolean) and `_news()` (called when its core object has news).
--- Whoever waits for it is either one of our tasks, which yields, or anybody else, who then drives the
--- loop. Nothing here prints, and no error is swallowed: a task's error comes out of task:wait().
local core = require "moonsand.core"
local errors = require "moonsand.errors"

local M = {}

local loop
local wrappers = setmetatable({}, { __mode = "kv" }) -- core object -> handle
local tasks = setmetatable({}, { __mode = "k" }) -- coroutine -> task
local waiting = setmetatable({}, { __mode = "k" }) -- handle -> list of tasks
local timers = {} -- list of { due, f }
local ready, live = {}, {} -- tasks to be resumed; tasks that have not ended
local news = {} -- handles that have some and were not told
local depth = 0 -- of drives inside each other

--- The loop, made when it is first needed.
---@return moonsand.core.Loop
function M.loop()
  if not loop then
    loop = assert(core.loop())
  end
  return loop
end

--- News of `raw` go to `handle` from now on. Keeps neither alive.
function M.register(raw, handle)
  wrappers[raw] = handle
end

--- Calls f once, `seconds` from now, from a step.
---@return table timer for M.forget
function M.later(seconds, f)
  local timer = { due = core.monotonic() + seconds, f = f }
  timers[#timers + 1] = timer
  return timer
end

--- The timer will not fire.
function M.forget(timer)
  for i, t in ipairs(timers) do
    if t == timer then
      timers[i] = timers[#timers]
      timers[#timers] = nil
      return
    end
  end
end

--- Wakes the tasks that wait for the handle.
function M.wake(handle)
  local list = waiting[handle]
  waiting[handle] = nil
  for _, task in ipairs(list or {}) do
    if task._waits_for == handle then
      task._waits_for = nil
      ready[#ready + 1] = task
    end
  end
end

local function finish(task, ok, ...)
  task.finished, task._ok = true, ok
  task._values = table.pack(...)
  live[task] = nil
  M.wake(task)
end

local function resume(task)
  if task.finished then
    return
  end
  local co = task._co
  local values = table.pack(coroutine.resume(co))
  if coroutine.status(co) == "dead" then
    if not values[1] then
      task.traceback = debug.traceback(co)
      coroutine.close(co)
    end
    finish(task, table.unpack(values, 1, values.n))
  elseif not task._waits_for then
    ready[#ready + 1] = task -- somebody else's yield: the next round
  end
end

-- What is told, fired or resumed may drive the loop again, and wait for what comes after it here. So
-- each is taken off its list by itself, and what is still on the lists is seen by the inner drive.

local function tell_news()
  while #news > 0 do
    local handle = table.remove(news, 1)
    local ok, err = pcall(handle._news, handle)
    if not ok then
      table.insert(news, 1, handle) -- Ctrl-C came in between: it was not told
      error(err, 0)
    end
  end
end

local function next_due(now)
  for i, timer in ipairs(timers) do
    if timer.due <= now then
      timers[i] = timers[#timers]
      timers[#timers] = nil
      return timer
    end
  end
end

local function fire_timers()
  local now = core.monotonic()
  for timer in next_due, now do
    timer.f()
  end
end

--- Those that were ready when this began: the others are for the next step.
local function run_ready()
  for _ = 1, #ready do
    local task = table.remove(ready, 1)
    if task then
      resume(task)
    end
  end
end

--- Seconds until something of ours is due, nil when nothing is.
---@return number?
function M.timeout()
  if #ready > 0 or #news > 0 then
    return 0
  end
  local least = M.loop():timeout()
  if #timers > 0 then
    local now = core.monotonic()
    for _, timer in ipairs(timers) do
      local left = math.max(timer.due - now, 0)
      if not least or left < least then
        least = left
      end
    end
  end
  return least
end

--- Does what is ready: the core's work, callbacks, timers, tasks. Never blocks.
---@return boolean? ok, moonsand.Error? err
function M.step()
  local handles, err = M.loop():step()
  if not handles then
    return nil, err
  end
  for _, raw in ipairs(handles) do
    news[#news + 1] = wrappers[raw]
  end
  tell_news()
  fire_timers()
  run_ready()
  return true
end

--- Sleeps until there is something to do, at most `seconds`. Then call step().
---@param seconds number?
---@return boolean? ok, moonsand.Error? err
function M.sleep_until_due(seconds)
  local least = M.timeout()
  if seconds and (not least or seconds < least) then
    least = seconds
  end
  return M.loop():wait(least and math.max(least, 0))
end

local function drive(handle, due)
  while not handle.finished do
    local left = due and due - core.monotonic()
    if left and left <= 0 then
      return false
    end
    local ok, err = M.sleep_until_due(left)
    if not ok then
      error(err.code == "interrupted" and "interrupted!" or err, 0)
    end
    ok, err = M.step()
    if not ok then
      error(err, 0)
    end
  end
  return true
end

local function cancel_all(handle)
  if handle.cancel then
    pcall(handle.cancel, handle)
  end
  for task in pairs(live) do
    pcall(task.cancel, task)
  end
end

local function block(handle, due)
  if handle.finished then
    return true
  elseif handle._busy then
    error("nothing can be waited for in its own callback; start a task there (moonsand.spawn)", 0)
  end
  depth = depth + 1
  local ok, value = pcall(drive, handle, due)
  depth = depth - 1
  if not ok then
    if depth == 0 and errors.is_interrupt(value) then
      cancel_all(handle)
    end
    error(value, 0)
  end
  return value
end

-- Who polls a handle with a time limit would else stand on its list once for each time.
local function leave(list, task)
  for i = #list, 1, -1 do
    if list[i] == task then
      table.remove(list, i)
      return
    end
  end
end

--- Waits until handle.finished, or until `seconds` have passed. Inside a task this yields; elsewhere it
--- drives the loop. Raises "interrupted!" after Ctrl-C, when all that runs has been cancelled.
---@param handle table
---@param seconds number? nil: for ever
---@return boolean finished
function M.wait(handle, seconds)
  local due = seconds and core.monotonic() + seconds
  local task = tasks[coroutine.running()]
  if not task then
    return block(handle, due)
  end
  while not handle.finished do
    local left = due and due - core.monotonic()
    if left and left <= 0 then
      return false
    end
    local list = waiting[handle] or {}
    waiting[handle] = list
    list[#list + 1] = task
    task._waits_for = handle
    local timer = left and M.later(left, function()
      if task._waits_for == handle then
        task._waits_for = nil
        ready[#ready + 1] = task
      end
    end)
    coroutine.yield()
    if timer then
      M.forget(timer)
      leave(list, task)
    end
  end
  return true
end

--- Lets all others go on, in the middle of long work: yields once in a task, elsewhere does one step.
function M.breathe()
  if tasks[coroutine.running()] then
    coroutine.yield()
    return
  end
  local ok, err = M.step()
  if not ok then
    error(err, 0)
  end
end

--- The same in a task, as far as it can yield there; elsewhere nothing, since whoever is in no task has given the loop
--- no turn to lose.
function M.give_way()
  if tasks[coroutine.running()] and coroutine.isyieldable() then
    coroutine.yield()
  end
end

--- Sleeps; other tasks go on.
---@param seconds number
function M.sleep(seconds)
  M.wait({ finished = false }, seconds)
end

---@class moonsand.Task
---@field finished boolean
---@field traceback string? of its error
local Task = {}
Task.__index = Task
Task.__name = "moonsand.Task"

--- Waits for the end. Returns what the function returned, and raises what it raised.
--- After `seconds`: nil and an error with code "timeout"; the task goes on.
---@param seconds number? nil: for ever
function Task:wait(seconds)
  if tasks[coroutine.running()] == self then
    error("a task cannot wait for itself", 2)
  end
  if not M.wait(self, seconds) then
    return errors.fail("timeout", ("the task has not ended within %g s"):format(seconds))
  end
  self._reported = true
  if not self._ok then
    error(self._values[1], 0)
  end
  return table.unpack(self._values, 1, self._values.n)
end

---@return boolean
function Task:done()
  return self.finished
end

--- Ends it where it waits; variables with `<close>` are closed. wait() raises an error "cancelled".
function Task:cancel()
  if self.finished or coroutine.status(self._co) ~= "suspended" then
    return
  end
  self._waits_for = nil
  local _, err = coroutine.close(self._co)
  finish(self, false, err or errors.new("cancelled", "the task was cancelled"))
end

Task.__close = Task.cancel

--- An error that nobody asked for is at least a warning (lua5.4 -W, or warn "@on").
function Task:__gc()
  if self.finished and not self._ok and not self._reported then
    warn("moonsand: a task ended with an error that nobody waited for: ", tostring(self._values[1]))
  end
end

--- Starts f(...) as a task. It runs at once, until it waits for something.
---@param f function
---@return moonsand.Task
function M.spawn(f, ...)
  if type(f) ~= "function" then
    error("moonsand.spawn wants a function, got " .. type(f), 2)
  end
  local args = table.pack(...)
  local task = setmetatable({ finished = false }, Task)
  task._co = coroutine.create(function()
    return f(table.unpack(args, 1, args.n))
  end)
  tasks[task._co] = task
  live[task] = true
  resume(task)
  return task
end

--- Calls f(item, index) for every item, at most n at the same time.
--- Returns the first values in the order of the list, and the second values ({ [index] = err }) or nil
--- when there were none. Where f returned nil, the result is false, so that the list has no holes. When
--- f raises, the others are cancelled and the error is raised here.
---@param list any[]
---@param n integer
---@param f fun(item: any, index: integer): any, any
---@return any[] results, table<integer, any>? errs
function M.map(list, n, f)
  if type(list) ~= "table" or math.type(n) ~= "integer" or n < 1 or type(f) ~= "function" then
    error("moonsand.map wants a list, a whole number of at least 1, and a function", 2)
  end
  local results, errs, next_index = {}, nil, 1
  local running = math.min(n, #list)
  local failed, failure = false, nil
  local gate = { finished = running == 0 } -- opens when all have ended or the first has raised
  local function worker()
    while next_index <= #list and not failed do
      local i = next_index
      next_index = i + 1
      local value, err = f(list[i], i)
      if value == nil then
        value = false
      end
      results[i] = value
      if err ~= nil then
        errs = errs or {}
        errs[i] = err
      end
    end
  end
  local function guarded()
    local ok, err = pcall(worker)
    running = running - 1
    if not ok and not failed then
      failed, failure = true, err
    end
    if failed or running == 0 then
      gate.finished = true
      M.wake(gate)
    end
  end
  local workers <close> = setmetatable({}, {
    __close = function(self)
      for _, task in ipairs(self) do
        task:cancel()
        task._reported = true
      end
    end,
  })
  for i = 1, running do
    if failed then
      break
    end
    workers[i] = M.spawn(guarded)
  end
  M.wait(gate)
  if failed then
    error(failure, 0)
  end
  return results, errs
end

return M
