--- Images that come with moonsand: declarations for engine:image, and bases for `from`.
---
---     local image = engine:image(moonsand.images.backtesting { pandas = "2.2.3", pip = { "scipy" } })
local bootstrap = require "moonsand.image.bootstrap"
local options = require "moonsand.options"

local M = {}

--- A Debian base made from packages on this machine: for `from`, alone or last in a list.
--- suite: "bookworm". packages: further Debian packages. mirror: where packages come from, by default what
--- this machine's apt is configured with. Raises for options that do not exist or cannot be.
---@param given { suite: string?, packages: string[]?, mirror: string? }?
---@return moonsand.Bootstrap
function M.bootstrap(given)
  local declared = bootstrap.declare(given, 2)
  return declared -- no tail call: an error names the caller's line
end

local names = { "backtesting", "pandas", "numpy" }

local function version(name, value, level)
  options.text(name, value, level + 1)
  if not value:find "^%d[%w.+!-]*$" then
    error(('option \'%s\': %q is not a version; write %s = "1.2.3"'):format(name, value, name), level + 1)
  end
  return value
end

local schema = { backtesting = version, pandas = version, numpy = version, pip = options.table, from = true }
-- The rest of a declaration goes through as it is; engine:image checks it.
for _, name in ipairs { "apt", "build_apt", "requirements", "files", "env", "run", "workdir", "user", "labels",
  "platform", "lock" } do
  schema[name] = function(_, value)
    return value
  end
end
schema.from = schema.apt

--- versions: backtesting, pandas, numpy = "1.2.3". pip: further requirements, a list or name -> version.
--- Everything else as in a declaration. Raises for options that do not exist.
local function backtesting(_, given)
  local o = options.check("images.backtesting", given or {}, schema, 2)
  local pip = {}
  for i, name in ipairs(names) do
    pip[i] = o[name] and ("%s==%s"):format(name, o[name]) or name
    o[name] = nil
  end
  local more = {}
  for name, value in pairs(o.pip or {}) do
    if type(name) == "string" then
      more[#more + 1] = ("%s==%s"):format(name, tostring(value))
    end
  end
  table.sort(more)
  for _, list in ipairs { o.pip or {}, more } do
    table.move(list, 1, #list, #pip + 1, pip)
  end
  o.pip = pip
  o.from = o.from or { "python:3.10-slim", M.bootstrap {} }
  return o
end

--- python:3.10-slim, or a bootstrapped Debian base where no registry answers, with backtesting, pandas and
--- numpy. It is a declaration; called, it gives one with versions and more packages.
M.backtesting = setmetatable(backtesting(nil, {}), {
  __call = backtesting,
  __index = {
    --- The same without backtesting, from Debian's packages alone: for where no package index answers either.
    debian = { from = M.bootstrap { packages = { "python3-numpy", "python3-pandas" } } },
  },
})

return M
