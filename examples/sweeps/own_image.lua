--- An image of one's own: a base, a library in it, and a line that tells Python where that is. Built once, found again
--- afterwards:
---
---     moonsand sweep examples/sweeps/own_image.lua
local moonsand = require "moonsand"

local here = (...):match "^.*/" or ""

-- A program's environment is made anew for each run: PYTHONPATH in the image would not reach it, but this does.
local found = [[import os, site; d = site.getsitepackages()[0]; os.makedirs(d, exist_ok=True); ]]
  .. [[open(d + "/own.pth", "w").write("/opt/library\n")]]

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
    run = { ("python3 -c '%s'"):format(found) },
  },
  preload = { "waves" },
  memory = "128m",
}
