--- examples/backtest through the sandbox, against figures that others have published or measured.
-- Plain build only: builds the preset, with the C of image_build_spec
local E = require "spec.support.engines"
local moonsand = require "moonsand"

local declaration = moonsand.images.backtesting { backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6" }
local script = "examples/backtest/sma_cross.py"

-- backtesting.py's own test test_compute_stats expects these, to 1e-8.
local published = {
  ["Start"] = "2004-08-19", ["End"] = "2013-03-01", ["Duration"] = 3116,
  ["# Trades"] = 66, ["Equity Final [$]"] = 51422.98999999996, ["Equity Peak [$]"] = 75787.44,
  ["Return [%]"] = 414.2298999999996, ["Buy & Hold Return [%]"] = 522.0601851851852,
  ["Return (Ann.) [%]"] = 21.191099249053224, ["Volatility (Ann.) [%]"] = 36.49716090702389,
  ["CAGR [%]"] = 21.160245705962623, ["Sharpe Ratio"] = 0.5806232244485349,
  ["Sortino Ratio"] = 1.0853434352488662, ["Calmar Ratio"] = 0.44166409202994605,
  ["Alpha [%]"] = 394.37391142027462, ["Beta"] = 0.03803390709192, ["Max. Drawdown [%]"] = -47.98012705007589,
  ["Avg. Drawdown [%]"] = -5.925851581948801, ["Max. Drawdown Duration"] = 584, ["Avg. Drawdown Duration"] = 41,
  ["Win Rate [%]"] = 46.96969696969697, ["Best Trade [%]"] = 53.59595229490424,
  ["Worst Trade [%]"] = -18.39887353835481, ["Avg. Trade [%]"] = 2.531715975158555,
  ["Max. Trade Duration"] = 183, ["Avg. Trade Duration"] = 46, ["Profit Factor"] = 2.167945974262033,
  ["Expectancy [%]"] = 3.2748078066748834, ["SQN"] = 1.0766187356697705, ["Kelly Criterion"] = 0.1518705127029717,
  ["Exposure Time [%]"] = 96.74115456238361,
}

local function close(expected, value, tolerance)
  if type(expected) ~= "number" then
    return expected == value
  end
  return type(value) == "number" and math.abs(value - expected) <= tolerance * math.abs(expected)
end

E.each(describe, "the backtest", function(kind)
  local box, why

  setup(function()
    local image, err = E.engine(kind):image(declaration, { ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE" })
    if not image and err.code == "unreachable" then
      why = "no package index can be reached: " .. err.message
      return
    end
    assert(image, err)
    box = assert(E.engine(kind):sandbox { image = image, cpus = 1, timeout = 120 })
  end)

  local function run(options)
    local r = assert(box:run(script, options))
    assert.are_equal("ok", r.status, r.stderr)
    return r
  end

  it("agrees with the package's own test in every figure", function()
    if why then
      return pending(why)
    end
    local r = run { args = { "--fast", "10", "--slow", "30", "--commission", "0", "--finalize" } }
    local wrong = {}
    for name, expected in pairs(published) do
      if not close(expected, r.value[name], 1e-8) then
        wrong[#wrong + 1] = ("%s: %s, not %s"):format(name, tostring(r.value[name]), tostring(expected))
      end
    end
    assert.are_same({}, wrong)
    assert.are_equal("", r.stderr)
  end)

  it("has the known figures of version 0.6.6 with a commission", function()
    if why then
      return pending(why)
    end
    local r = run { params = { fast = 10, slow = 20, cash = 10000, commission = 0.002 } }
    assert.is_true(close(56263.51934, r.value["Equity Final [$]"], 1e-9))
    assert.is_true(close(462.6351934, r.value["Return [%]"], 1e-9))
    assert.are_equal(93, r.value["# Trades"])
    assert.matches("Equity Final %[%$%] +56263%.51934", r.stdout)
    local equity = r:artefact("equity.csv").data
    assert.are_equal(2149, select(2, equity:gsub("\n", "")))
    assert.matches("\n2013%-03%-01,56263%.51934", equity)
  end)
end)
