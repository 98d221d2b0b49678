--- What a study says about itself: how it went, what it was made of, what failed and why.
local text = require "moonsand.text"

local M = {}

local longest = 300

--- One harmless line, whatever it was: a list is joined, a table with a name is its name.
---@param value any
---@param max integer?
---@return string? nil when there is nothing to show
function M.show(value, max)
  max = max or longest
  local kind = type(value)
  if kind == "string" then
    return text.maybe(value, max)
  elseif math.type(value) == "float" then
    return ("%.10g"):format(value)
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  elseif kind ~= "table" then
    return nil
  elseif type(value.message) == "string" or type(value.name) == "string" then
    return text.maybe(value.message or value.name, max)
  end
  local parts = {}
  for i = 1, math.min(#value, 50) do
    parts[#parts + 1] = M.show(value[i], 80)
  end
  return #parts > 0 and text.harmless(table.concat(parts, ", "), max) or nil
end

--- Sorts in place: those with the most of `amount` first, equal ones by `name`.
---@param list table[]
---@param amount string field with a number
---@param name string field with what differs between any two
---@return table[] list
function M.most_first(list, amount, name)
  table.sort(list, function(a, b)
    if a[amount] ~= b[amount] then
      return a[amount] > b[amount]
    end
    return a[name] < b[name]
  end)
  return list
end

local function number(value)
  return type(value) == "number" and value == value and value > -math.huge and value < math.huge and value or nil
end

local function range_of(d)
  local low, high = M.show(d.low), M.show(d.high)
  if type(d.values) == "table" and #d.values > 0 then
    local some = {}
    for i = 1, math.min(#d.values, 12) do
      some[i] = M.show(d.values[i], 40) or "?"
    end
    if #d.values > #some then
      some[#some + 1] = ("… (%d values)"):format(#d.values)
    end
    return table.concat(some, ", ")
  elseif low and high then
    local step = M.show(d.step)
    return ("%s to %s%s%s"):format(low, high, step and ", step " .. step or "", d.log and ", logarithmic" or "")
  end
  return "?"
end

local ends = {
  exhausted = "every point of the space was tried", max_trials = "as many trials were made as were asked for",
  max_time = "its time was up", target = "the target was reached", failures = "too many trials failed",
  fail_fast = "a trial failed", stop = "it was stopped", cancel = "it was cancelled", error = "of an error",
}

--- Why a sweep ended: its word for that in plain English, or what a plugin said.
---@param why any
---@return string?
function M.stopped(why)
  return ends[why] or M.show(why)
end

local known = {
  { "script", "Script" }, { "image", "Image" }, { "data", "Data" }, { "sampler", "Sampler" }, { "pruner", "Pruner" },
  { "seed", "Seed" }, { "jobs", "Jobs" }, { "engine", "Engine" }, { "isolation", "Isolation" },
  { "journal", "Journal" },
}

--- Lines of { label, text } with where the study comes from.
---@param meta table
---@return string[][]
function M.origin(meta)
  local out = {}
  for _, fact in ipairs(known) do
    local shown = M.show(meta[fact[1]])
    if shown then
      out[#out + 1] = { fact[2], shown }
    end
  end
  for i, d in ipairs(type(meta.params) == "table" and meta.params or {}) do
    if type(d) == "table" and i <= 50 then
      out[#out + 1] = { "Space of " .. (M.show(d.name, 80) or "?"), range_of(d) }
    end
  end
  return out
end

--- Counts of all trials by state, and their costs.
---@param trials table[]
---@return table
function M.counts(trials)
  local out = { total = #trials, cached = 0, retried = 0 }
  for _, state in ipairs { "complete", "pruned", "failed", "running", "waiting" } do
    out[state] = 0
  end
  local times, cpu, memory = {}, 0, nil
  for _, trial in ipairs(trials) do
    if out[trial.state] then
      out[trial.state] = out[trial.state] + 1
    end
    out.cached = out.cached + (trial.cached and 1 or 0)
    local again = math.tointeger(trial.attempts) or 1
    out.retried = out.retried + (again > 1 and 1 or 0)
    if not trial.cached then
      times[#times + 1] = number(trial.wall_s)
    end
    cpu = cpu + (number(trial.cpu_s) or 0)
    local peak = number(trial.memory_peak)
    memory = peak and math.max(memory or 0, peak) or memory
  end
  table.sort(times)
  out.runs_s = 0
  for _, t in ipairs(times) do
    out.runs_s = out.runs_s + t
  end
  out.median_s = times[(#times + 1) // 2]
  out.cpu_s, out.memory_peak = cpu > 0 and cpu or nil, memory
  return out
end

--- The sweep's own counts, for a study whose trials were not kept (meta.kept is false): total, by state, by reason.
---@param meta table
---@param counts table from counts(); changed
---@param failures table from failures(); of the few trials there are
---@return table failures
function M.not_kept(meta, counts, failures)
  local given = meta.counts
  if meta.kept ~= false or type(given) ~= "table" then
    return failures
  end
  counts.total = math.tointeger(given.done) or counts.total
  for _, name in ipairs { "complete", "pruned", "failed", "cached" } do
    counts[name] = math.tointeger(given[name]) or counts[name]
  end
  local out = {}
  for reason, n in pairs(type(given.failures) == "table" and given.failures or {}) do
    if type(reason) == "string" and math.tointeger(n) and n > 0 then
      local shown = M.show(reason, 80) or "not said"
      out[#out + 1] = { reason = shown, count = n, numbers = {}, messages = {}, distinct = 0 }
    end
  end
  return M.most_first(out, "count", "reason")
end

--- When it ran and for how long; from the trials where the study does not say.
---@param meta table
---@param trials table[]
---@param counts table of all trials, kept or not
---@return { started: number?, ended: number?, wall_s: number?, rate: number? }
function M.times(meta, trials, counts)
  local started, ended = number(meta.started), number(meta.ended)
  local wall = number(meta.elapsed_s) or number(meta.wall_s)
  if not (started and ended) then
    local first, last
    for _, trial in ipairs(trials) do
      local at = number(trial.started)
      if at then
        first = math.min(first or at, at)
        last = math.max(last or at, at + (number(trial.wall_s) or 0))
      end
    end
    started, ended = started or first, ended or last
  end
  wall = wall or started and ended and ended >= started and ended - started or nil
  local here = type(meta.counts) == "table" and math.tointeger(meta.counts.here) -- in that time
  local done = here or counts.complete + counts.pruned + counts.failed
  return { started = started, ended = ended, wall_s = wall, rate = wall and wall > 0 and done / wall or nil }
end

--- Failed trials by reason, the most frequent first, with the messages said most often.
---@param trials table[]
---@return { reason: string, count: integer, numbers: integer[], messages: table[] }[]
function M.failures(trials)
  local groups, out = {}, {}
  for _, trial in ipairs(trials) do
    if trial.state == "failed" then
      local reason = M.show(trial.reason, 80) or "not said"
      local group = groups[reason]
      if not group then
        group = { reason = reason, count = 0, numbers = {}, said = {}, messages = {} }
        groups[reason], out[#out + 1] = group, group
      end
      group.count = group.count + 1
      if #group.numbers < 20 then
        group.numbers[#group.numbers + 1] = trial.number
      end
      local message = M.show(trial.message)
      local entry = message and group.said[message]
      if entry then
        entry.count = entry.count + 1
      elseif message and #group.messages < 1000 then
        entry = { text = message, count = 1 }
        group.said[message], group.messages[#group.messages + 1] = entry, entry
      end
    end
  end
  for _, group in ipairs(out) do
    for i, entry in ipairs(group.messages) do
      entry.place = i
    end
    M.most_first(group.messages, "count", "place")
    group.distinct, group.said = #group.messages, nil
    group.messages = table.move(group.messages, 1, math.min(3, #group.messages), 1, {})
    for _, entry in ipairs(group.messages) do
      entry.place = nil -- not for the page
    end
  end
  return M.most_first(out, "count", "reason")
end

local function bound(value)
  return number(value) or M.show(value, 40)
end

local function period(p)
  if type(p) ~= "table" then
    return nil
  end
  local from, to = p.from, p.to
  if from == nil then
    from, to = p[1], p[2]
  end
  from, to = bound(from), bound(to)
  return from and to and type(from) == type(to) and { from = from, to = to } or nil
end

--- Windows of meta.walkforward, fit for a page; nil when there are none, with the reason.
---@param given any
---@return table[]? windows, string? why
function M.walkforward(given)
  if given == nil then
    return nil, "This study has no walk-forward windows."
  elseif type(given) ~= "table" or type(given.windows) ~= "table" or #given.windows == 0 then
    return nil, "This study's walk-forward windows could not be read: meta.walkforward.windows is no list."
  end
  local out = {}
  for i = 1, math.min(#given.windows, 500) do
    local w = given.windows[i]
    w = type(w) == "table" and w or {}
    local params, names = {}, {}
    for name in pairs(type(w.params) == "table" and w.params or {}) do
      names[#names + 1] = type(name) == "string" and name or nil
    end
    table.sort(names)
    for k = 1, math.min(#names, 50) do
      params[k] = { M.show(names[k], 80) or "?", M.show(w.params[names[k]], 120) or "" }
    end
    out[i] = {
      in_sample = period(w.in_sample), out_of_sample = period(w.out_of_sample), params = params,
      in_value = number(w.in_value), out_value = number(w.out_value), reason = M.show(w.reason, 300),
    }
  end
  return out
end

return M
