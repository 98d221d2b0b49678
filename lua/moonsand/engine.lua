--- A connection to a Docker-compatible engine.
local budget = require "moonsand.budget"
local errors = require "moonsand.errors"
local image = require "moonsand.image"
local json = require "moonsand.json"
local options = require "moonsand.options"
local pack = require "moonsand.pack"
local prune = require "moonsand.image.prune"
local sandbox = require "moonsand.sandbox"
local sched = require "moonsand.sched"
local store = require "moonsand.image.store"
local text = require "moonsand.text"
local transfer = require "moonsand.image.transfer"

---@class moonsand.Engine
local Engine = {}
Engine.__index = Engine
Engine.__name = "moonsand.Engine"

local connect_schema = {
  endpoint = options.text,
  tls_dir = options.text,
  agent_path = options.text,
  call_timeout = options.duration,
  timeout = options.duration,
}

local request_schema = {
  method = options.text,
  path = options.text,
  body = function(name, value, level)
    if type(value) ~= "string" and type(value) ~= "table" then
      error(("option '%s' is a string or a table, got %s"):format(name, type(value)), level + 1)
    end
    return value
  end,
  body_file = options.text,
  body_pack = pack.check,
  body_stream = options.func,
  content_type = options.text,
  headers = options.table,
  out_file = options.text,
  timeout = function(name, value, level)
    return value == math.huge and value or options.duration(name, value, level + 1)
  end,
  on_data = options.func,
  on_sent = options.func,
  on_received = options.func,
}

function Engine:_news()
  local state, err = self._raw:state()
  if not self.finished and state ~= "connecting" then
    self.finished, self._err = true, err
    sched.wake(self)
  end
end

--- Finds an engine and connects to it. Raises for options that do not exist.
---
--- endpoint: "unix:///path", "tcp://host:port", "ssh://user@host", "embedded", or nil for the first of
--- DOCKER_CONTEXT, DOCKER_HOST, the config file, the well-known sockets, an embedded engine.
--- tls_dir: directory of ca.pem, cert.pem, key.pem. call_timeout: longest wait for an engine call that
--- should answer at once (30 s). timeout: longest wait for the connection (call_timeout).
---@param given string|table|nil an endpoint alone, or the options
---@return moonsand.Engine? engine, moonsand.Error? err
local function connect(given)
  if type(given) == "string" then
    given = { endpoint = given }
  end
  local o = options.check("moonsand.connect", given or {}, connect_schema, 2)
  local timeout = o.timeout
  o.timeout = nil
  local raw, err = sched.loop():engine(o)
  if not raw then
    return nil, err
  end
  local self = setmetatable({ _raw = raw, finished = false }, Engine)
  sched.register(raw, self)
  local in_time = sched.wait(self, timeout)
  if in_time and not self._err then
    return self
  end
  raw:close()
  return nil, self._err or errors.new("timeout", ("the engine has not answered within %g s"):format(timeout))
end

--- What the engine is: endpoint, found_by, kind ("docker" or "podman"), engine_version, api_version, os,
--- arch, kernel, components (name -> version), cgroup_version, cpus, memory_bytes, rootless,
--- userns_remap, local, has_bridge. Raises when the engine is closed.
---@return table
function Engine:facts()
  local facts = self._raw:facts()
  facts.components = json.decode(facts.components) or {}
  return facts
end

--- For a loop of the host's own: poll this descriptor for reading, at most timeout() seconds, then step().
---@return integer
function Engine:pollfd()
  self._raw:pending() -- raises when closed
  return sched.loop():pollfd()
end

--- "r", as cqueues wants it.
---@return string
function Engine.events(_)
  return sched.loop():events()
end

--- Seconds until something is due without the descriptor; nil: nothing.
---@return number?
function Engine.timeout(_)
  return sched.timeout()
end

--- Does what is ready, of this engine and all others: callbacks and tasks run. Never blocks.
---@return boolean? ok, moonsand.Error? err
function Engine.step(_)
  return sched.step()
end

--- Sleeps until there is something to do; then call step(). err.code is "interrupted" after a signal that the
--- program handles, such as Ctrl-C; SIGCHLD, SIGWINCH and a stop and its end do not count.
---@param seconds number? nil: for ever
---@return boolean? ok, moonsand.Error? err
function Engine.wait(_, seconds)
  return sched.sleep_until_due(seconds)
end

--- Removals that go on in the background; 0: a program may exit.
---@return integer
function Engine:pending()
  return self._raw:pending()
end

local codes = { [404] = "not_found", [409] = "conflict" }

--- What the engine says in the body of an error, cut and printable.
local function words(body)
  local value, said = json.decode(body), body
  if type(value) == "table" and type(value.message) == "string" then
    said = value.message
    if type(value.cause) == "string" and not said:find(value.cause, 1, true) then
      said = value.cause .. ": " .. said
    end
  end
  return text.maybe(said, 1000) or "no reason given"
end

local Request = {}
Request.__index = Request

--- Calls one of the caller's functions; what it raises ends the request and comes out of it.
function Request:_tell(f, value)
  if f and value and not self._failure then
    local ok, err = pcall(f, value)
    if not ok then
      self._failure = { err }
      self.finished = true
      sched.wake(self)
    end
  end
end

local poll_s = 0.02 -- how soon a body's function that had nothing is asked again

--- Hands on what the body's function gives until the core has no room.
function Request:_pump()
  while self.body_stream and not self.finished do
    if not self._piece then
      local ok, piece = pcall(self.body_stream)
      if ok and piece ~= nil and type(piece) ~= "string" then
        ok, piece = false, "body: the function must return strings or nil, got " .. type(piece)
      end
      if not ok then
        self._failure, self.finished = { piece }, true
        sched.wake(self)
        return
      elseif piece == nil then
        self.body_stream = nil
        self._raw:write_end()
        return
      elseif piece == "" then
        self._timer = sched.later(poll_s, function()
          self._timer = nil
          self:_pump()
        end)
        return
      end
      self._piece = piece
    end
    local taken = self._raw:write(self._piece)
    if taken == 0 then
      return -- on news again
    end
    self._piece = taken < #self._piece and self._piece:sub(taken + 1) or nil
  end
end

function Request:_news()
  if self.finished then
    return
  end
  local raw = self._raw
  for _, name in ipairs { "sent", "received" } do
    local f, bytes = self["on_" .. name], raw[name](raw)
    if f and bytes ~= self["_" .. name] then
      self["_" .. name] = bytes
      self:_tell(f, bytes)
    end
  end
  if self.on_data and not self._failure then
    self:_tell(self.on_data, raw:take())
  end
  if self.body_stream and not self._timer and not raw:done() then
    self:_pump()
  end
  if not self.finished and raw:done() then
    self.finished = true
    sched.wake(self)
  end
end

--- One call of the engine's API. path is without the version: "/containers/json?all=1".
---
--- At most one of: body (a table is sent as JSON), body_file (a path), body_pack (of core.pack(); measured here
--- when it was not), body_stream (a function that returns pieces, "" for "nothing yet", nil at the end).
--- on_sent(bytes): so much of a file, pack or stream was sent. headers: { name = value }; values
--- stand in no error. on_data(piece) gets the body of a 2xx answer as it comes. out_file: that body becomes this
--- file, which is there when it is whole, and not at all otherwise; on_received(bytes): so much of it came.
---
--- Returns the decoded answer (a table for JSON, else the text; "" when there is none) and the HTTP
--- status. A status of 400 and more is nil, err with err.status; err.code is "not_found" for 404,
--- "conflict" for 409, else "engine"; also "conflict" when a pack changed while it was being sent.
--- Raises for options that do not exist, and what the callbacks raise.
---@param given table method ("GET"), path, the options above, content_type, timeout (math.huge: none)
---@return any answer
---@return integer|moonsand.Error status_or_err
function Engine:request(given)
  local o = options.check("engine:request", given, request_schema, 2)
  if not o.path then
    error("engine:request: option 'path' is required", 2)
  end
  o.method = o.method or "GET"
  if type(o.body) == "table" then
    o.body = json.encode(o.body)
  end
  if o.body_pack then
    local facts, err = pack.measure(o.body_pack)
    if not facts then
      return nil, err
    end
    o.content_type = o.content_type or "application/x-tar"
  end
  local request = setmetatable({
    finished = false,
    on_data = o.on_data,
    on_sent = o.on_sent,
    on_received = o.on_received,
    body_stream = o.body_stream,
    _sent = 0,
    _received = 0,
  }, Request)
  o.stream, o.progress = o.on_data ~= nil, (o.on_sent or o.on_received) ~= nil
  o.body_stream = o.body_stream and true
  o.on_data, o.on_sent, o.on_received = nil, nil, nil
  local raw <close>, err = self._raw:request(o)
  if not raw then
    return nil, err
  end
  request._raw = raw
  sched.register(raw, request)
  -- Ended from outside (a task that is cancelled, Ctrl-C), it must not ask for more.
  local _ <close> = setmetatable({}, { __close = function()
    request.finished = true
    if request._timer then
      sched.forget(request._timer)
    end
  end })
  request:_news()
  sched.wait(request)
  if request._failure then
    error(request._failure[1], 0)
  end
  local status, body = raw:result()
  if not status then
    return nil, body
  elseif status >= 400 then
    local message = ("%s %s: %s (HTTP %d)"):format(o.method, o.path:match "^[^?]*", words(body), status)
    return errors.fail(codes[status] or "engine", message, { status = status, op = o.method .. " " .. o.path })
  end
  if body:find "^%s*[%[{]" then
    local value = json.decode(body)
    if value ~= nil then
      return value, status
    end
  end
  return body, status
end

local leaving = {} -- requests that nobody waits for -> handle

--- A request whose outcome nobody needs, made on the way out: waited for where that can be done, so that a program
--- may exit after it; in a task that is being cancelled, which cannot wait any more, it goes on by itself.
---@param given table as of request(), without callbacks
---@param lock file*? closed when it has ended
function Engine:leave(given, lock)
  local _, main = coroutine.running()
  if main or coroutine.isyieldable() then
    local _ <close> = lock
    pcall(self.request, self, given)
    return
  end
  local raw = self._raw:request(given)
  if raw then
    leaving[raw] = { _news = function()
      if raw:done() then
        leaving[raw] = nil
        local _ <close> = lock
      end
    end }
    sched.register(raw, leaving[raw])
  end
end

--- A sandbox: an image plus limits. See moonsand.sandbox for the options.
---@param given table
---@return moonsand.Sandbox? sandbox, moonsand.Error? err
function Engine:sandbox(given)
  local made, err = sandbox.new(self, given, 2)
  return made, err -- no tail call: an error names the caller's line
end

Engine.image = image.image

-- Images on the engine: what is there (image/store.lua), on its way (image/transfer.lua), no longer of use.
Engine.has, Engine.inspect, Engine.images, Engine.history = store.has, store.inspect, store.list, store.history
Engine.tag, Engine.remove = store.tag, store.remove
Engine.pull, Engine.push, Engine.load = transfer.pull, transfer.push, transfer.load
Engine.save, Engine.import = transfer.save, transfer.import
Engine.prune = prune.prune

--- Ends it: what still runs is cancelled, containers are removed (at most 5 s). Safe twice.
function Engine:close()
  self._raw:close()
  budget.settle() -- its pools are gone: others may grow
end

Engine.__close = Engine.close

function Engine:__tostring()
  return "moonsand.Engine (" .. self._raw:state() .. ")"
end

return { connect = connect }
