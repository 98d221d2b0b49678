--- Fork mode with the preset image: numpy, pandas and backtesting are loaded, and no run changes them for the next.
-- Plain build only: makes the image of the demo where it is not there yet, which takes minutes
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

local preset = moonsand.images.backtesting { backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6" }

engines.each(describe, "fork mode with the preset", function(kind)
  local box

  setup(function()
    local image = engines.engine(kind):image(preset, {
      ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE",
      proxy = { http = os.getenv "http_proxy", https = os.getenv "https_proxy", no = os.getenv "no_proxy" },
    })
    box = image and engines.box(kind, {
      image = image, mode = "fork", cpus = 1, timeout = 60, preload = { "numpy", "pandas", "backtesting" },
      preload_script = { code = "import builtins, numpy\nbuiltins.prices = numpy.arange(1000.0)" },
    })
  end)

  teardown(function()
    if box then
      box:close()
      engines.settle(kind)
    end
  end)

  local function try(name, f)
    it(name, function()
      if not box then
        return pending "no package index can be reached"
      end
      f()
    end)
  end

  local function said(given, how)
    local r = assert(box:run(given, how))
    assert.equal("ok", r.status, r.stderr)
    assert.equal("fork", r.isolation.mode)
    return r.stdout, r
  end

  try("has the imports done", function()
    said { code = "pass" }
    local _, r = said { code = "import numpy, pandas, backtesting" }
    assert.is_true(r.wall_s < engines.patience(0.3), r.wall_s)
  end)

  try("draws other numbers in each run, and after a seed that was planted", function()
    local seen = {}
    for _ = 1, 4 do
      local out = said { code = [[
import random
import numpy as np
print(np.random.rand()); print(random.random()); print(np.random.default_rng().random()); print(np.random.randn())
np.random.seed(1); random.seed(1)
]] }
      for line in out:gmatch "%S+" do
        assert.is_nil(seen[line], "drawn twice: " .. line)
        seen[line] = true
      end
    end
    local of_one = said { code = "import numpy; numpy.random.seed(1); print(numpy.random.rand())" }
    assert.equal("0.417022004702574\n", of_one)
    assert.is_nil(seen["0.417022004702574"])
  end)

  try("has modules, settings and data as they were loaded", function()
    local look = [[
import numpy as np, pandas as pd, backtesting
def look():
    return (float(prices.sum()), prices.flags.writeable, float(np.sum([1, 2])), np.geterr()["divide"],
        pd.get_option("display.max_rows"), float(pd.Series([1.0, 2.0]).mean()), hasattr(backtesting, "planted"),
        np.get_printoptions()["precision"])
]]
    local clean, first = said { code = look .. "print(look())" }
    local planted = said { code = look .. [[
prices[:] = 7
np.sum = lambda x: 42; np.seterr(divide="raise"); pd.set_option("display.max_rows", 7); np.set_printoptions(precision=3)
pd.Series.mean = lambda self: 42; backtesting.planted = 1
print(look())]] }
    local after, last = said { code = look .. "print(look())" }
    assert.are_not.equal(clean, planted)
    assert.equal(clean, after)
    assert.equal(first.container, last.container)
  end)

  try("multiplies matrices, with as many threads as it has processors", function()
    local out = said { code = [[
import os, numpy as np
a = np.ones((600, 600))
print(float((a @ a).sum()), os.environ["OMP_NUM_THREADS"], len(os.listdir("/proc/self/task")))]] }
    assert.equal("216000000.0 1 1\n", out)
    local two <close> = engines.box(kind, { image = box.image, mode = "fork", cpus = 2, preload = { "numpy" } })
    local r = assert(two:run { code = [[
import os, numpy as np
a = np.ones((600, 600))
print(float((a @ a).sum()), os.environ["OMP_NUM_THREADS"], len(os.listdir("/proc/self/task")))]] })
    assert.equal("216000000.0 2 2\n", r.stdout)
  end)

  try("gives the numbers of a backtest that a container of its own gives", function()
    local out, r = said("examples/backtest/sma_cross.py")
    assert.matches("Equity Final %[%$%] +56263.51934", out)
    assert.is_truthy(r:artefact "equity.csv")
    assert.is_number(r.value["Sharpe Ratio"])
  end)
end)
