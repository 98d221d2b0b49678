--- Random search over three parameters; what is worse than half of the others at the same year is ended there:
---
---     moonsand sweep examples/sweeps/pruning.lua --max-trials 200
local moonsand = require "moonsand"

local here = (...):match "^.*/" or ""

return {
  script = here .. "pruning.py",
  space = {
    fast = moonsand.integers(2, 100), slow = moonsand.integers(20, 300), band = moonsand.log_uniform(1e-4, 0.1),
  },
  where = function(p)
    return p.fast < p.slow
  end,
  objective = "equity",
  sampler = "random",
  seed = 7,
  max_trials = 60,
  pruner = { name = "median", startup_trials = 10, warmup_steps = 2004 },
}, {
  data = { ["sp500.csv"] = here .. "../data/sp500.csv" },
}
