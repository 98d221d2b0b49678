--- Tries failed trials again, for other reasons too, or at other intervals, than sweeps do by themselves:
---
---     plugins = { { "retry", times = 3, on = { "lost", "engine", "timeout" }, delay = 5, factor = 2 } }
local reasons = {
  error = true, timeout = true, oom = true, output_limit = true, lost = true, tampered = true, engine = true,
  invalid_value = true,
}

local function set_of(list)
  local out = {}
  for _, reason in ipairs(list) do
    if not reasons[reason] then
      local known = {}
      for name in pairs(reasons) do
        known[#known + 1] = name
      end
      table.sort(known)
      error(("on: there is no reason %q (there are %s)"):format(tostring(reason), table.concat(known, ", ")), 0)
    end
    out[reason] = true
  end
  return out
end

return {
  api = 1,
  name = "retry",
  options = {
    times = { type = "integer", default = 2 }, -- further attempts
    on = { type = "table", default = { "lost", "engine" } },
    delay = { type = "number", default = 0 }, -- seconds before the second attempt
    factor = { type = "number", default = 1 }, -- by which it grows
    longest = { type = "number", default = 300 },
  },
  setup = function(host, opts)
    local on = set_of(opts.on)
    if opts.times < 0 or opts.delay < 0 or opts.factor <= 0 or opts.longest < 0 then
      error("times, delay, factor and longest are not negative, and factor is not 0", 0)
    end
    host:policy("retry", function(trial)
      if not on[trial.reason] then
        return nil -- the next policy's, or the default
      elseif trial.attempts > opts.times then
        return false
      end
      return math.min(opts.delay * opts.factor ^ (trial.attempts - 1), opts.longest)
    end)
  end,
}
