--- Plugins: one file returns { api = 1, name =, options =, setup = function(host, opts) end }. Loaded by name from
--- the places of M.places(), or by a path with a slash in it; nothing is ever scanned.
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local options = require "moonsand.options"
local text = require "moonsand.text"

local M = {}

M.api = 1

local own_fields = { api = true, name = true, options = true, setup = true, fatal = true }
local events = { start = true, report = true, trial = true, run = true, ["end"] = true }
local kinds = {
  string = true, number = true, integer = true, boolean = true, table = true, ["function"] = true, any = true,
}

-- lua/moonsand/sweep/plugin.lua: plugins/ is beside lua/ in the sources, and in moonsand/ where it is installed.
local library = debug.getinfo(1, "S").source:match "^@(.*)/sweep/plugin%.lua$" or "."

--- The directories that a name is looked for in, in that order: those of $MOONSAND_PLUGINS (with colons between), then
--- the library's own.
---@return string[]
function M.places()
  local out = {}
  for place in (os.getenv "MOONSAND_PLUGINS" or ""):gmatch "[^:]+" do
    out[#out + 1] = place
  end
  out[#out + 1] = library .. "/plugins"
  out[#out + 1] = library .. "/../../plugins"
  return out
end

local function is_file(path)
  local facts = core.stat(path)
  return facts ~= nil and facts.type == "file"
end

--- Where the plugin of that name, or path, is. Raises when there is none.
---@param name string
---@param level integer
---@return string path
function M.find(name, level)
  if type(name) ~= "string" or name == "" or name:find "[%c]" then
    error(("a plugin is a name or a path, not %s"):format(options.show(name)), level + 1)
  end
  if name:find("/", 1, true) then
    if not is_file(name) then
      error(("there is no plugin %s"):format(name), level + 1)
    end
    return name
  elseif not name:find "^[%w_][%w_.-]*$" then
    error(("%q is no plugin's name: letters, digits, '_', '-' and '.'; a path has a slash in it"):format(name),
      level + 1)
  end
  local places = M.places()
  for i, place in ipairs(places) do
    local path = place .. "/" .. name .. ".lua"
    if is_file(path) then
      return path
    end
    places[i] = path
  end
  error(("there is no plugin '%s': looked for %s"):format(name, table.concat(places, ", ")), level + 1)
end

local function check_shape(plugin)
  if type(plugin) ~= "table" then
    return ("its file returns a %s, not a table"):format(type(plugin))
  elseif plugin.api ~= M.api then
    return ("it is written for api %s; this is api %d"):format(options.show(plugin.api), M.api)
  elseif type(plugin.setup) ~= "function" then
    return "it has no setup function"
  elseif type(plugin.name) ~= "string" or plugin.name == "" then
    return "it has no name"
  elseif plugin.options ~= nil and type(plugin.options) ~= "table" then
    return "its options are no table"
  end
  for name, kind in pairs(plugin.options or {}) do
    kind = type(kind) == "table" and kind.type or kind
    if own_fields[name] or type(name) ~= "string" or not kinds[kind] then
      return ("its option %s is of no kind that there is"):format(options.show(name))
    end
  end
  return nil
end

--- The table that a plugin's file returns: { api, name, setup, ... }. Raises when there is no such plugin; nil and why
--- when it is not sound.
---@param name string
---@param level integer
---@return table? plugin, string? why
function M.read(name, level)
  local path = M.find(name, level + 1)
  local chunk, why = loadfile(path, "t")
  if not chunk then
    return nil, why
  end
  local ok, plugin = pcall(chunk)
  if not ok then
    if errors.is_interrupt(plugin) then
      error(plugin, 0)
    end
    return nil, tostring(plugin)
  end
  why = check_shape(plugin)
  if why then
    return nil, path .. ": " .. why
  end
  return plugin
end

--- moonsand.plugin(name): the plugin's table, for the functions that it has besides. Raises for one that is not sound.
---@param name string
---@return table
function M.get(name)
  local plugin, why = M.read(name, 2)
  if not plugin then
    error(("plugin '%s': %s"):format(name, why), 2)
  end
  return plugin
end

---@class moonsand.sweep.Registry what the plugins of one sweep have said
local Registry = {}
Registry.__index = Registry

---@return moonsand.sweep.Registry
function M.registry()
  local hooks = {}
  for event in pairs(events) do
    hooks[event] = {}
  end
  return setmetatable({
    samplers = {}, pruners = {}, policies = { halt = {}, retry = {} }, exporters = {}, sections = {},
    _hooks = hooks, _warnings = {}, _known = {},
  }, Registry)
end

--- Keeps a warning; the same one again is only counted.
---@param who string
---@param what string
function Registry:warn(who, what)
  what = ("plugin '%s': %s"):format(who, text.harmless(what, 500))
  local known = self._known[what]
  if known then
    known.count = known.count + 1
  elseif #self._warnings < 1000 then
    known = { text = what, count = 1 }
    self._known[what], self._warnings[#self._warnings + 1] = known, known
  end
end

--- One line each.
---@return string[]
function Registry:warnings()
  local out = {}
  for i, w in ipairs(self._warnings) do
    out[i] = w.count == 1 and w.text or ("%s (%d times)"):format(w.text, w.count)
  end
  return out
end

--- What has been said until now is of the plugins as such, and stays when the sweep runs again.
function Registry:used()
  self._of_use = #self._warnings
  for _, warning in ipairs(self._warnings) do
    warning.of_use = warning.count
  end
end

--- The sweep runs again: what was said of the run before, and what ended it, is over.
function Registry:again()
  self.failure, self.broken = nil, nil
  for i = #self._warnings, self._of_use + 1, -1 do
    self._known[self._warnings[i].text], self._warnings[i] = nil, nil
  end
  for _, warning in ipairs(self._warnings) do
    warning.count = warning.of_use
  end
end

--- True and what f returned, or false.
local function guarded(self, use, what, f, ...)
  local good, err = pcall(f, ...)
  if good then
    return true, err
  end
  if errors.is_interrupt(err) then
    error(err, 0)
  end
  local why = ("%s raised: %s"):format(what, tostring(err))
  self:warn(use.name, why)
  if use.fatal and not self.failure then
    self.failure = errors.new("invalid", ("plugin '%s': %s; it is fatal, so the sweep ends"):format(
      use.name, text.harmless(tostring(why), 500)), { op = "sweep" })
  end
  return false, nil
end

--- Calls all hooks of an event. What they raise is a warning; when a plugin is fatal, self.failure too.
---@param event "start"|"report"|"trial"|"run"|"end"
---@param ... any what that event's hooks are given
function Registry:fire(event, ...)
  for _, hook in ipairs(self._hooks[event]) do
    guarded(self, hook.use, ("its '%s' hook"):format(event), hook.f, ...)
  end
end

--- Does any plugin wait for that event?
---@return boolean
function Registry:has(event)
  return self._hooks[event][1] ~= nil
end

--- Calls what a plugin registered otherwise.
---@param entry { use: table, f: function }
---@param what string
---@return boolean ok, any value
function Registry:call(entry, what, ...)
  return guarded(self, entry.use, what, entry.f, ...)
end

-- What f returned; what it raised becomes an error, without which there is nothing to go on with.
local function needed(self, use, what, f, ...)
  local returned = table.pack(pcall(f, ...))
  if returned[1] then
    return table.unpack(returned, 2, returned.n)
  elseif errors.is_interrupt(returned[2]) then
    error(returned[2], 0)
  end
  self.broken = errors.new("invalid", ("plugin '%s': %s raised: %s"):format(use.name, what,
    text.harmless(tostring(returned[2]), 500)), { op = "sweep" })
  error(self.broken, 0)
end

-- method -> what calls it: there is no trial without ask(), but there are some without all the rest.
local called = {
  sampler = { setup = needed, ask = needed, tell = guarded },
  pruner = { report = guarded, tell = guarded },
}

-- As the plugin made it, but what its functions raise is named.
local function named_when_it_fails(self, use, kind, name, made)
  local out = {}
  for method, by in pairs(called[kind]) do
    local f = made[method]
    if type(f) == "function" then
      local what = ("its %s '%s', in %s,"):format(kind, name, method)
      out[method] = function(_, ...)
        if by == needed then
          return needed(self, use, what, f, made, ...)
        end
        local _, answer = guarded(self, use, what, f, made, ...)
        return answer
      end
    end
  end
  return setmetatable(out, { __index = made })
end

--- What plugins bring under names: functions that make one of options. One that raises, and a sampler's setup and ask
--- that do, raise self.broken, an error that names the plugin; a pruner's report that raises prunes nothing, and that
--- is a warning, as it is for tell.
---@param kind "sampler"|"pruner"
---@return table<string, fun(options: table): table>
function Registry:makers(kind)
  local out = {}
  for name, entry in pairs(self[kind .. "s"]) do
    out[name] = function(given)
      local made = needed(self, entry.use, ("its %s '%s'"):format(kind, name), entry.f, given)
      return type(made) == "table" and named_when_it_fails(self, entry.use, kind, name, made) or made
    end
  end
  return out
end

--- For a study's export(): by name, what writes it; what that raises is nil, err.
---@return table<string, fun(study: moonsand.Study, path: string): any, any>
function Registry:writers()
  local out = {}
  for name, entry in pairs(self.exporters) do
    out[name] = function(...)
      local returned = table.pack(pcall(needed, self, entry.use, ("its exporter '%s'"):format(name), entry.f, ...))
      if returned[1] then
        return table.unpack(returned, 2, returned.n)
      elseif errors.is_interrupt(returned[2]) then
        error(returned[2], 0)
      end
      return nil, returned[2]
    end
  end
  return out
end

--- The sections of all plugins for a study's report.
---@param study any
---@return { title: string, text: string?, columns: string[]?, rows: any[][]? }[]
function Registry:write_sections(study)
  local out = {}
  for _, entry in ipairs(self.sections) do
    local ok, section = self:call(entry, "its section", study)
    if ok and section ~= nil then
      if type(section) == "table" and type(section.title) == "string" then
        out[#out + 1] = section
      else
        self:warn(entry.use.name, "its section is not { title =, text =, columns =, rows = }")
      end
    end
  end
  return out
end

---@class moonsand.sweep.Host what a plugin's setup is given
local Host = {}
Host.__index = Host

local function want(self, what, name, f, kind)
  if type(name) ~= "string" or name == "" then
    error(("host:%s wants a name, got %s"):format(what, options.show(name)), 3)
  elseif type(f) ~= (kind or "function") then
    error(("host:%s wants a %s, got a %s"):format(what, kind or "function", type(f)), 3)
  end
  return { use = self._use, f = f }
end

-- What a setup registers counts once all of it has gone well: half of a plugin is none.
local function register(self, list, entry, name)
  if self._held then
    self._held[#self._held + 1] = { list, entry, name }
  elseif name then
    list[name] = entry
  else
    list[#list + 1] = entry
  end
end

local function setup_went_well(self)
  local held = self._held
  self._held = nil
  for _, what in ipairs(held) do
    register(self, table.unpack(what, 1, 3))
  end
end

--- event "start": f(trial) when an attempt of it begins (trial.attempts, from 1), before its program runs; "report":
--- f(trial, step, metrics) for each report of it, those too that are not kept; "trial": f(trial) when it has ended;
--- "run": f(event), event.type being "begin" (params, the names; objectives, a list of name and direction; jobs; total
--- and journal, a path, if any; resumed: trials of an earlier run are in that), "retry" (trial, delay_s), "stopping"
--- (reason); "end": f(study). A trial that has its result from another one has an end alone.
function Host:on(event, f)
  if not events[event] then
    error(("host:on: there is no event %s (there are end, report, run, start, trial)"):format(options.show(event)), 2)
  end
  register(self, self._registry._hooks[event], want(self, "on", event, f))
end

--- sampler = "name" makes f(options) -> a sampler.
function Host:sampler(name, f)
  register(self, self._registry.samplers, want(self, "sampler", name, f), name)
end

--- pruner = "name" makes f(options) -> a pruner.
function Host:pruner(name, f)
  register(self, self._registry.pruners, want(self, "pruner", name, f), name)
end

--- "retry": f(trial, result, err) -> true, false or seconds; nil leaves it to the next. "halt": f(trial, progress) -> a
--- text, why the sweep is to end, or nil.
function Host:policy(name, f)
  if name ~= "retry" and name ~= "halt" then
    error(("host:policy: there is no policy %s (there are halt, retry)"):format(options.show(name)), 2)
  end
  register(self, self._registry.policies[name], want(self, "policy", name, f))
end

--- study:export(name, path) calls f(study, path).
function Host:exporter(name, f)
  register(self, self._registry.exporters, want(self, "exporter", name, f), name)
end

--- f(study) -> { title =, text =, columns = { names }, rows = { { values } } } or nil, for the report.
function Host:section(f)
  register(self, self._registry.sections, want(self, "section", "section", f))
end

--- Makes a warning of the study, in the plugin's name.
function Host:warn(what)
  self._registry:warn(self._use.name, tostring(what))
end

local function check_options(plugin, name, given, level)
  local out, schema = {}, plugin.options or {}
  for key, value in pairs(given) do
    local kind = schema[key]
    if not kind then
      options.unknown(("plugin '%s'"):format(name), key, schema, level + 1)
    end
    kind = type(kind) == "table" and kind.type or kind
    local is = kind == "integer" and math.type(value) or type(value)
    if kind ~= "any" and is ~= kind then
      error(("plugin '%s': option '%s' is a %s, got %s"):format(name, key, kind, options.show(value)), level + 1)
    end
    out[key] = value
  end
  for key, kind in pairs(schema) do
    if type(kind) == "table" and out[key] == nil then
      out[key] = kind.default
      if kind.required and out[key] == nil then
        error(("plugin '%s' needs the option '%s', a %s"):format(name, key, kind.type), level + 1)
      end
    end
  end
  return out
end

--- Loads one: "csv", "./mine.lua", { "retry", times = 2 }, or { table, ... } with the plugin itself. What the caller
--- got wrong raises: no such plugin, an option that it does not have. A plugin that is not sound is a warning, unless
--- the plugin or the use of it says fatal = true.
---@param entry string|table
---@param level integer
function Registry:use(entry, level)
  local given, named = {}, entry
  if type(entry) == "table" and entry.setup == nil then
    named = entry[1]
    for k, v in pairs(entry) do
      if k ~= 1 and k ~= "fatal" then
        given[k] = v
      end
    end
  end
  local plugin, why
  if type(named) == "table" then
    plugin, why = named, check_shape(named)
    named = type(named.name) == "string" and named.name or "?"
    if why then
      plugin = nil
    end
  else
    plugin, why = M.read(named, level + 1)
  end
  local fatal = type(entry) == "table" and entry.fatal or plugin and plugin.fatal
  local use = { name = plugin and plugin.name or named, fatal = fatal and true or false }
  if not plugin then
    self:warn(use.name, why)
    if use.fatal then
      error(("plugin '%s': %s"):format(use.name, why), level + 1)
    end
    return
  end
  local opts = check_options(plugin, use.name, given, level + 1)
  local host = setmetatable({ _registry = self, _use = use, _held = {}, api = M.api }, Host)
  if guarded(self, use, "its setup", plugin.setup, host, opts) then
    setup_went_well(host)
  elseif self.failure then
    error(self.failure.message, level + 1)
  end
end

return M
