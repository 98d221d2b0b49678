--- Programs of this machine, for helpers such as credential helpers and mmdebstrap: started without a
--- shell, bounded in output and time, ended with all that they have started. Not for what nobody trusts.
local errors = require "moonsand.errors"
local options = require "moonsand.options"
local sched = require "moonsand.sched"

local M = {}

---@class moonsand.Command
---@field finished boolean
local Command = {}
Command.__index = Command
Command.__name = "moonsand.Command"

local function bytes(name, value, level)
  if type(value) ~= "string" then
    error(("option '%s' is a string, got %s"):format(name, type(value)), level + 1)
  end
  return value
end

local schema = {
  stdin = bytes,
  env = options.table,
  cwd = options.text,
  timeout = options.duration,
  max_output = options.size,
  on_stdout = options.func,
  on_stderr = options.func,
}

local function check_argv(argv, level)
  level = level + 1
  if type(argv) ~= "table" or #argv == 0 then
    error("command: argv is a list, the program first", level)
  end
  for i, word in ipairs(argv) do
    if type(word) ~= "string" or word:find("\0", 1, true) or (i == 1 and word == "") then
      error(("command: argv[%d] is not a text without NUL bytes"):format(i), level)
    end
  end
  return argv
end

--- { NAME = value } as a sorted list of "NAME=value".
local function env_list(env, level)
  local list = {}
  for name, value in pairs(env or {}) do
    if type(name) ~= "string" or not name:find "^[^=%z]+$" then
      error(("command: %s is not the name of an environment variable"):format(tostring(name)), level + 1)
    elseif type(value) ~= "string" or value:find("\0", 1, true) then
      error(("command: the variable %s is not a text without NUL bytes"):format(name), level + 1)
    end
    list[#list + 1] = name .. "=" .. value
  end
  table.sort(list)
  return list
end

function Command:_fail(err)
  self._failure = { err }
  self.finished = true
  self._raw:cancel()
  sched.wake(self)
end

function Command:_news()
  if self.finished then
    return
  end
  local raw = self._raw
  local stdout, stderr = raw:take()
  for _, stream in ipairs { { self._on_stdout, stdout }, { self._on_stderr, stderr } } do
    if stream[1] and stream[2] then
      local ok, err = pcall(stream[1], stream[2])
      if not ok then
        return self:_fail(err)
      end
    end
  end
  if raw:done() then
    self.finished = true
    sched.wake(self)
  end
end

--- Waits for the end. After `seconds`: nil and an error "timeout"; the program goes on.
--- Returns what run() returns; raises what on_stdout or on_stderr raised.
---@param seconds number? nil: for ever
---@return table? result, moonsand.Error? err
function Command:wait(seconds)
  if not sched.wait(self, seconds) then
    return errors.fail("timeout", ("%s has not ended within %g s"):format(self._name, seconds))
  end
  if self._failure then
    error(self._failure[1], 0)
  end
  return self._raw:result()
end

--- SIGTERM to the program and all that it has started in its process group, SIGKILL after 2 s.
function Command:cancel()
  if not self.finished then
    self._raw:cancel()
  end
end

--- Ends the program when it still runs, in the background. Safe twice.
function Command:close()
  self._raw:close()
end

Command.__close = Command.close

function Command:__tostring()
  return ("moonsand.Command (%s)"):format(self._name)
end

--- Starts a program and returns a handle with :wait(), :cancel() and :close(). Options as of run().
---@param argv string[]
---@param given table?
---@return moonsand.Command? command, moonsand.Error? err
function M.start(argv, given, level)
  level = (level or 1) + 1
  check_argv(argv, level)
  local o = options.check("command.run", given or {}, schema, level)
  local raw, err = sched.loop():command {
    argv = argv,
    env = env_list(o.env, level),
    stdin = o.stdin,
    cwd = o.cwd,
    timeout = o.timeout,
    max_output = o.max_output,
    stream_stdout = o.on_stdout ~= nil,
    stream_stderr = o.on_stderr ~= nil,
  }
  if not raw then
    return nil, err
  end
  local self = setmetatable({
    _raw = raw,
    _name = argv[1]:gsub("[%c\127]", "?"),
    _on_stdout = o.on_stdout,
    _on_stderr = o.on_stderr,
    finished = false,
  }, Command)
  sched.register(raw, self)
  return self
end

--- Runs a program to its end. argv[1] is looked up in PATH; no shell.
---
--- stdin: bytes (default: none). env: { NAME = value } on top of this process's. cwd. timeout: seconds or "5m".
--- max_output: bytes kept of each stream (default 1 MiB; more is dropped and stdout_truncated or stderr_truncated set).
--- on_stdout, on_stderr: called with pieces as they come; that stream is then not collected.
---
--- result: exit_code (-1 when a signal ended it), signal (0 when none did), stdout, stderr, and for each of the
--- two _bytes (all that was written) and _truncated. An exit code other than 0 is no error.
--- err.code: "not_found" (no such program), "io" (it cannot be executed), "timeout", "cancelled".
--- Raises for wrong types and options that do not exist, and what a callback raises.
---@param argv string[]
---@param given table?
---@return table? result, moonsand.Error? err
function M.run(argv, given)
  local command <close>, err = M.start(argv, given, 2)
  if not command then
    return nil, err
  end
  return command:wait()
end

return M
