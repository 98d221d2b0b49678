--- The options of moonsand.sweep: what each may be, and which make sense together.
local options = require "moonsand.options"
local outcome = require "moonsand.sweep.outcome"
local policy = require "moonsand.sweep.policy"
local spaces = require "moonsand.sweep.space"

local M = {}

local function any(_, value)
  return value
end

local function bad(name, value, wanted, level)
  error(("option '%s': %s is not %s"):format(name, options.show(value), wanted), level + 1)
end

local function number(name, value, level)
  if type(value) ~= "number" or value ~= value then
    bad(name, value, "a number", level + 1)
  end
  return value
end

local function seed(name, value, level)
  local whole = math.tointeger(value)
  if not whole or type(value) == "string" then
    bad(name, value, "a whole number", level + 1)
  end
  return whole
end

--- "a" or { "a", "b" } -> a list of texts.
local function names(name, value, level)
  local list = type(value) == "table" and value or { value }
  for i, item in ipairs(list) do
    options.text(("%s[%d]"):format(name, i), item, level + 1)
  end
  if #list == 0 then
    bad(name, value, "a list of names", level + 1)
  end
  return list
end

local function cache(name, value, level)
  if type(value) == "boolean" then
    return value
  end
  local list = names(name, value, level + 1)
  return list
end

local function resume(name, value, level)
  if value ~= "failed" and type(value) ~= "boolean" then
    bad(name, value, 'true, false or "failed"', level + 1)
  end
  return value
end

local function fsync(name, value, level)
  if value == "always" or value == "never" then
    return value
  end
  return options.duration(name, value, level) -- a tail call: the level stays
end

local function args(name, value, level)
  if type(value) ~= "function" and type(value) ~= "table" then
    bad(name, value, "a list of words or a function of the parameters that returns one", level + 1)
  end
  return value
end

local directions = options.one_of { "maximize", "minimize" }

M.schema = {
  script = options.text, code = options.text, language = options.one_of { "python", "sh", "lua" },
  space = any, where = any, constants = options.table, data = names, objective = any, direction = directions,
  sampler = any, pruner = any, seed = seed, jobs = options.count, workers = options.count, retry = policy.retry,
  halt = policy.halt, fail_fast = options.flag, target = number, max_trials = options.count,
  max_time = options.duration, journal = options.text, resume = resume, fsync = fsync, cache = cache,
  plugins = options.table, timeout = options.duration, args = args, files = options.table, env = options.table,
  on_trial = options.func, keep = options.flag, trust_key = options.text, title = options.text,
}

local goal_wanted = 'a metric\'s name such as "Sharpe Ratio", a function(metrics, trial), or a list such as '
  .. '{ { "Sharpe Ratio", "maximize" }, { "Max. Drawdown [%]", "maximize" } }'

local function goal(value, direction, level)
  if type(value) == "string" and value ~= "" then
    return { name = outcome.name(value), maximize = direction ~= "minimize" }
  elseif type(value) == "function" then
    return { f = value, maximize = direction ~= "minimize" }
  end
  bad("objective", value, goal_wanted, level + 1)
end

local function goals(value, direction, level)
  if type(value) ~= "table" then
    return { goal(value, direction, level + 1) }
  elseif #value == 0 then
    bad("objective", value, goal_wanted, level + 1)
  elseif direction then
    error("option 'direction': several objectives have one each: { { \"name\", \"maximize\" }, ... }", level + 1)
  end
  local out = {}
  for i, item in ipairs(value) do
    if type(item) ~= "table" then
      item = { item }
    end
    if item[2] ~= nil then
      directions(("objective[%d]"):format(i), item[2], level + 1)
    end
    out[i] = goal(item[1], item[2], level + 1)
  end
  return out
end

-- Constants and data sets are dimensions as the others are.
local function whole_space(o, level)
  local given = {}
  if o.space ~= nil and type(o.space) ~= "table" then
    bad("space", o.space, "a table of parameters by name", level + 1)
  end
  for name, value in pairs(o.space or {}) do
    given[name] = value
  end
  for name, value in pairs(o.constants or {}) do
    if given[name] ~= nil then
      error(("option 'constants': the space has %s, too"):format(options.show(name)), level + 1)
    end
    given[name] = value
  end
  if o.data then
    if given.data ~= nil then
      error("option 'data': the space has a parameter of that name, too", level + 1)
    end
    given.data = #o.data == 1 and o.data[1] or spaces.choice(o.data)
  end
  local made = spaces.new(given, o.where, level + 1) -- no tail call: the level of its errors counts on it
  return made
end

local function check_together(o, level)
  if o.script and o.code then
    error("moonsand.sweep: give a script's path or code, not both", level + 1)
  elseif o.jobs and o.workers and o.jobs ~= o.workers then
    error("moonsand.sweep: 'workers' is another name of 'jobs'; give one of them", level + 1)
  elseif o.objective == nil then
    error("moonsand.sweep: option 'objective' is required: " .. goal_wanted, level + 1)
  elseif o.resume and not o.journal then
    error("moonsand.sweep: option 'resume' needs the journal to go on with: journal = \"sweep.jsonl\"", level + 1)
  elseif o.target and #o.goals > 1 then
    error("moonsand.sweep: option 'target' is for one objective", level + 1)
  end
  local sampler = type(o.sampler) == "table" and o.sampler.name or o.sampler
  if sampler == "tpe" and #o.goals > 1 then
    error("moonsand.sweep: the sampler tpe learns from one objective; take random, latin or sobol for several",
      level + 1)
  elseif o.pruner and #o.goals > 1 then
    error("moonsand.sweep: a pruner compares by one objective", level + 1)
  end
  -- A sampler of the user's may come to an end by itself.
  local own = type(o.sampler) == "table" and o.sampler.ask
  if not o.space:size() and not own and not o.max_trials and not o.max_time and not o.target then
    error("moonsand.sweep: this space has no end: give max_trials, max_time or target", level + 1)
  end
end

--- Checks what moonsand.sweep was given. Besides the options themselves: goals, space (made of space, constants, data
--- and where), names (of its parameters), keep and seed in any case, prune_by. Raises for misuse.
---@param given table
---@param level integer whom to blame
---@return table
function M.check(given, level)
  level = level + 1
  local o = options.check("moonsand.sweep", given, M.schema, level)
  o.seed, o.jobs, o.keep = o.seed or 0, o.jobs or o.workers, o.keep ~= false
  if o.resume == false then
    o.resume = nil
  end
  o.goals = o.objective ~= nil and goals(o.objective, o.direction, level) or nil
  o.space = whole_space(o, level)
  check_together(o, level)
  o.names, o.maximize = o.space.names, o.goals[1].maximize
  if type(o.pruner) == "table" and o.pruner.by ~= nil then
    o.prune_by = outcome.name(options.text("pruner.by", o.pruner.by, level))
    local copy = setmetatable({}, getmetatable(o.pruner))
    for k, v in pairs(o.pruner) do
      copy[k] = v
    end
    o.pruner, copy.by = copy, nil
  end
  return o
end

return M
