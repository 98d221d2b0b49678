--- The engines that the specs run on, and how to count what is on them.
local clean = require "moonsand.cli.clean"
local moonsand = require "moonsand"

local M = {}

M.image = os.getenv "MOONSAND_TEST_IMAGE"

local urls = { docker = os.getenv "MOONSAND_TEST_DOCKER", podman = os.getenv "MOONSAND_TEST_PODMAN" }
local connected = {}

---@param kind "docker"|"podman"
function M.engine(kind)
  if not connected[kind] then
    local url = urls[kind]
    assert(url, "MOONSAND_TEST_" .. kind:upper() .. " is not set; run the specs with `make test`")
    connected[kind] = assert(moonsand.connect(url))
    assert(connected[kind]:facts().kind == kind)
  end
  return connected[kind]
end

M.url = urls

function M.box(kind, options)
  local o = { image = M.image }
  for k, v in pairs(options or {}) do
    o[k] = v
  end
  return assert(M.engine(kind):sandbox(o))
end

--- Describes the same specs for Docker and for Podman.
function M.each(describe, name, body)
  for _, kind in ipairs { "docker", "podman" } do
    describe(name .. " on " .. kind, function()
      body(kind)
    end)
  end
end

--- Containers of ours on the engine, whatever their state.
---@return { id: string, name: string, state: string }[]
function M.containers(kind)
  return clean.find(M.engine(kind), true)
end

--- How long something on our side may take when it runs under a tool that makes it slower (valgrind).
---@param seconds number what it may take otherwise
---@return number seconds
function M.patience(seconds)
  return seconds * (tonumber(os.getenv "MOONSAND_TEST_SLOWDOWN") or 1)
end

--- Steps until nothing is being removed any more.
function M.settle(kind, seconds)
  local engine = M.engine(kind)
  local e = moonsand.monotonic() + (seconds or 10)
  while engine:pending() > 0 and moonsand.monotonic() < e do
    engine:wait(0.05)
    engine:step()
  end
  return engine:pending()
end

function M.open_descriptors()
  local n = 0
  local p = assert(io.popen("ls /proc/$PPID/fd"))
  for _ in p:lines() do
    n = n + 1
  end
  p:close()
  return n
end

return M
