--- A sampler and a policy of one's own: a sampler is a table with ask and tell, a policy a function.
---
---     moonsand sweep examples/sweeps/own.lua
local moonsand = require "moonsand"

local here = (...):match "^.*/" or ""

--- Some points anywhere, then steps away from the best point so far, each shorter than the one before.
local climber = { name = "climber", begin = 10 }

function climber:setup(ctx)
  self.space, self.rng, self.up, self.asked = ctx.space, ctx.rng, ctx.direction == "maximize", 0
end

function climber:ask()
  self.asked = self.asked + 1
  if not self.best or self.asked <= self.begin then
    return self.space:sample(self.rng)
  end
  -- Parameters as numbers from 0 to 1, whatever they are.
  local unit, reach = self.space:to_unit(self.best.params), 1 / (self.asked - self.begin + 1)
  for name, u in pairs(unit) do
    unit[name] = math.min(math.max(u + reach * (self.rng:float() - 0.5), 0), 0.999999)
  end
  return self.space:from_unit(unit)
end

function climber:tell(trial)
  if trial.value and (not self.best or (trial.value > self.best.value) == self.up) then
    self.best = trial
  end
end

return {
  script = here .. "flaky.py",
  space = { x = moonsand.uniform(-10, 10), y = moonsand.uniform(-10, 10) },
  objective = "height",
  sampler = climber,
  max_trials = 40,
  -- Status 75 says "try again"; all else is as it is. Runs that were lost are tried again, too.
  retry = function(trial, result)
    if trial.attempts > 10 then
      return false
    end
    return result == nil or result.status == "lost" or result.exit_code == 75
  end,
}
