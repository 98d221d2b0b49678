-- A journal that somebody else wrote, as a file. It is refused with the place, or read; and then all of it can be
-- shown, is bounded, and comes back as it is when it is written again.
local core = require "moonsand.core"
local journal = require "moonsand.sweep.journal"
local lines = require "moonsand.sweep.line"
local trials = require "moonsand.sweep.trial"

local path = os.tmpname()
local cleanup = setmetatable({}, { __gc = function()
  os.remove(path)
end })
local header = '{"type":"sweep","version":1}\n'

local function write(bytes)
  local f = assert(io.open(path, "wb"))
  f:write(bytes)
  f:close()
end

local function same(a, b)
  if type(a) ~= "table" then
    return (a == b or a ~= a and b ~= b) and math.type(a) == math.type(b)
  elseif type(b) ~= "table" then
    return false
  end
  for k, v in pairs(a) do
    if not same(v, b[k]) then
      return false
    end
  end
  for k in pairs(b) do
    if a[k] == nil then
      return false
    end
  end
  return true
end

local function shown(s, max)
  assert(type(s) == "string" and #s <= max and utf8.len(s), "no text, or too long")
  assert(not s:find "%c" and not s:find "\xc2[\x80-\x9f]", "cannot be shown")
end

local function scalars(t, free)
  local n = 0
  for name, v in pairs(t) do
    n = n + 1
    shown(name, trials.max.name)
    if type(v) == "string" and not free then
      shown(v, trials.max.text)
    end
    assert(type(v) == "number" or type(v) == "boolean" or type(v) == "string", "no scalar")
  end
  assert(n <= trials.max.scalars, "too many")
end

local function check(trial)
  assert(math.type(trial.number) == "integer" and trial.number > 0 and trials.states[trial.state])
  scalars(trial.params, true)
  scalars(trial.metrics or {})
  shown(trial.message or "", trials.max.message)
  shown(trial.reason or "", trials.max.label)
  shown(trial.key or "", trials.max.name)
  for name, list in pairs(trial.series or {}) do
    shown(name, trials.max.name)
    assert(#list <= trials.max.points)
    for _, v in ipairs(list) do
      assert(type(v) == "number" or not shown(v, trials.max.label))
    end
  end
  for _, report in ipairs(trial.reports or {}) do
    assert(type(report.step) == "number")
    scalars(report.metrics)
  end
  for _, v in ipairs(trial.values or {}) do
    assert(type(v) == "number")
  end
  for _, name in ipairs { "value", "started", "wall_s" } do
    assert(trial[name] == nil or type(trial[name]) == "number", name)
  end
end

-- A line's record, as it is found out by the way that takes any line.
local function slowly(codec, line)
  return (codec:record((core.json_value(line))))
end

-- Each record that can be read, written again, and read again.
local function each(bytes)
  write(bytes)
  local file <close> = assert(core.journal(path, { mode = "read" }))
  local again <close> = assert(core.journal(path, { mode = "read" }))
  local codec, out, records = lines.codec(), {}, {}
  while true do
    local value, err = file:record(lines.shape)
    local line = again:next()
    if type(err) == "string" then
      local number = value
      assert(err == line)
      value, err = core.json_value(line, lines.shape)
      assert(err == true and value.number == number and value.state == "running")
    end
    if value == nil then
      assert(not err or err.code == "protocol" and err.message:find "line %d+ %(byte %d+%)", err and err.message)
      break
    end
    local record, why = codec:record(value, err)
    assert(same(record, slowly(codec, line)), "known otherwise by its shape")
    if record then
      records[#records + 1] = record
      local good, written = pcall(codec[record.type] or codec.other, codec, record)
      -- Only a text of a parameter may be too long to be written.
      assert(good or type(written) == "string" and written:find "longer than", written)
      out[#out + 1] = good and written or '{"type":"x"}'
      records[#records] = good and record or { type = "x" }
    else
      assert(type(why) == "string" and not why:find "%c")
    end
  end
  return table.concat(out, "\n") .. (#out > 0 and "\n" or ""), records
end

local function load_all()
  local all, err = journal.load(path)
  if not all then
    assert(err.code == "protocol" or err.code == "unsupported", err.code)
    return
  end
  local before = 0
  for _, trial in ipairs(all.trials) do
    assert(trial.number > before, "not in order")
    before = trial.number
    check(trial)
  end
  assert(all.last == before)
  for _, again in ipairs(journal.again(all.trials, "failed")) do
    assert(again.state ~= "complete" and again.state ~= "pruned")
  end
  assert(journal.load(path, { keep = false, on_trial = check }))
end

return function(bytes)
  assert(cleanup)
  local text, records = each(bytes)
  local text_again, records_again = each(text)
  assert(same(records, records_again), "reads otherwise: " .. text)
  assert(text == text_again, "is written otherwise: " .. text)
  write(bytes)
  load_all()
  write(header .. bytes)
  load_all()
end
