--- The Python module moonsand with the real thing: what backtesting.py's run() returns, on the data that it brings.
-- Plain build only: makes the image of the demo where it is not there yet, which takes minutes
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

local preset = moonsand.images.backtesting { backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6" }

local program = [==[
import moonsand
import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy
from backtesting.lib import crossover
from backtesting.test import SMA, GOOG

class SmaCross(Strategy):
    n1 = 10
    n2 = 20
    def init(self):
        self.sma1 = self.I(SMA, self.data.Close, self.n1)
        self.sma2 = self.I(SMA, self.data.Close, self.n2)
    def next(self):
        if crossover(self.sma1, self.sma2):
            self.position.close()
            self.buy()
        elif crossover(self.sma2, self.sma1):
            self.position.close()
            self.sell()

p = moonsand.params()
stats = Backtest(GOOG, SmaCross, commission=.002, cash=10000).run(**p)
if p["n1"] == 10:
    stats["numpy"] = np.int64(7)
    stats["array"] = np.array([[1, 2], [3, 4]], dtype=np.int8)
    stats["when"] = np.datetime64("2020-01-02T03:04:05")
    stats["none"] = pd.NA
    stats["bool"] = np.bool_(True)
    stats["missing"] = pd.NaT
moonsand.report(1, equity=stats["Equity Final [$]"], trades=stats["# Trades"])
moonsand.result(stats)
]==]

engines.each(describe, "the module with the preset", function(kind)
  local image

  setup(function()
    image = engines.engine(kind):image(preset, {
      ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE",
      proxy = { http = os.getenv "http_proxy", https = os.getenv "https_proxy", no = os.getenv "no_proxy" },
    })
  end)

  for _, mode in ipairs { "container", "fork" } do
    it("takes what a backtest returns, in mode " .. mode, function()
      if not image then
        return pending "no package index can be reached"
      end
      local how = { image = image, cpus = 1, memory = "1g", timeout = 120, mode = mode }
      how.preload = mode == "fork" and { "numpy", "pandas", "backtesting" } or nil
      local box <close> = engines.box(kind, how)
      local reported
      local r = assert(box:run({ code = program }, { params = { n1 = 10, n2 = 15 }, on_report = function(report)
        reported = report
      end }))
      assert.equal("ok", r.status, r.stderr)
      assert.is_nil(r.value_error)
      local v = r.value
      assert.is_true(math.abs(v["Equity Final [$]"] - 77829.05462) < 1e-4, v["Equity Final [$]"])
      assert.equal(152, v["# Trades"])
      assert.equal(v["Equity Final [$]"], reported.equity)
      assert.equal(1, reported.step)
      assert.equal("2004-08-19 00:00:00", v.Start)
      assert.matches("days", v.Duration)
      assert.is_number(v["Sharpe Ratio"])
      assert.is_nil(v._strategy)
      assert.is_nil(v._trades)
      assert.equal(2148, #v.equity)
      assert.equal(2148, #v["equity.index"])
      assert.is_true(math.abs(v.equity[2148] - v["Equity Final [$]"]) < 1e-6)
      assert.equal("2013-03-01 00:00:00", v["equity.index"][2148])
      assert.equal(7, v.numpy)
      assert.same({ { 1, 2 }, { 3, 4 } }, v.array)
      assert.equal("2020-01-02 03:04:05", v.when)
      assert.equal(moonsand.null, v.none)
      assert.is_true(v.bool)
      assert.equal("NaT", v.missing)
      -- Without a single trade most of it is NaN.
      r = assert(box:run({ code = program }, { params = { n1 = 2000, n2 = 2100 } }))
      assert.equal("ok", r.status, r.stderr)
      assert.is_true(r.value["Win Rate [%]"] ~= r.value["Win Rate [%]"])
      assert.equal(0, r.value["# Trades"])
    end)
  end
end)
