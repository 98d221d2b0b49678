--- What an option takes by name, with options of its own, from a plugin, or as a table of the user's with functions:
--- samplers and pruners.
local errors = require "moonsand.errors"
local options = require "moonsand.options"

local M = {}

---@class moonsand.sweep.Named
---@field kind string "sampler", for messages; those that we have are moonsand.sweep.KINDs.NAME
---@field names string[] of those that we have
---@field method string the function that makes a table one of them
---@field others string[] functions that it may have besides

local function unknown(what, name, extra, level)
  local known = { table.unpack(what.names) }
  for other in pairs(extra or {}) do
    known[#known + 1] = other
  end
  table.sort(known)
  local near = type(name) == "string" and errors.nearest(name, known)
  error(("%s: there is no %s%s (there are %s, or a table with a function %s)"):format(what.kind, options.show(name),
    near and (", did you mean '" .. near .. "'?") or "", table.concat(known, ", "), what.method), level + 1)
end

-- One of ours: its module, and its options, checked.
local function ours(what, given, extra, level)
  local name, own = given.name, {}
  for _, known in ipairs(what.names) do
    if known == name then
      for key, value in pairs(given) do
        own[key] = value
      end
      own.name = nil
      local module = require(("moonsand.sweep.%ss.%s"):format(what.kind, name))
      return module, options.check(("%s '%s'"):format(what.kind, name), own, module.options, level + 1)
    end
  end
  unknown(what, name, extra, level + 1)
end

--- What an option means. Raises for misuse.
---@param what moonsand.sweep.Named
---@param given any a name, { name = "tpe", ...options }, or a table with the function
---@param extra table<string, fun(options: table): table>? what plugins bring
---@param level integer whom to blame
---@return string name
---@return table? custom a table of the user's, or a plugin's: its functions are functions. nil: one of ours,
---@return table? module which is this one,
---@return table? own and its options, checked
function M.resolve(what, given, extra, level)
  level = level + 1
  if type(given) == "string" then
    given = { name = given }
  elseif type(given) ~= "table" then
    error(("%s: wants a name or a table with a function %s, got %s"):format(what.kind, what.method,
      options.show(given)), level)
  end
  local name, custom = given.name, given
  if given[what.method] == nil then
    local plugin = extra and extra[name]
    if not plugin then
      local module, own = ours(what, given, extra, level)
      return name, nil, module, own
    end
    custom = plugin(given)
    if type(custom) ~= "table" or type(custom[what.method]) ~= "function" then
      error(("%s '%s': its plugin made no table with a function %s"):format(what.kind, name, what.method), level)
    end
    name = custom.name or name
  end
  name = name or "custom"
  if type(name) ~= "string" then
    error(("%s: its name is a text, got %s"):format(what.kind, options.show(name)), level)
  end
  for _, method in ipairs { what.method, table.unpack(what.others) } do
    local f = custom[method]
    if f ~= nil and type(f) ~= "function" then
      error(("%s '%s': %s is a function, got %s"):format(what.kind, name, method, options.show(f)), level)
    end
  end
  return name, custom
end

return M
