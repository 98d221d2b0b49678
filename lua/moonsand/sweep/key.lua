--- What makes two trials the same: script, input files, image, data and parameters. Results by that key.
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local journals = require "moonsand.sweep.journal"

local M = {}

--- One text for what all trials of a sweep have in common.
---@param parts string[] each as it is; where one ends and the next begins is part of it
---@return string hex
function M.context(parts)
  local out = {}
  for i, part in ipairs(parts) do
    out[i] = #part .. ":" .. part
  end
  return assert(core.sha256(table.concat(out)))
end

--- The parameters as the program sees them, the same text for the same content.
---@param params table<string, string|number|boolean>
---@return string
function M.canonical(params)
  return json.encode(params)
end

---@param context string of M.context
---@param canonical string of M.canonical
---@param args string[]? the words that the program gets besides
---@return string hex
function M.of(context, canonical, args)
  local all = context .. canonical
  if args then
    all = all .. json.encode(json.array { table.unpack(args) })
  end
  return assert(core.sha256(all))
end

-- What ran to its end by its own doing would do so again. A timeout may be the machine's doing, but costs all of its
-- time again, and who wants that says so (retry, resume = "failed"). All else is chance.
local lasting = { error = true, invalid_value = true, oom = true, output_limit = true, timeout = true }

-- Can a trial like it have its result? In the same sweep: what is pruned is so by its pruner, beside its other trials.
local function is_result(trial)
  return trial.state == "complete" or trial.state == "pruned" or trial.state == "failed" and lasting[trial.reason]
end

---@class moonsand.sweep.Cache results by key
local Cache = {}
Cache.__index = Cache

-- What the trials that a limited cache remembers take, about: metrics come out of a container, and may be many.
local most_bytes = 4 << 20

--- limit: how many of this sweep's trials are remembered, the oldest go first, and without their series and reports;
--- nil: all, as they are.
---@param limit integer?
---@return moonsand.sweep.Cache
function M.cache(limit)
  return setmetatable({
    _limit = limit, _own = {}, _earlier = {}, _keys = {}, _first = 1, _last = 0, _bytes = 0,
  }, Cache)
end

-- What another trial needs of it to end in the same way, and about what that takes.
local function brief(trial)
  local bytes = 600
  for _, v in pairs(trial.metrics or {}) do
    bytes = bytes + 64 + (type(v) == "string" and #v or 0)
  end
  return {
    brief = true, bytes = bytes, state = trial.state, reason = trial.reason, message = trial.message,
    metrics = trial.metrics, value = trial.value, values = trial.values, wall_s = trial.wall_s, cpu_s = trial.cpu_s,
    memory_peak = trial.memory_peak,
  }
end

local function put_briefly(self, key, trial)
  if self._own[key] then
    return
  end
  local entry = brief(trial)
  self._own[key] = entry
  self._last = self._last + 1
  self._keys[self._last] = key
  self._bytes = self._bytes + entry.bytes
  while self._last - self._first + 1 > self._limit or self._bytes > most_bytes do
    local oldest = self._keys[self._first]
    self._bytes = self._bytes - self._own[oldest].bytes
    self._own[oldest], self._keys[self._first] = nil, nil
    self._first = self._first + 1
  end
end

--- Remembers a trial that has ended, when it would end in the same way again.
---@param trial table
function Cache:put(trial)
  if not is_result(trial) then
    return
  end
  local key = trial.key
  if not key then -- of a journal, where it may be missing
    return
  end
  if self._limit then
    return put_briefly(self, key, trial)
  end
  self._own[key] = trial
end

--- The trial of this sweep with that key; brief = true: only what another one needs of it.
---@return table? trial
function Cache:own(key)
  return self._own[key]
end

--- The complete trial of an earlier sweep with that key.
---@return table? trial
function Cache:earlier(key)
  return self._earlier[key]
end

--- Takes in the complete trials of other sweeps' journals. A journal that does not exist, or is damaged, is an error:
--- who names one means it.
---@param paths string[]
---@return boolean? ok, moonsand.Error? err
function Cache:load(paths)
  for _, path in ipairs(paths) do
    local old, err = journals.load(path)
    if not old then
      return errors.fail(err.code or "io", ("the cache %s cannot be used: %s"):format(path, err.message),
        { op = "sweep", cause = err })
    end
    for _, trial in pairs(old.trials) do
      if trial.state == "complete" and trial.key then
        self._earlier[trial.key] = trial
      end
    end
  end
  return true
end

return M
