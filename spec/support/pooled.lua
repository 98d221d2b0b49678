-- A pool of two and, in fork mode, a run; says "ready" and waits. To be killed.
local moonsand = require "moonsand"
local options = { image = arg[2], memory = "64m", disk = "8m" }
options.mode = arg[3]
options[arg[3] == "fork" and "workers" or "pool"] = 2
local box = assert(assert(moonsand.connect(arg[1])):sandbox(options))
assert(box.pool:wait_ready(60))
local run = assert(box:start {
  code = "import time\nprint('up', flush=True)\ntime.sleep(600)",
  on_stdout = function()
    print "ready"
    io.stdout:flush()
  end,
})
run:wait()
