--- What lets a build on Podman be ended. Podman goes on with a build whose caller has gone, until the
--- program at work ends by itself. So the programs of our builds are put into the process namespace of a
--- container that does nothing: when that is removed, or dies, the kernel ends them all.
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local json = require "moonsand.json"

local M = {}

local lease = 86400 -- seconds; how long the container counts as owned by a controller that nobody can see

local Anchor = {}
Anchor.__index = Anchor

function Anchor:close()
  if self.id then
    self.engine:leave { method = "DELETE", path = "/containers/" .. self.id .. "?force=1&v=1", timeout = 30 }
    self.id = nil
  end
end

Anchor.__close = Anchor.close

--- Starts the container. Its field pid is its process id on the engine's machine. It has no network, no
--- capabilities, and next to no memory. Where it cannot be had (an image without a shell), builds go on
--- without it.
---@param engine moonsand.Engine
---@param image string id of an image with /bin/sh
---@return table? anchor with close() and __close, moonsand.Error? err
function M.start(engine, image)
  local owner, err = core.owner_label()
  if not owner then
    return nil, err
  end
  -- A name as those of runs have: by it `moonsand clean` knows its own.
  local name = "moonsand-" .. core.sha256(("%s %s %s"):format(owner, core.monotonic(), tostring {})):sub(1, 24)
  local answer
  answer, err = engine:request { method = "POST", path = "/containers/create?name=" .. name, body = {
    Image = image, Entrypoint = json.array {}, Cmd = json.array { "/bin/sh", "-c", "exec sleep " .. lease },
    User = "65534:65534", NetworkDisabled = true,
    Labels = { moonsand = "1", ["moonsand.owner"] = owner, ["moonsand.lease"] = tostring(os.time() + lease) },
    HostConfig = {
      NetworkMode = "none", CapDrop = json.array { "ALL" }, ReadonlyRootfs = true, PidsLimit = 1024,
      Memory = 32 << 20, LogConfig = { Type = "none" }, Ulimits = json.array {
        { Name = "nofile", Soft = 64, Hard = 64 }, { Name = "nproc", Soft = 1024, Hard = 1024 },
      },
    },
  } }
  if not answer then
    return nil, err
  elseif type(answer) ~= "table" or type(answer.Id) ~= "string" or not answer.Id:find "^%x+$" then
    return errors.fail("protocol", "the engine's answer to a create call has no id")
  end
  local self = setmetatable({ engine = engine, id = answer.Id }, Anchor)
  local ok
  ok, err = engine:request { method = "POST", path = "/containers/" .. self.id .. "/start" }
  local facts
  if ok then
    facts, err = engine:request { path = "/containers/" .. self.id .. "/json" }
  end
  local state = type(facts) == "table" and type(facts.State) == "table" and facts.State or {}
  if math.type(state.Pid) == "integer" and state.Pid > 0 then
    self.pid = state.Pid
    return self
  end
  self:close()
  return nil, err or errors.new("engine", "the container that a build hangs on has ended")
end

return M
