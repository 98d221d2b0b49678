--- How many workers fit a machine, and how many threads fit a run. Plain arithmetic: no engine is asked.
local M = {}

local tiny = 1e-9 -- 0.1 ten times is not quite 1

---@class moonsand.Want
---@field cpus number of one worker
---@field memory integer bytes of one worker
---@field workers integer|"auto"

--- The workers of each pool, when all of them share one machine. Counts that were given stay as they are and are
--- taken out first. Pools with "auto" get one worker each, and then more, one at a time and the one with the fewest
--- processors first, while any processor is left and the memory of one more worker is there.
---@param machine { cpus: number, memory_bytes: number }
---@param wants moonsand.Want[]
---@return integer[] counts in the order of wants
function M.share(machine, wants)
  -- Containers are not alone on their machine: the engine, the controller and the page cache want memory, too. The
  -- core refuses a pool that is larger than four fifths of it, and counts in whole bytes.
  local cpus, memory = machine.cpus, machine.memory_bytes * 4 // 5
  local counts = {}
  for i, want in ipairs(wants) do
    counts[i] = want.workers == "auto" and 1 or want.workers
    cpus = cpus - counts[i] * want.cpus
    memory = memory - counts[i] * want.memory
  end
  while cpus > tiny do
    local next_one
    for i, want in ipairs(wants) do
      local fits = want.workers == "auto" and want.memory <= memory
      if fits and (not next_one or counts[i] * want.cpus < counts[next_one] * wants[next_one].cpus - tiny) then
        next_one = i
      end
    end
    if not next_one then
      break
    end
    counts[next_one] = counts[next_one] + 1
    cpus = cpus - wants[next_one].cpus
    memory = memory - wants[next_one].memory
  end
  return counts
end

-- What OpenMP, the BLAS libraries and numexpr ask for the number of their threads. Without them each starts as many
-- as the machine has processors, which then fight for the fraction that a run may use.
local thread_variables = {
  "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
  "BLIS_NUM_THREADS",
}

--- The environment that keeps a run's libraries to the processors that it may use.
---@param cpus number
---@return table<string, string>
function M.environment(cpus)
  local threads = ("%d"):format(math.max(1, math.ceil(cpus - tiny)))
  local out = {}
  for _, name in ipairs(thread_variables) do
    out[name] = threads
  end
  return out
end

return M
