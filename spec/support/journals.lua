--- What the specs of a sweep's journal share: a directory of their own, records, and journals made of them.
local assert = require "luassert"
local journal = require "moonsand.sweep.journal"

local M = {}

M.dir = io.popen("mktemp -d"):read "l"
M.path = M.dir .. "/sweep.jsonl"
local nan = 0 / 0

function M.sh(command)
  local p = assert(io.popen(command .. " 2>&1"))
  local out = p:read "a"
  p:close()
  return out
end

function M.write(bytes, to)
  local f = assert(io.open(to or M.path, "wb"))
  f:write(bytes)
  f:close()
end

function M.read(from)
  local f = assert(io.open(from or M.path, "rb"))
  local bytes = f:read "a"
  f:close()
  return bytes
end

M.header = {
  signature = "fast=5..30:5",
  script = "sma.py",
  objective = "Sharpe Ratio",
  direction = "maximize",
  started = 1700000000.5,
  params = { { name = "fast", kind = "range", values = { 5, 10, 15 } }, { name = "slow", kind = "list", low = 10 } },
}

--- Begins anew, or goes on.
function M.open(options)
  options = options or {}
  options.header = options.header or M.header
  options.fsync = options.fsync or "never"
  if not options.resume then
    os.remove(M.path)
  end
  return assert(journal.open(M.path, options))
end

function M.trial(number, state, more)
  local t = { number = number, state = state, params = { fast = number, slow = number / 4 }, attempts = 1 }
  for k, v in pairs(more or {}) do
    t[k] = v
  end
  return t
end

--- Three trials with all that a trial can have.
function M.some(j)
  assert(j:append(M.trial(1, "running", { started = 1.5 })))
  assert(j:append { type = "report", number = 1, attempts = 1, step = 1, metrics = { loss = 0.5 } })
  assert(j:append(M.trial(2, "running")))
  assert(j:append { type = "report", number = 1, attempts = 1, step = 2.5, metrics = { loss = nan } })
  local metrics = { ["Sharpe Ratio"] = 0.1, SQN = nan, ["Größe"] = 2 }
  assert(j:append(M.trial(1, "complete", { value = 0.1, metrics = metrics })))
  assert(j:append(M.trial(2, "failed", { reason = "timeout", message = "too slow" })))
  assert(j:append(M.trial(3, "running")))
end

function M.states(list)
  local out = {}
  for i, t in ipairs(list) do
    out[i] = t.number .. " " .. t.state
  end
  return table.concat(out, ", ")
end

--- Of a table that may hold NaN; types of numbers count.
function M.text(v)
  if type(v) ~= "table" then
    return (v ~= v and "nan" or tostring(v)) .. (math.type(v) or type(v)):sub(1, 1)
  end
  local keys = {}
  for k in pairs(v) do
    keys[#keys + 1] = k
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for i, k in ipairs(keys) do
    keys[i] = tostring(k) .. "=" .. M.text(v[k])
  end
  return "{" .. table.concat(keys, " ") .. "}"
end

function M.fails(code, pattern, value, err)
  assert.is_nil(value)
  assert.equal(code, err.code, err.message)
  assert.truthy(err.message:find(pattern), err.message)
  return err.message
end

function M.begin()
  assert(os.execute("mkdir -p " .. M.dir))
end

function M.finish()
  os.execute("rm -rf " .. M.dir)
end

return M
