--- Limits of a container that are options of more than one command, by their names in engine:sandbox.
local M = {}

-- option, name there, what it takes, what it says; "%s": processors unless it is given.
local list = {
  { "--cpus", "cpus", "N", "Processors (%s)." },
  { "--memory", "memory", "SIZE", "Memory, without swap (512m)." },
  { "--timeout", "timeout", "TIME", "Longest wall clock time of a run (300s)." },
  { "--pids", "pids", "N", "Processes and threads (128)." },
  { "--disk", "disk", "SIZE", "Size of /tmp, which is memory (64m)." },
  { "--shm", "shm", "SIZE", "Size of /dev/shm, which is memory (16m)." },
  { "--open-files", "open_files", "N", "Descriptors of a process (512)." },
  { "--max-output", "output", "SIZE", "What may be written to stdout, and to stderr (16m)." },
}

--- Adds them to a command.
---@param command table of argparse
---@param cpus string how many processors there are unless it is given
function M.define(command, cpus)
  for _, option in ipairs(list) do
    command:option(option[1], (option[4]:gsub("%%s", cpus))):argname(option[3])
  end
end

--- Puts those that were given into options of engine:sandbox.
---@param args table of the command line
---@param options table
---@return table options
function M.apply(args, options)
  for _, option in ipairs(list) do
    local value = args[(option[1]:sub(3):gsub("-", "_"))]
    if value ~= nil then
      options[option[2]] = value
    end
  end
  return options
end

return M
