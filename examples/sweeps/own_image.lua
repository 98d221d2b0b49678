--- An image of one's own: a base, a library in it, and where Python finds that. Built once, found again afterwards:
---
---     moonsand sweep examples/sweeps/own_image.lua
local moonsand = require "moonsand"

local here = (...):match "^.*/" or ""

return {
  script = here .. "waves.py",
  space = { x = moonsand.uniform(2.7, 7.5) },
  objective = "height",
  direction = "minimize",
  sampler = { name = "tpe" },
  max_trials = 50,
  target = -1.899, -- the lowest point is -1.8996: near enough
}, {
  image = {
    from = { "python:3.10-slim", moonsand.images.bootstrap {} },
    files = { ["/opt/library"] = here .. "library" },
    env = { PYTHONPATH = "/opt/library" },
  },
  preload = { "waves" },
  memory = "128m",
}
