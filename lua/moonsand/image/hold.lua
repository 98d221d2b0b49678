--- Names that live as long as a build. An id alone is no name to every builder, and a name that others may move is
--- none to build on; so each build gives what it builds on a name of its own, and takes it away in the end.
---
--- A controller that was killed takes nothing away. So the name says who gave it, and when: engine:prune takes those
--- whose owner is dead, and those that are older than a lease when that cannot be told.
local core = require "moonsand.core"
local names = require "moonsand.image.names"
local store = require "moonsand.image.store"

local M = {}

local prefix = "localhost/moonsand/work:"
local lease = 86400 -- seconds; no build takes longer

-- A tag has no slashes. The machine's id is left out: it would only tell sooner that the machine was booted again.
local function own_tag(id)
  local owner, err = core.owner_label()
  if not owner then
    return nil, err
  end
  local unique = core.sha256(("%s %s %s"):format(id, core.monotonic(), tostring {}))
  return ("%d.%s.%s"):format(os.time(), unique:sub(1, 12), (owner:match "/(.*)$":gsub("/", ".")))
end

--- Gives the image a name of its own until the end of the block.
---@param engine moonsand.Engine
---@param id string
---@return { ref: string, id: string }? held to be closed, moonsand.Error? err
function M.take(engine, id)
  local tag, err = own_tag(id)
  if not tag then
    return nil, err
  end
  local ref = prefix .. tag
  local ok
  ok, err = store.tag(engine, id, ref)
  if not ok then
    return nil, err
  end
  return setmetatable({ ref = ref, id = id }, { __close = function()
    names.leave(engine, ref .. "?noprune=1")
  end })
end

--- Is it such a name, and does somebody still build with it? nil for any other.
---@param ref string
---@return "used"|"abandoned"|nil state
function M.state(ref)
  local since, owner = ref:match "^localhost/moonsand/work:(%d+)%.%x+%.(.+)$"
  since = since and #since < 16 and math.tointeger(tonumber(since))
  if not since then
    return nil
  end
  return core.owner_alive("-/" .. owner:gsub("%.", "/"), since + lease) and "used" or "abandoned"
end

return M
