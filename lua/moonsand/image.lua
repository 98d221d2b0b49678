--- Images: is it there, pull it, import a root file system, list.
--- The functions are methods of moonsand.Engine.
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local options = require "moonsand.options"

local M = {}

local function check_ref(ref, level)
  if type(ref) ~= "string" or not ref:find "^%w[%w._/:@-]*$" then
    error(("%s is not an image reference; write \"python:3.10-slim\""):format(
      type(ref) == "string" and ("%q"):format(ref) or type(ref)), level + 1)
  end
  return ref
end

--- "host:5000/a/b:tag" -> "host:5000/a/b", "tag". A digest is a tag to the engine's API.
---@param ref string
---@return string name, string tag
function M.split(ref)
  local name, digest = ref:match "^(.-)@(.+)$"
  if name then
    return name:match "^(.*):[^/:]*$" or name, digest
  end
  local before, tag = ref:match "^(.*):([^/:]*)$"
  return before or ref, before and tag or "latest"
end

local function escape(s)
  return (s:gsub("[^%w._~-]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

local function query(parts)
  local out = {}
  for _, part in ipairs(parts) do
    out[#out + 1] = part[1] .. "=" .. escape(part[2])
  end
  return table.concat(out, "&")
end

--- Calls f for each JSON object of a progress stream, which comes in any pieces, one object a line.
---@param f fun(object: table)
---@return fun(piece: string) feed, fun() finish
function M.lines(f)
  local rest = ""
  local function one(line)
    local object = line:find "%S" and json.decode(line)
    if type(object) == "table" then
      f(object)
    end
  end
  return function(piece)
    rest = rest .. piece
    if not piece:find("\n", 1, true) then
      if #rest > 1 << 20 then
        rest = "" -- no engine writes such a line
      end
      return
    end
    local from = 1
    while true do
      local nl = rest:find("\n", from, true)
      if not nl then
        break
      end
      one(rest:sub(from, nl - 1))
      from = nl + 1
    end
    rest = rest:sub(from)
  end, function()
    one(rest)
    rest = ""
  end
end

--- POSTs something that answers with progress. A 200 proves nothing: an error comes in the stream, and
--- only an image that is there afterwards is a success.
local function create(engine, what, ref, request, on_progress)
  local failure
  local feed, finish = M.lines(function(object)
    local detail = object.errorDetail
    if type(detail) == "table" or type(object.error) == "string" then
      failure = type(detail) == "table" and type(detail.message) == "string" and detail.message
        or object.error or "no reason given"
    elseif on_progress then
      on_progress(object)
    end
  end)
  request.method, request.on_data = "POST", feed
  request.timeout = request.timeout or math.huge
  local ok, err = engine:request(request)
  if not ok then
    err.message = ("%s of %s: %s"):format(what, ref, err.message)
    return nil, err
  end
  finish()
  if failure then
    local code = failure:lower():find "not found" and "not_found" or "engine"
    return errors.fail(code, ("%s of %s: %s"):format(what, ref, (failure:gsub("[%c\127]+", " "))), { op = what })
  end
  local there, facts = engine:has(ref)
  if not there then
    return nil, facts or errors.new("engine", ("%s of %s: the engine says no error and has no image"):format(what, ref))
  end
  return facts
end

--- Is the image there? Raises for what cannot be a reference.
---@param ref string
---@return boolean? there nil for errors
---@return { id: string, size: integer, os: string, arch: string }|moonsand.Error|nil facts_or_err
function M.has(engine, ref)
  check_ref(ref, 2)
  local answer, err = engine:request { path = "/images/" .. ref .. "/json" }
  if not answer then
    if err.status == 404 then
      return false
    end
    return nil, err
  elseif type(answer) ~= "table" then
    return errors.fail("protocol", "the engine's description of an image is no JSON object")
  end
  return true, { id = answer.Id, size = answer.Size, os = answer.Os, arch = answer.Architecture }
end

local import_schema = { changes = options.table, timeout = options.duration, on_progress = options.func }

--- Makes an image of a root file system in a tar file (may be compressed).
--- changes: list of Dockerfile lines for its configuration, for example "ENV LANG=C.UTF-8".
---@param tar string path
---@param ref string
---@param given { changes: string[]?, timeout: number|string|nil, on_progress: fun(object: table)? }?
---@return table? facts as of has(), moonsand.Error? err
function M.import(engine, tar, ref, given)
  options.text("tar", tar, 2)
  check_ref(ref, 2)
  local o = options.check("engine:import", given or {}, import_schema, 2)
  local name, tag = M.split(ref)
  local parts = { { "fromSrc", "-" }, { "repo", name }, { "tag", tag } }
  for _, change in ipairs(o.changes or {}) do
    parts[#parts + 1] = { "changes", change }
  end
  return create(engine, "import", ref, {
    path = "/images/create?" .. query(parts),
    body_file = tar,
    content_type = "application/x-tar",
    timeout = o.timeout,
  }, o.on_progress)
end

local pull_schema = { timeout = options.duration, platform = options.text }

--- Fetches an image from its registry. on_progress gets the engine's objects: status, id, progressDetail.
--- Raises what on_progress raises.
---@param ref string
---@param on_progress fun(object: table)?
---@param given { timeout: number|string|nil, platform: string? }?
---@return table? facts as of has(), moonsand.Error? err
function M.pull(engine, ref, on_progress, given)
  check_ref(ref, 2)
  if on_progress ~= nil then
    options.func("on_progress", on_progress, 2)
  end
  local o = options.check("engine:pull", given or {}, pull_schema, 2)
  local name, tag = M.split(ref)
  local parts = { { "fromImage", name }, { "tag", tag } }
  if o.platform then
    parts[#parts + 1] = { "platform", o.platform }
  end
  return create(engine, "pull", ref, { path = "/images/create?" .. query(parts), timeout = o.timeout }, on_progress)
end

--- The images that have a name.
---@return { id: string, refs: string[], size: integer, created: integer }[]? list, moonsand.Error? err
function M.list(engine)
  local answer, err = engine:request { path = "/images/json" }
  if not answer then
    return nil, err
  end
  local out = {}
  for _, item in ipairs(answer) do
    local refs = {}
    for _, ref in ipairs(type(item.RepoTags) == "table" and item.RepoTags or {}) do
      if ref ~= "<none>:<none>" then
        refs[#refs + 1] = ref
      end
    end
    if #refs > 0 then
      out[#out + 1] = { id = item.Id, refs = refs, size = item.Size, created = item.Created }
    end
  end
  return out
end

return M
