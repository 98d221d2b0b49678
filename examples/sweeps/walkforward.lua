--- Walk-forward: parameters are chosen on some years of GOOG and tried on the year that follows, four times.
---
---     lua5.4 examples/sweeps/walkforward.lua [ENDPOINT [REPORT.html]]
---
--- The image is that of `make demo`, or $MOONSAND_IMAGE. What is found in-sample is worth what it earns out-of-sample.
local moonsand = require "moonsand"
local text = require "moonsand.text"

local here = arg[0]:match "^.*/" or ""
local walkforward = moonsand.plugin "walkforward"

local engine <close> = assert(moonsand.connect(arg[1]))
local image = os.getenv "MOONSAND_IMAGE" or assert(engine:image(
  moonsand.images.backtesting { backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6" },
  { ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE" }
))
local box <close> = assert(engine:sandbox {
  image = image, mode = "fork", workers = 2, cpus = 1, memory = "512m",
  preload = { "pandas", "backtesting", "backtesting.lib", "backtesting.test" },
})

local study = assert(walkforward.run(box, {
  sweep = {
    script = here .. "sma_cross.py",
    space = { n1 = { 5, 10, 20 }, n2 = { 30, 60 } },
    objective = "Return [%]",
  },
  -- GOOG has 2148 days. Rolling windows; anchored = true would let the first part grow instead.
  windows = walkforward.windows { bars = 2148, train = 1000, test = 250 },
  from = "first", to = "last", -- as sma_cross.py calls the rows that it is to use
  on_window = function(window)
    local line = ("window %d: rows %d to %d "):format(window.number, window.in_sample.from, window.in_sample.to)
    if window.params then
      line = line .. ("choose n1=%s, n2=%s with %.1f %%; "):format(window.params.n1, window.params.n2, window.in_value)
    end
    if window.out_value then
      line = line .. ("on rows %d to %d these earn %.1f %%"):format(window.out_of_sample.from,
        window.out_of_sample.to, window.out_value)
    else -- all trials failed, or the one out-of-sample; the program's words are not for a terminal as they are
      line = line .. "no result: " .. text.harmless(window.reason or "nothing was run", 200)
    end
    print(line)
  end,
}))

local walk = study.meta.walkforward
local function percent(value)
  return value and ("%.1f %%"):format(value) or "nothing"
end
print(("%d trials; mean in-sample %s, out-of-sample %s"):format(#study, percent(walk.in_mean), percent(walk.out_mean)))
if arg[2] then
  assert(study:report(arg[2], { title = "Walk-forward, SMA crossover on GOOG" }))
  print("report: " .. arg[2])
end
