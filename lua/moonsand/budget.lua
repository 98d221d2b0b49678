--- The pools of one Lua state share the machine that they run on: when one comes or goes, or takes another number of
--- workers, those with "auto" get more or less.
local sizing = require "moonsand.sizing"

local M = {}

---@class moonsand.Share
---@field count integer workers that the pool has now
local Share = {}
Share.__index = Share

local machines = {} -- name -> set of shares; forgotten pools leave by themselves
local came = 0 -- shares are looked at in the order in which they came

--- Two engines of this machine share it; one elsewhere has its own.
local function machine_of(facts)
  local place = facts["local"] and "here" or facts.endpoint
  return ("%s %s %d %d"):format(place, facts.kernel, facts.cpus, facts.memory_bytes)
end

local function members(name)
  local set, list = machines[name], {}
  for share in pairs(set or {}) do
    if share._alive() then
      list[#list + 1] = share
    else
      set[share] = nil
    end
  end
  table.sort(list, function(a, b)
    return a._order < b._order
  end)
  return list
end

local function counts_of(facts, list, one_more)
  local wants = {}
  for i, share in ipairs(list) do
    wants[i] = share._want
  end
  wants[#wants + 1] = one_more
  return sizing.share(facts, wants)
end

local function balance(name, facts)
  local list = members(name)
  for i, count in ipairs(counts_of(facts, list)) do
    local share = list[i]
    if share.count ~= count then
      share.count = count
      share._resize(count)
    end
  end
end

--- What a pool would get if it came now. Changes nothing.
---@param facts table engine:facts()
---@param want moonsand.Want
---@return integer
function M.preview(facts, want)
  local counts = counts_of(facts, members(machine_of(facts)), want)
  return counts[#counts]
end

--- A pool comes with the workers that preview() told; others may shrink.
---@param facts table engine:facts()
---@param want moonsand.Want
---@param resize fun(count: integer) called when the pool is to have another number of workers
---@param alive fun(): boolean false: the pool was closed by its engine's end
---@return moonsand.Share
function M.join(facts, want, resize, alive)
  local name = machine_of(facts)
  came = came + 1
  local share = setmetatable({
    count = M.preview(facts, want), _want = want, _resize = resize, _alive = alive, _order = came,
    _machine = name, _facts = facts,
  }, Share)
  machines[name] = machines[name] or setmetatable({}, { __mode = "k" })
  machines[name][share] = true
  balance(name, facts)
  return share
end

--- The pool has another wish from now on.
---@param workers integer|"auto"
function Share:change(workers)
  self._want.workers = workers
  balance(self._machine, self._facts)
end

--- The pool goes; others may grow. Safe twice.
function Share:leave()
  local set = machines[self._machine]
  if set and set[self] then
    set[self] = nil
    balance(self._machine, self._facts)
  end
end

--- Looks for pools that went with their engine.
function M.settle()
  for name in pairs(machines) do
    local list = members(name)
    if #list > 0 then
      balance(name, list[1]._facts)
    else
      machines[name] = nil
    end
  end
end

return M
