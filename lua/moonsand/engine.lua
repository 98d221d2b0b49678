--- A connection to a Docker-compatible engine.
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local options = require "moonsand.options"
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
  content_type = options.text,
  timeout = function(name, value, level)
    return value == math.huge and value or options.duration(name, value, level + 1)
  end,
  on_data = options.func,
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

--- Sleeps until there is something to do; then call step(). err.code is "interrupted" after a signal.
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

function Request:_news()
  if self.finished then
    return
  end
  local raw = self._raw
  if self.on_data and not self._failure then
    local data = raw:take()
    if data then
      local ok, err = pcall(self.on_data, data)
      if not ok then
        self._failure = { err }
        self.finished = true
        sched.wake(self)
        return
      end
    end
  end
  if raw:done() then
    self.finished = true
    sched.wake(self)
  end
end

--- One call of the engine's API. path is without the version: "/containers/json?all=1". A body that is
--- a table is sent as JSON. on_data(piece) gets the body of a 2xx answer as it comes.
--- Returns the decoded answer (a table for JSON, else the text; "" when there is none) and the HTTP
--- status. A status of 400 and more is nil, err with err.status; err.code is "not_found" for 404,
--- "conflict" for 409, else "engine". Raises for options that do not exist, and what on_data raises.
---@param given table method ("GET"), path, body or body_file, content_type, timeout (math.huge: none), on_data
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
  local on_data = o.on_data
  o.on_data, o.stream = nil, on_data ~= nil
  local raw <close>, err = self._raw:request(o)
  if not raw then
    return nil, err
  end
  local request = setmetatable({ _raw = raw, finished = false, on_data = on_data }, Request)
  sched.register(raw, request)
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

--- A sandbox: an image plus limits. See moonsand.sandbox for the options.
---@param given table
---@return moonsand.Sandbox? sandbox, moonsand.Error? err
function Engine:sandbox(given)
  return sandbox.new(self, given, 2)
end

-- Images on the engine: what is there (image/store.lua), on its way (image/transfer.lua), no longer of use.
Engine.has, Engine.inspect, Engine.images, Engine.history = store.has, store.inspect, store.list, store.history
Engine.tag, Engine.remove = store.tag, store.remove
Engine.pull, Engine.push, Engine.load = transfer.pull, transfer.push, transfer.load
Engine.save, Engine.import = transfer.save, transfer.import
Engine.prune = prune.prune

--- Ends it: what still runs is cancelled, containers are removed (at most 5 s). Safe twice.
function Engine:close()
  self._raw:close()
end

Engine.__close = Engine.close

function Engine:__tostring()
  return "moonsand.Engine (" .. self._raw:state() .. ")"
end

return { connect = connect }
