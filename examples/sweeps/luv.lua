--- A sweep inside a program with a loop of its own, here luv's: the program goes on with what it does, and the sweep is
--- one of its guests.
---
---     lua5.4 examples/sweeps/luv.lua [ENDPOINT]
---
--- Debian: lua-luv. The image is $MOONSAND_IMAGE, or a Debian base with Python that is made when it is not there.
local moonsand = require "moonsand"
local uv = require "luv"

local here = arg[0]:match "^.*/" or ""

local engine <close> = assert(moonsand.connect(arg[1]))
local image = os.getenv "MOONSAND_IMAGE"
  or assert(engine:image { from = { "python:3.10-slim", moonsand.images.bootstrap {} } })
local box <close> = assert(engine:sandbox {
  image = image, mode = "fork", workers = 2, cpus = 1, data = { ["sp500.csv"] = here .. "../data/sp500.csv" },
})

local sweep = moonsand.sweep {
  script = here .. "pruning.py",
  space = { fast = { 5, 10, 20, 50 }, slow = { 50, 100, 150, 200 }, band = 0.001 },
  where = function(p)
    return p.fast < p.slow
  end,
  objective = "equity",
}

-- Called plainly, run() would drive moonsand's loop until it is done; in a task it waits without that.
local task = moonsand.spawn(function()
  return assert(sweep:run(box))
end)

-- What a host owes the engine: step() when its descriptor is readable, and when its time has come.
local poll, due = uv.new_poll(engine:pollfd()), uv.new_timer()
local clock, ticks = uv.new_timer(), 0

local function step()
  assert(engine:step())
  due:stop()
  if task:done() then
    poll:stop()
    clock:stop()
    return
  end
  local seconds = engine:timeout()
  if seconds then
    due:start(math.ceil(seconds * 1000), 0, step)
  end
end

poll:start("r", step)
clock:start(50, 50, function()
  ticks = ticks + 1
  if ticks % 10 == 0 then
    local p = sweep:progress()
    print(("the program's own clock ticks; %d of %d trials"):format(p.done, p.total))
  end
end)
step()
uv.run()

local study = task:wait()
local best = study:best()
print(("%d trials, %d ticks meanwhile; best %.2f with fast=%d, slow=%d"):format(#study, ticks, best.value,
  best.params.fast, best.params.slow))

for _, handle in ipairs { poll, due, clock } do
  handle:close()
end
uv.run()
