--- The progress that an engine streams while it pulls, pushes, loads, imports or builds: JSON objects, one a
--- line. It is foreign text: bounded, and made harmless before anybody sees it. A stream that came with
--- status 200 has failed when one of its objects says so.
local json = require "moonsand.json"
local reference = require "moonsand.image.reference"
local text = require "moonsand.text"

local M = {}

local max_line = 4 << 20 -- bytes; BuildKit puts the output of a step into one object
local max_status, max_id, max_message = 400, 128, 2000

---@class moonsand.Progress
---@field phase string "pull", "push", "load", "import", "save", "build", ...
---@field id string? of the layer, short
---@field status string? what goes on, in the engine's words
---@field current integer? bytes
---@field total integer? bytes

-- What the engines and the registries behind them say, small letters. The first that matches wins: a
-- registry's "denied" may go on about what does not exist.
local meanings = {
  { "denied", { "unauthorized", "authentication required", "no basic auth credentials", "access denied", "denied:",
    "incorrect username or password", "invalid username/password", "access to the resource is denied",
    "insufficient_scope", "403 forbidden", "401 unauthorized", "invalid_grant", "invalid token" } },
  { "not_found", { "manifest unknown", "name unknown", "no such image", "image not known", "repository does not exist",
    "reference does not exist", "not found: manifest", "name_unknown", "404 not found", "was not found" } },
  { "unreachable", { "connection refused", "no such host", "i/o timeout", "network is unreachable", "no route to host",
    "tls handshake", "x509:", "deadline exceeded", "client.timeout", "connection reset", "connection timed out",
    "server misbehaving", "temporary failure in name resolution", "unexpected eof", ": eof", "broken pipe",
    "server gave http response to https client", "dial tcp", "proxyconnect", "toomanyrequests", "too many requests",
    "unexpected http status: 5", "invalid status code from registry 5", "use of closed network connection" } },
}

--- The code of moonsand.Error that a message of an engine about a registry stands for.
---@param message string
---@param fallback string? "engine"
---@return string
function M.code(message, fallback)
  local lower = message:lower()
  for _, meaning in ipairs(meanings) do
    for _, words in ipairs(meaning[2]) do
      if lower:find(words, 1, true) then
        return meaning[1]
      end
    end
  end
  return fallback or "engine"
end

local function bytes(value)
  return math.type(value) == "integer" and value >= 0 and value or nil
end

local function failure_of(object)
  local detail = object.errorDetail
  local message = type(detail) == "table" and text.maybe(detail.message, max_message)
    or text.maybe(object.error, max_message)
  if not message and type(detail) ~= "table" and object.error == nil then
    return nil
  end
  message = message or "no reason given"
  local exit_code = type(detail) == "table" and bytes(detail.code) or nil
  return { message = message, code = M.code(message), exit_code = exit_code }
end

local function event_of(object, phase)
  local status = text.maybe(object.status, max_status) or text.maybe(object.stream, max_status)
  if not status or reference.id(status) then -- an id is the result, and no progress
    return nil
  end
  local detail = type(object.progressDetail) == "table" and object.progressDetail or {}
  local total = bytes(detail.total)
  return {
    phase = phase, id = text.maybe(object.id, max_id), status = status,
    current = bytes(detail.current), total = total ~= 0 and total or nil,
  }
end

--- Reads a stream. feed() takes it in any pieces and keeps at most one line; finish() is called at its end
--- and returns the failure, nil when there was none: { message, code, exit_code? }. After a failure no
--- more events come. What on_event and on_object raise comes out of feed() and finish().
---@param on_event fun(event: moonsand.Progress)? each is a table of its own
---@param phase string
---@param on_object fun(object: table)? the decoded objects, not made harmless: for what is no progress
---@return fun(piece: string) feed, fun(): table? finish
function M.reader(on_event, phase, on_object)
  local parts, size, failure = {}, 0, nil
  local function line_end()
    local line = table.concat(parts)
    parts, size = {}, 0
    local object = line:find "^%s*{" and json.decode(line)
    if type(object) ~= "table" or failure then
      return -- an engine's own noise
    end
    failure = failure_of(object)
    if failure then
      return
    end
    if on_object then
      on_object(object)
    end
    local event = on_event and event_of(object, phase)
    if event then
      on_event(event)
    end
  end
  local function feed(piece)
    local from = 1
    while not failure do
      local stop = piece:find("\n", from, true)
      local part = piece:sub(from, stop and stop - 1)
      size = size + #part
      if size > max_line then
        failure = { code = "protocol", message = ("the engine wrote a line of more than %d bytes"):format(max_line) }
        parts = {}
        return
      end
      if part ~= "" then
        parts[#parts + 1] = part
      end
      if #parts > 1000 then
        parts = { table.concat(parts) } -- pieces of a byte must not cost a hundred times their size
      end
      if not stop then
        return
      end
      line_end()
      from = stop + 1
    end
  end
  return feed, function()
    if not failure then
      line_end()
    end
    return failure
  end
end

return M
