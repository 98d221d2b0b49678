--- All 50 pairs of averages of a moving average crossover on GOOG, with a report, and a CSV file that grows meanwhile:
---
---     moonsand sweep examples/sweeps/grid.lua
---
--- The image is built when it is not there yet; PIP_CERT and the proxies of the environment are used for that.
local moonsand = require "moonsand"

local here = (...):match "^.*/" or "" -- a sweep's file is given its own path

return {
  script = here .. "sma_cross.py",
  space = { n1 = moonsand.range(5, 25, 5), n2 = moonsand.range(10, 65, 5) },
  where = function(p)
    return p.n1 < p.n2
  end,
  objective = "Equity Final [$]",
  report = "grid.html",
  plugins = { { "retry", times = 2 }, { "csv", path = "grid.csv", metrics = { "# Trades", "Max. Drawdown [%]" } } },
}, {
  image = moonsand.images.backtesting { backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6" },
}
