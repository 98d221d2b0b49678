--- Removes images of ours that nobody has used for a while, and names that killed builds have left.
local errors = require "moonsand.errors"
local hold = require "moonsand.image.hold"
local options = require "moonsand.options"
local reference = require "moonsand.image.reference"
local store = require "moonsand.image.store"
local used = require "moonsand.image.used"

local M = {}

local default_unused = 7 * 86400 -- seconds
local ours = "^localhost/moonsand/"

-- Those that hang on others come first: an engine removes no image that another one is made of.
local order = { run = 1, data = 2, image = 3, tree = 4, packages = 5, base = 6 }

local schema = { unused_for = options.age, older_than = options.age, dry_run = options.flag }

-- A name of the user's own makes it the user's own: given to one of ours, or to an image that was built on one
-- of ours and has inherited its labels. Without any name, only our own record says that it is one of ours.
local function foreign_name(item)
  for _, ref in ipairs(item.refs) do
    if not ref:find(ours) then
      return ref
    end
  end
  return nil
end

-- Sets item.used, and item.made: the time in the image, or when it was first used when that is later.
local function add_times(item)
  local last, first = used.last(item.id)
  item.made = math.max(item.created, first or 0)
  local base = item.kind == "run" and used.last(item.labels["moonsand.base"]) or 0
  item.used = math.max(item.made, last or 0, base)
end

-- Images that containers use, and those that these were made of.
local function in_use(list, containers)
  local by_id, out = {}, {}
  for _, item in ipairs(list) do
    by_id[item.id] = item
  end
  for _, c in ipairs(containers) do
    local id = c.image
    while id and not out[id] do
      out[id] = c
      id = by_id[id] and store.is_added(by_id[id].kind) and reference.id(by_id[id].labels["moonsand.base"]) or nil
    end
  end
  return out
end

-- Takes the names that killed builds have left, and goes on as if they had never been; item.held says that a build
-- is at work on it. An image that had no other name goes with it: somebody has taken its own away meanwhile.
local function drop_names(engine, item, dry_run, out)
  local left = {}
  for _, ref in ipairs(item.refs) do
    local state = hold.state(ref)
    local ok, err = state == "abandoned", nil
    if ok and not dry_run then
      ok, err = store.remove(engine, ref)
      ok = ok or err.code == "not_found"
    end
    if ok then
      out.names[#out.names + 1] = { ref = ref, id = item.id }
    elseif not err or err.code == "conflict" then -- a container uses the image that would go with it
      left[#left + 1] = ref
      item.held = item.held or state == "used"
    else
      return nil, err
    end
  end
  item.gone = #left == 0 and #item.refs > 0
  item.refs = left
  return true
end

local function why_kept(item, now, o, busy)
  if item.held then
    return "a build is at work on it"
  end
  local c = busy[item.id]
  if c then
    return ("the container %s uses it"):format(c.name)
  end
  local name = foreign_name(item)
  if name then
    return ("it has the name %s"):format(name)
  end
  local age, idle = now - item.made, now - item.used
  if age < o.older_than then
    return "it is younger"
  elseif idle < o.unused_for then
    return "it was used since"
  end
  return nil
end

-- By id, so that a name that went over to another image meanwhile takes nothing with it; an image of several
-- names has to lose all but one of them first.
local function remove(engine, item)
  for i = 2, #item.refs do
    local ok, err = store.remove(engine, item.refs[i])
    if not ok and err.code ~= "not_found" then
      return nil, err
    end
  end
  return store.remove(engine, item.id)
end

--- Removes images that moonsand has built (kinds "image", "tree", "packages", "base") or made for runs ("run", "data"),
--- and no others: those that were made more than older_than ago (no such limit by default), that this user has not
--- used for unused_for (7 days), that no container uses, and that have no name but ours.
--- Use is what this user on this machine has done: a sandbox was made of it, or engine:image found it.
--- Names that builds give for as long as they last go when their controller is dead, or cannot be told and they are
--- more than a day old; whatever image has them.
--- dry_run: only say what would be removed.
--- Times are seconds, or "30d"; 0: at once.
---@param given { unused_for: number|string|nil, older_than: number|string|nil, dry_run: boolean? }?
--- In what it returns, removed and kept are lists of { id, refs, kind, size, made, used } (times in seconds since
--- the epoch), kept with why; bytes is the sum of the sizes of removed: at most so much is free now, as images
--- share layers.
--- names is a list of { ref, id } of killed builds.
---@return { removed: table[], kept: table[], names: table[], bytes: integer }? pruned
---@return moonsand.Error? err
function M.prune(engine, given)
  local o = options.check("engine:prune", given or {}, schema, 2)
  o.unused_for, o.older_than = o.unused_for or default_unused, o.older_than or 0
  local list, err = store.list(engine, { all = true })
  if not list then
    return nil, err
  end
  local containers
  containers, err = store.containers(engine)
  if not containers then
    return nil, err
  end
  local now, busy = os.time(), in_use(list, containers)
  local out = { removed = {}, kept = {}, names = {}, bytes = 0 }
  table.sort(list, function(a, b)
    local first, second = order[a.kind] or 0, order[b.kind] or 0
    if first ~= second then
      return first < second
    end
    return a.created > b.created
  end)
  local function failed(e)
    return errors.fail(e.code, e.message, { op = "prune", status = e.status })
  end
  for _, item in ipairs(list) do
    local dropped
    dropped, err = drop_names(engine, item, o.dry_run, out)
    if not dropped then
      return failed(err)
    end
    if order[item.kind] and not item.gone and (#item.refs > 0 or used.last(item.id)) then
      add_times(item)
      local entry = {
        id = item.id, refs = item.refs, kind = item.kind, size = item.size, made = item.made, used = item.used,
        why = why_kept(item, now, o, busy),
      }
      if not entry.why and not o.dry_run then
        local ok
        ok, err = remove(engine, item)
        if not ok and err.code == "conflict" then
          entry.why = err.message
        elseif not ok and err.code ~= "not_found" then
          return failed(err)
        end
      end
      if entry.why then
        out.kept[#out.kept + 1] = entry
      else
        out.removed[#out.removed + 1] = entry
        out.bytes = out.bytes + item.size
      end
    end
  end
  return out
end

return M
