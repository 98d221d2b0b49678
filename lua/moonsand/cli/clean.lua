--- moonsand clean: removes what controllers that no longer live have left on the engine.
local common = require "moonsand.cli.common"
local core = require "moonsand.core"
local json = require "moonsand.json"
local term = require "moonsand.cli.term"

local M = {}

function M.define(parser)
  local c = parser:command("clean", "Remove our containers whose owner no longer lives.")
  common.engine_option(c)
  c:flag("--dry-run", "Only say what would be removed.")
  c:flag("--all", "Remove those of living owners, too.")
  c:flag("--json", "Print JSON.")
end

--- Did we make the container? Labels alone do not tell: an image hands its own on to every container, and
--- anybody may write ours into an image. It cannot choose a container's name.
---@param container table as the engine lists it
---@return boolean
function M.is_ours(container)
  local labels = type(container.Labels) == "table" and container.Labels or {}
  if labels.moonsand ~= "1" or type(labels["moonsand.owner"]) ~= "string" then
    return false
  end
  for _, name in ipairs(type(container.Names) == "table" and container.Names or {}) do
    if tostring(name):find "^/?moonsand%-%x+$" or tostring(name):find "^/?moonsand%-layer%-%x+$" then
      return true
    end
  end
  return false
end

--- Does somebody who lives own the container?
---@param labels table<string, string>
---@return boolean
function M.owned(labels)
  local owner, lease = labels["moonsand.owner"], math.tointeger(tonumber(labels["moonsand.lease"]))
  if type(owner) ~= "string" or owner:find("\0", 1, true) then
    return false
  end
  return core.owner_alive(owner, lease or 0)
end

local function name_of(container)
  local names = type(container.Names) == "table" and container.Names or {}
  return tostring(names[1] or container.Id):gsub("^/", "")
end

local filter = "/containers/json?all=true&filters=%7B%22label%22%3A%5B%22moonsand%3D1%22%5D%7D"
-- Podman's compatible call fails as a whole when one container is half created or half removed.
local lists = { docker = filter, podman = "/libpod" .. filter }

--- The containers to remove.
---@param engine moonsand.Engine
---@param all boolean those of living owners, too
---@return { id: string, name: string, state: string }[]
function M.find(engine, all)
  local answer, err = engine:request { path = lists[engine:facts().kind] }
  if not answer then
    error(err, 0)
  end
  local out = {}
  for _, c in ipairs(answer) do
    if M.is_ours(c) and (all or not M.owned(c.Labels)) then
      out[#out + 1] = { id = c.Id, name = name_of(c), state = tostring(c.State) }
    end
  end
  return out
end

function M.main(args)
  local engine <close> = common.connect(args)
  local found, failures = M.find(engine, args.all), 0
  local removed = json.array {}
  for _, c in ipairs(found) do
    local ok, err = true, nil
    if not args.dry_run then
      ok, err = engine:request { method = "DELETE", path = "/containers/" .. c.id .. "?force=1&v=1" }
      -- gone meanwhile, or being removed by somebody else
      ok = ok or err.status == 404 or err.status == 409
    end
    if ok then
      removed[#removed + 1] = c
      if not args.json then
        io.stdout:write(args.dry_run and "would remove " or "removed ", term.line(c.name), " (",
          term.line(c.state), ")\n")
      end
    else
      failures = failures + 1
      term.complain(c.name .. ": " .. err.message)
    end
  end
  if args.json then
    common.print_json { removed = removed, dry_run = args.dry_run or false, failures = failures }
  elseif #found == 0 then
    io.stdout:write "nothing to remove\n"
  end
  return failures > 0 and 1 or 0
end

return M
