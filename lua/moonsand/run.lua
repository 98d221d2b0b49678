--- A run's handle: wait for it, cancel it, feed its stdin, get its output as it comes.
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local result = require "moonsand.result"
local sched = require "moonsand.sched"
local text = require "moonsand.text"

local M = {}

---@class moonsand.Run
---@field finished boolean
local Run = {}
Run.__index = Run
Run.__name = "moonsand.Run"

local poll_s = 0.02 -- how soon a stdin function that had nothing is asked again
local pump_limit = 1 << 20 -- bytes of stdin a step, so that one run does not hold up the others
local longest_text = 4096 -- bytes of a text in a report

local function finish(self, value, err)
  self.finished, self._result, self._err = true, value, err
  if self._timer then
    sched.forget(self._timer)
    self._timer = nil
  end
  sched.wake(self)
end

--- Keeps the first failure of a callback: it ends the run and comes out of wait().
local function callback_failed(self, err)
  if self._failure then
    return
  end
  self._failure = { err }
  self:cancel()
end

local function call(self, f, ...)
  if not f or self._failure then
    return true, nil
  end
  local values = table.pack(pcall(f, ...))
  if not values[1] then
    callback_failed(self, values[2])
    return false, nil
  end
  return true, values[2]
end

--- Writes what the stdin function gives until the core has no room.
local function pump(self)
  local sent = 0
  while self._stdin do
    if not self._piece or self._piece == "" then
      local ok, piece = call(self, self._stdin)
      if self.finished then
        return -- closed from inside the function
      end
      if ok and piece ~= nil and type(piece) ~= "string" then
        callback_failed(self, ("stdin: the function must return strings or nil, got %s"):format(type(piece)))
        ok = false
      end
      if not ok or piece == nil then
        self._stdin = nil
        self._raw:close_stdin()
        return
      elseif piece == "" or sent > pump_limit then
        self._piece = piece
        self._timer = sched.later(piece == "" and poll_s or 0, function()
          self._timer = nil
          if not self.finished then
            pump(self)
          end
        end)
        return
      end
      self._piece = piece
    end
    local taken = self._raw:write(self._piece)
    if not taken then
      self._stdin = nil -- the program has closed its stdin, or has ended: not an error
      return
    elseif taken == 0 then
      return -- on news again
    end
    sent = sent + taken
    self._piece = self._piece:sub(taken + 1)
  end
end

--- Its texts, keys too, made fit to be shown. Deep it cannot be: json.max_depth.
local function harmless(value)
  if type(value) == "string" then
    return text.harmless(value, longest_text)
  elseif type(value) ~= "table" then
    return value
  end
  local out = {}
  for k, v in pairs(value) do
    out[harmless(k)] = harmless(v)
  end
  return out
end

--- Lines as they came to the callback's tables, until it wants the end.
local function deliver_reports(self)
  local lines = self._raw:reports()
  for _, line in ipairs(lines or {}) do
    if not self._on_report or self._failure or self.finished then
      return
    end
    local report = line:find "^%s*{" and json.decode(line, { nonfinite = true })
    if not report then
      self._no_reports = self._no_reports + 1
    else
      local ok, wish = call(self, self._on_report, harmless(report))
      if ok and wish == "prune" then
        self._on_report = nil
        self:cancel()
      elseif ok and wish then
        callback_failed(self, ("on_report: the function must return nil or \"prune\", got %s"):format(type(wish)))
      end
    end
  end
end

local function deliver(self)
  if self._on_report then
    deliver_reports(self)
    if self.finished then
      return
    end
  end
  local out, err = self._raw:take()
  if out then
    call(self, self._on_stdout, out)
  end
  if err and not self.finished then
    call(self, self._on_stderr, err)
  end
end

local function look(self)
  if self._streams then
    deliver(self)
  end
  local raw = self._raw
  if not self.finished and self._stdin and not self._timer and not raw:done() then
    pump(self)
  end
  if self.finished or not raw:done() then
    return
  end
  if self._streams then
    deliver(self) -- what came before the end, while a callback was busy
    if self.finished then
      return
    end
  end
  local fields, err = raw:result()
  if fields then
    -- The image with the data on it is no name that a user knows.
    fields.image = self._sandbox.data_hash and self._sandbox.image or fields.image
    -- What is no JSON object was dropped here and not there.
    fields.reports = fields.reports - self._no_reports
    fields.reports_dropped = fields.reports_dropped + self._no_reports
    finish(self, result.new(fields, raw, self._engine, self._sandbox.image_ref))
  else
    finish(self, nil, err)
    raw:close()
  end
end

function Run:_news()
  if self.finished or self._busy then
    self._again = true
    return
  end
  self._busy = true -- a callback that waits for something drives the loop again
  local ok, err
  repeat
    self._again = false
    ok, err = pcall(look, self)
  until not ok or not self._again or self.finished
  self._busy = false
  if not ok then
    error(err, 0)
  end
end

--- Starts what program.build() made.
---@param sandbox moonsand.Sandbox
---@param what table
---@return moonsand.Run? run, moonsand.Error? err
function M.start(sandbox, what)
  local pulled = type(what.stdin) == "function"
  local raw, err = sandbox._raw:run {
    argv = what.argv,
    env = what.env,
    files = what.files,
    stdin = pulled or what.stdin,
    timeout = what.timeout,
    trust_key = what.trust_key,
    stream_stdout = what.on_stdout ~= nil,
    stream_stderr = what.on_stderr ~= nil,
    reports = what.on_report ~= nil,
  }
  if not raw then
    return nil, err
  end
  local self = setmetatable({
    finished = false,
    _raw = raw,
    _engine = sandbox.engine,
    _sandbox = sandbox,
    _stdin = pulled and what.stdin or nil,
    _on_stdout = what.on_stdout,
    _on_stderr = what.on_stderr,
    _on_report = what.on_report,
    _streams = (what.on_stdout or what.on_stderr or what.on_report) ~= nil,
    _no_reports = 0,
  }, Run)
  sched.register(raw, self)
  return self
end

--- Waits for the result. After `seconds`: nil and an error with code "timeout"; the program goes on.
--- Raises what a callback raised, and "interrupted!" after Ctrl-C.
---@param seconds number? nil: for ever
---@return moonsand.Result? result, moonsand.Error? err
function Run:wait(seconds)
  if not sched.wait(self, seconds) then
    return errors.fail("timeout", ("the program has not ended within %g s"):format(seconds))
  end
  if self._failure then
    error(self._failure[1], 0)
  end
  return self._result, self._err
end

--- True when wait() would return at once.
---@return boolean
function Run:done()
  return self.finished
end

--- "queued" (for a worker of the pool), "preparing", "creating", "starting", "running", "ending", "done".
---@return string
function Run:phase()
  return self.finished and "done" or self._raw:phase()
end

--- Asks for the end; the result, with the partial output, still comes. Safe at any time.
function Run:cancel()
  if not self.finished then
    self._raw:cancel()
  end
end

--- Kills it when it is not done, and forgets it: wait() then returns nil and an error "closed".
--- Safe twice.
function Run:close()
  if not self.finished then
    self._raw:close()
    finish(self, nil, errors.new("closed", "the run was closed"))
  end
end

Run.__close = Run.close

function Run:__tostring()
  return "moonsand.Run (" .. self:phase() .. ")"
end

return M
