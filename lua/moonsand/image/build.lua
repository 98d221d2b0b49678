--- One build on the engine, by Docker's classic builder, BuildKit, or Podman: what is asked, what comes of
--- it, and why not. A build that is given up ends with its connection, on the engine, too.
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local progress = require "moonsand.image.progress"
local steps = require "moonsand.image.steps"
local text = require "moonsand.text"

local M = {}

local function escape(s)
  return (s:gsub("[^%w._~-]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

--- The builder that is meant: "classic", "buildkit" or "podman".
---@param engine moonsand.Engine
---@param wanted string? "auto", "classic", "buildkit"
---@param needs_buildkit boolean? the Dockerfile is written for it
---@return string
function M.builder(engine, wanted, needs_buildkit)
  local facts = engine:facts()
  if facts.kind == "podman" then
    return "podman"
  elseif wanted == "classic" or wanted == "buildkit" then
    return wanted
  end
  local major = tonumber((facts.engine_version or ""):match "^%d+") or 0
  return (needs_buildkit or major >= 23) and "buildkit" or "classic"
end

-- Never the host's network: that is what Podman takes when nothing is said, and it ignores "none".
local function namespaces(builder, on, pid)
  if builder ~= "podman" then
    return not on and "networkmode=none" or nil
  end
  local list = json.array { { Name = "network", Host = false, Path = "" } }
  if pid then
    list[#list + 1] = { Name = "pid", Host = false, Path = ("/proc/%d/ns/pid"):format(pid) }
  end
  return (on and "" or "networkmode=NetworkDisabled&") .. "nsoptions=" .. escape(json.encode(list))
end

--- The proxies as build arguments that every builder knows, passes to RUN, and leaves out of the history.
local function proxy_args(args, proxy)
  for name, value in pairs { HTTP_PROXY = proxy.http, HTTPS_PROXY = proxy.https, NO_PROXY = proxy.no } do
    args[name], args[name:lower()] = value, value
  end
end

local function query(o, builder)
  local args = {}
  for name, value in pairs(o.args or {}) do
    args[name] = value
  end
  proxy_args(args, o.proxy or {})
  local parts = { "rm=1", "forcerm=1", "dockerfile=" .. escape(o.dockerfile or "Dockerfile"),
    namespaces(builder, o.network ~= "none", o.anchor and o.anchor.pid) }
  local function add(name, value)
    if value then
      parts[#parts + 1] = name .. "=" .. escape(value)
    end
  end
  add("buildargs", next(args) and json.encode(args))
  add("labels", o.labels and json.encode(o.labels))
  add("target", o.target)
  add("platform", o.platform)
  add("nocache", o.no_cache and "1")
  add("version", builder == "buildkit" and "2")
  add("layers", builder == "podman" and "1")
  return table.concat(parts, "&")
end

-- The line of the Dockerfile that a complaint about it names.
local function blamed(message, source)
  local number = tonumber(message:match "line (%d+)" or message:match "Dockerfile:(%d+)")
  local at = 0
  for line in ((source or "") .. "\n"):gmatch "(.-)\n" do
    at = at + 1
    if at == number then
      return text.maybe(line, 300)
    end
  end
  local word = message:lower():match 'unknown instruction:? "?(%a+)' -- Podman names the word only
  for line in ((source or "") .. "\n"):gmatch "(.-)\n" do
    if word and line:lower():find("^%s*" .. word .. "%f[%A]") then
      return text.maybe(line, 300)
    end
  end
  return nil
end

local offline = { "Temporary failure resolving", "Could not resolve", "Could not connect", "Unable to connect to",
  "Network is unreachable", "Connection timed out [" }

local untrusted = { "ertificate verification failed", "No system certificates available" }

-- apt says by its words only that it reached nobody, or somebody whom it does not know.
local function apt_said(outcome, list)
  local step = outcome.step or "" -- its beginning
  if not step:find("apt-get", 1, true) and not step:find("DEBIAN_FRONTEND", 1, true) then
    return false
  end
  for _, line in ipairs(outcome.log) do
    for _, words in ipairs(list) do
      if line:find(words, 1, true) then
        return true
      end
    end
  end
  return false
end

local function about_trust(o)
  return "the package mirror's certificate is not trusted (" .. (not o.ca and "a CA bundle can be given for the build"
    or o.builder == "classic" and "Docker's classic builder cannot show apt a CA bundle without leaving it in the "
    .. "image; builder = \"buildkit\" can" or "nor is it by the CA bundle of the build") .. ")"
end

--- The error of a build that failed, with err.step (text of the instruction) and err.log (its last lines).
local function failure(o, outcome)
  local message, code = outcome.failure.message, "build"
  local what = outcome.failed
  if what then
    message, code = what.message, what.code == "unreachable" and "unreachable" or "build"
  elseif apt_said(outcome, untrusted) then
    message, code = about_trust(o), "unreachable"
  elseif apt_said(outcome, offline) then
    message, code = "the package mirror cannot be reached: " .. message, "unreachable"
  elseif not outcome.step or outcome.step:find "^FROM" then
    code = progress.code(message, "build")
  end
  local step = outcome.step
  if message:lower():find "parse error" or message:lower():find "unknown instruction" then
    step = blamed(message, o.source) or step
  end
  local tail = outcome.log[#outcome.log]
  local shown = ("build failed%s: %s%s"):format(step and " at " .. text.harmless(step, 120) or "", message,
    tail and not what and " (its last line: " .. text.harmless(tail, 200) .. ")" or "")
  return errors.fail(code, shown, { op = "build", step = step or blamed(message, o.source) or "Dockerfile",
    log = outcome.log })
end

---@class moonsand.BuildRequest
---@field pack moonsand.core.Pack what is sent, the Dockerfile in it
---@field source string text of the Dockerfile, for messages
---@field dockerfile string? its path in the pack ("Dockerfile")
---@field builder string of builder()
---@field part string? for the events
---@field args table<string, string>?
---@field labels table<string, string>?
---@field target string?
---@field platform string?
---@field network string? "none"; else containers of the build reach the outside
---@field proxy { http: string?, https: string?, no: string? }?
---@field ca boolean? certificates were given for the build; for messages
---@field no_cache boolean?
---@field timeout number? seconds for this build
---@field auth string? of auth.config_header(); BuildKit has no use for it
---@field anchor { pid: integer }? of anchor.start(), for Podman
---@field on_progress fun(event: table)?

--- Builds. The image has no name yet: who wants one gives it when the image is seen to be right.
---@param engine moonsand.Engine
---@param o moonsand.BuildRequest
---@return moonsand.BuildOutcome? outcome with id
---@return moonsand.Error? err code "build", or "unreachable" when a package index or mirror is; step and log
function M.run(engine, o)
  local feed, finish = steps.reader { on_event = o.on_progress, part = o.part, markers = o.part == "packages" }
  local facts, err = o.pack:measure(0)
  if not facts then
    return nil, err
  end
  local ok
  ok, err = engine:request {
    method = "POST", path = "/build?" .. query(o, o.builder), body_pack = o.pack, timeout = o.timeout or math.huge,
    headers = o.auth and { ["X-Registry-Config"] = o.auth } or nil,
    on_data = feed, on_sent = o.on_progress and function(bytes)
      o.on_progress { phase = "context", part = o.part, current = bytes, total = facts.bytes }
    end or nil,
  }
  local outcome = finish()
  if not ok then
    if err.status and err.status < 500 or err.status and err.message:lower():find "dockerfile" then
      outcome.failure = { message = err.message, code = "build" } -- the classic builder reads it before it answers
      return failure(o, outcome)
    end
    return nil, err
  elseif outcome.failure then
    local _, failed = failure(o, outcome)
    failed.intermediate = outcome.intermediate
    return nil, failed
  elseif not outcome.id then
    return errors.fail("protocol", "the builder ended without an error and without an image", { op = "build" })
  end
  return outcome
end

return M
