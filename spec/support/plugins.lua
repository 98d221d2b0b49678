--- Plugins and sweeps for the specs of plugins, and a directory for their files.
local moonsand = require "moonsand"

local noop = moonsand.executors.noop

local M = { dir = nil }

function M.begin()
  M.dir = os.tmpname()
  os.remove(M.dir)
  os.execute("mkdir -p " .. M.dir)
end

function M.finish()
  os.execute("rm -rf " .. M.dir)
end

--- The path of a new file.
function M.write(name, text)
  local path = M.dir .. "/" .. name
  local f <close> = assert(io.open(path, "w"))
  f:write(text)
  return path
end

function M.read(path)
  local f <close> = assert(io.open(path))
  return f:read "a"
end

--- A sweep of n = 1 to 5, whose objective is v.
function M.sweep(plugins, more)
  local o = { space = { n = moonsand.range(1, 5) }, objective = "v", plugins = plugins }
  for k, v in pairs(more or {}) do
    o[k] = v
  end
  return moonsand.sweep(o)
end

function M.run(plugins, more, f)
  return M.sweep(plugins, more):run(noop { f = f or function(p)
    return { v = p.n, name = "=x" }
  end })
end

function M.plugin(setup, more)
  local p = { api = 1, name = "mine", setup = setup }
  for k, v in pairs(more or {}) do
    p[k] = v
  end
  return p
end

return M
