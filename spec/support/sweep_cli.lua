--- What the specs of `moonsand sweep` share: a directory of their own, the program, and a sweep without a sandbox.
local E = require "spec.support.engines"
local command = require "moonsand.command"

local M = {}

local dir

--- Makes the directory.
---@return string path
function M.begin()
  dir = os.tmpname()
  os.remove(dir)
  assert(os.execute("mkdir " .. dir))
  return dir
end

function M.finish()
  os.execute("rm -rf " .. dir)
end

--- Writes a file into it.
---@return string path
function M.write(name, text)
  local f = assert(io.open(dir .. "/" .. name, "wb"))
  f:write(text)
  f:close()
  return dir .. "/" .. name
end

---@return string? text
function M.read(path)
  local f = io.open(path, "rb")
  local text = f and f:read "a"
  if f then
    f:close()
  end
  return text
end

M.env = { LUA_PATH = package.path, LUA_CPATH = package.cpath }

--- The program with these words; exit status, stdout, stderr.
function M.run(...)
  local r = assert(command.run({ "lua5.4", "bin/moonsand", ... }, { timeout = E.patience(120), env = M.env }))
  return r.exit_code, r.stdout, r.stderr
end

--- A sweep of 40 points without a sandbox; each trial takes so long.
function M.plain_sweep(name, seconds, more)
  return M.write(name .. ".lua", ([[
local moonsand = require "moonsand"
return {
  space = { x = moonsand.range(1, 20), y = { "a", "b" } }, objective = "height",
  executor = moonsand.executors.noop { jobs = 2, f = function(p)
    moonsand.sleep(%g)
    if p.x == 3 then
      error("the third \27[31mfails", 0)
    end
    return { height = p.y == "a" and 100 - (p.x - 15) ^ 2 or 0, x = p.x }
  end },
  %s
}]]):format(seconds, more or ""))
end

return M
