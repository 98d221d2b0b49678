--- The options of engine:sandbox that keep containers or interpreters ready, and which of them go together.
local errors = require "moonsand.errors"
local options = require "moonsand.options"
local program = require "moonsand.program"

local M = {}

M.most = 1024 -- containers of a pool, the core's limit
M.most_modules = 64 -- to load beforehand, the core's, too

--- A number of containers, or "auto".
---@return integer|"auto"
function M.workers(name, value, level)
  if value == "auto" then
    return value
  end
  local n = tonumber(value)
  n = n and math.tointeger(n)
  if not n or n < 1 or n > M.most then
    error(("option '%s': %s is not a number of containers from 1 to %d, or \"auto\""):format(
      name, options.show(value), M.most), level + 1)
  end
  return n
end

--- { "numpy", "os.path" }; what is wrong with one is said here, before a container is made for it.
local function modules(name, value, level)
  local wanted = 'is a list of modules\' names, for example { "numpy", "pandas" }'
  if type(value) ~= "table" then
    error(("option '%s' %s, got %s"):format(name, wanted, type(value)), level + 1)
  end
  local out = {}
  for i, word in ipairs(value) do
    -- Letters beyond ASCII are letters in Python's names, too.
    if type(word) ~= "string" or #word > 200 or not utf8.len(word) or not word:find "^[%a_\x80-\xff][%w_.\x80-\xff-]*$"
      or word:find "%.%." or word:sub(-1) == "." then
      error(("option '%s' %s; entry %d is %s"):format(name, wanted, i, options.show(word)), level + 1)
    end
    out[i] = word
  end
  if #out > M.most_modules then
    error(("option '%s' %s, at most %d; it has %d. A preload_script can import more"):format(
      name, wanted, M.most_modules, #out), level + 1)
  end
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > #out then
      error(("option '%s' %s; it has the key %s"):format(name, wanted, options.show(key)), level + 1)
    end
  end
  return out
end

--- A path, or { code = "..." }.
local function script(name, value, level)
  if type(value) == "table" then
    for key in pairs(value) do
      if key ~= "code" then
        error(("option '%s' has no %s (it has code)"):format(name, options.show(key)), level + 1)
      end
    end
    if type(value.code) ~= "string" or value.code:find("\0", 1, true) then
      error(("option '%s' is a path or { code = \"...\" }, a program's text without NUL bytes"):format(name), level + 1)
    end
    return value
  elseif type(value) ~= "string" then
    error(("option '%s' is a path or { code = \"...\" }, got %s"):format(name, type(value)), level + 1)
  end
  return options.text(name, value, level + 1)
end

local function one_word(name, value, level)
  options.text(name, value, level + 1)
  if value:find "[%s%c]" then
    error(("option '%s' is one program, for example \"python3\", without arguments"):format(name), level + 1)
  end
  return value
end

M.schema = {
  mode = options.one_of { "container", "fork" },
  pool = M.workers,
  workers = M.workers,
  preload = modules,
  preload_script = script,
  language = options.one_of { "python", "lua" },
  interpreter = one_word,
  require = options.one_of { "landlock", "namespaces" },
  max_runs = options.count,
  max_age = options.duration,
  on_pool = options.func,
}

-- What makes no sense, and the way out: option -> text, in the order in which they are looked at.
local not_in_container_mode = {
  { "workers", "give pool = N for containers that are kept ready and used once, or mode = \"fork\"" },
  { "require", "it says what a fork must have at least, and each run has a container of its own; leave it away, or "
    .. "give mode = \"fork\"" },
  { "max_runs", "each container is used once; leave it away, or give mode = \"fork\"" },
}
local needs_pool = { "preload", "preload_script", "language", "interpreter", "max_age", "on_pool" }

local function check_together(o, level)
  if o.mode == "fork" then
    if o.pool ~= nil then
      error("engine:sandbox: option 'pool' is for mode = \"container\"; give workers = N", level + 1)
    end
    return
  end
  for _, entry in ipairs(not_in_container_mode) do
    if o[entry[1]] ~= nil then
      error(("engine:sandbox: option '%s' is for mode = \"fork\": %s"):format(entry[1], entry[2]), level + 1)
    end
  end
  for _, name in ipairs(needs_pool) do
    if o[name] ~= nil and o.pool == nil then
      error(("engine:sandbox: option '%s' is of no use without containers that are there before the runs: give "
        .. "pool = N, or mode = \"fork\""):format(name), level + 1)
    end
  end
  for _, name in ipairs { "language", "interpreter" } do
    if o[name] ~= nil and o.preload == nil and o.preload_script == nil then
      error(("engine:sandbox: option '%s' says what loads the modules beforehand: give preload or preload_script, too")
        :format(name), level + 1)
    end
  end
end

--- Takes the options of this page out of o. Raises for those that make no sense together; nil, err when the preload
--- script cannot be read; false when nothing is kept ready.
---@param o table checked against the schema
---@param level integer whom to blame
---@return table|false|nil plan for the core, and on_pool; workers may be "auto"
---@return moonsand.Error? err
function M.take(o, level)
  check_together(o, level + 1)
  local plan = {}
  for name in pairs(M.schema) do
    plan[name], o[name] = o[name], nil
  end
  if plan.mode ~= "fork" and not plan.pool then
    return false
  end
  plan.mode = plan.mode or "container"
  plan.workers, plan.pool = plan.workers or plan.pool or 1, nil
  if type(plan.preload_script) == "table" then
    plan.preload_script = plan.preload_script.code
  elseif plan.preload_script then
    local text, err = program.read_file(plan.preload_script, "preload script")
    if not text then
      return nil, err
    elseif text:find("\0", 1, true) then
      return errors.fail("invalid", ("preload script %s holds a NUL byte: it is no program's text"):format(
        plan.preload_script))
    end
    plan.preload_script = text
  end
  return plan
end

return M
