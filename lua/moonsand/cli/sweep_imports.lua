--- The modules that a Python script imports at its top level, so that a sweep can load them once and not once a trial.
local M = {}

-- Strings go, so that an example in a docstring is no import; comments go with them. Lines keep their places.
local function bare(text)
  local out, i = {}, 1
  while i <= #text do
    local from, _, mark = text:find("([\"'#])", i)
    if not from then
      out[#out + 1] = text:sub(i)
      break
    end
    out[#out + 1] = text:sub(i, from - 1)
    local stop
    if mark == "#" then
      stop = text:find("\n", from, true) or #text + 1
    else
      local three = mark:rep(3)
      local quote = text:sub(from, from + 2) == three and three or mark
      stop = from + #quote
      while stop <= #text and text:sub(stop, stop + #quote - 1) ~= quote do
        -- A string in single quotes that never ends is an error of the script's; the next line is looked at again.
        if quote == mark and text:sub(stop, stop) == "\n" then
          break
        end
        stop = stop + (text:sub(stop, stop) == "\\" and 2 or 1)
      end
      local skipped = text:sub(from, stop - 1)
      out[#out + 1] = '""' .. ("\n"):rep(select(2, skipped:gsub("\n", "")))
      stop = stop + (text:sub(stop, stop + #quote - 1) == quote and #quote or 0)
    end
    i = stop
  end
  return table.concat(out)
end

-- "__future__" is no module to load, "moonsand" comes with each run.
local never = { __future__ = true, moonsand = true, __main__ = true }

--- Names of modules, in the order in which they stand; each once. Imports in functions, ifs and trys are not looked at:
--- a script may well do without those.
---@param text string of a Python script
---@return string[]
function M.of(text)
  local names, seen = {}, {}
  local function add(name)
    if name:find "^[%a_][%w_.]*$" and not name:find "%.%." and name:sub(-1) ~= "." and not seen[name]
      and not never[name:match "^[^.]+"] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  for line in (bare(text) .. "\n"):gmatch "(.-)\r?\n" do
    for statement in line:gmatch "[^;]+" do
      -- Only the first statement of a line can be indented in vain.
      statement = statement == line:match "^[^;]+" and statement or statement:match "^%s*(.*)$"
      local from = statement:match "^from%s+([%w_.]+)%s+import%f[%W]"
      local list = statement:match "^import%s+(.+)$"
      if from then
        add(from)
      elseif list then
        for part in list:gmatch "[^,]+" do
          add(part:match "^%s*([%w_.]+)" or "")
        end
      end
    end
  end
  return names
end

--- A program for the sandbox: imports each of the modules in a child of its own, and says which of them can be loaded
--- ahead of time. Its arguments are their names, its result is { name: null or why not }.
M.probe = [[
import json, os, sys
def attempt(name):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        why = ""
        os.close(r)
        try:
            __import__(name)
            threads = len(os.listdir("/proc/self/task"))
            if threads > 1:
                why = "it starts %d threads while it is loaded" % (threads - 1)
        except BaseException as error:
            why = "%s: %s" % (type(error).__name__, error)
        os.write(w, (why[:300] or "ok").encode("utf-8", "replace"))
        os._exit(0)
    os.close(w)
    said = os.read(r, 4096).decode("utf-8", "replace")
    os.close(r)
    os.waitpid(pid, 0)
    return None if said == "ok" else said or "the interpreter died of it"
with open(os.environ["MOONSAND_RESULT"], "w") as f:
    json.dump({name: attempt(name) for name in sys.argv[1:]}, f)
]]

return M
