-- The arithmetic under the study's statistics, against figures from elsewhere.
local deflated = require "moonsand.study.deflated"
local numbers = require "moonsand.study.numbers"
local returns = require "moonsand.study.returns"

local function near(expected, got, tolerance)
  assert.truthy(
    math.abs(expected - got) <= (tolerance or 1e-12) * math.max(1, math.abs(expected)),
    ("expected %.17g, got %.17g"):format(expected, got)
  )
end

describe("the normal distribution", function()
  -- From scipy.special.ndtr and ndtri.
  it("is exact in the middle and in the tails", function()
    near(0.5, numbers.normal(0), 0)
    near(0.97724986805182079, numbers.normal(2))
    near(0.017003022647632787, numbers.normal(-2.12))
    near(1, numbers.normal(-10) / 7.6198530241605269e-24)
    near(1, numbers.normal(-30) / 4.906713927147908e-198)
    near(1, numbers.normal(40), 0)
  end)

  it("has an inverse, exact as well", function()
    near(2.3263478740408408, numbers.normal_inverse(0.99))
    near(-2.3263478740408408, numbers.normal_inverse(0.01))
    near(0, numbers.normal_inverse(0.5), 1e-15)
    near(-0.0250689082587111, numbers.normal_inverse(0.49))
    near(-37.0471, numbers.normal_inverse(1e-300), 1e-6)
    assert.equal(-math.huge, numbers.normal_inverse(0))
    assert.equal(math.huge, numbers.normal_inverse(1))
    for _, p in ipairs { 1e-200, 1e-12, 0.003, 0.2, 0.4999, 0.5001, 0.77, 0.9999 } do
      near(1, numbers.normal(numbers.normal_inverse(p)) / p)
    end
    local nothing = numbers.normal_inverse(1.5)
    assert.truthy(nothing ~= nothing)
  end)
end)

describe("moments", function()
  it("keep their digits far from 0", function()
    local list = {}
    for i = 1, 1000 do
      list[i] = 1e9 + i % 2
    end
    near(0.25 * 1000 / 999, numbers.variance(list))
  end)

  it("are nil where there are none", function()
    assert.is_nil(numbers.mean {})
    assert.is_nil(numbers.median {})
    assert.is_nil(numbers.variance { 1 })
    assert.is_nil(numbers.moments {})
  end)

  it("of a list with two in the middle, and the list stays", function()
    local list = { 9, 1, 5, 3 }
    assert.equal(4, numbers.median(list))
    assert.same({ 9, 1, 5, 3 }, list)
    assert.equal(3, numbers.median { 9, 1, 3 })
  end)

  it("rank equal values alike", function()
    assert.same({ 1, 3, 3, 5, 3 }, numbers.ranks { -4, 2, 2, 7, 2 })
  end)
end)

describe("the Deflated Sharpe Ratio", function()
  it("of the published example is 0.9004, against 0.1132", function()
    local d = deflated.from_figures {
      sharpe = 2.5 / math.sqrt(250), observations = 1250, skewness = -3, kurtosis = 10,
      trials = 100, variance = 0.5 / 250,
    }
    assert.equal("0.1132", ("%.4f"):format(d.benchmark))
    assert.equal("0.9004", ("%.4f"):format(d.probability))
    near(0.113172, d.benchmark, 1e-6)
    near(0.900397, d.probability, 1e-6)
  end)

  it("expects nothing of a single trial, and more of many", function()
    assert.equal(0, deflated.expected_maximum(1, 0.01))
    local few, many = deflated.expected_maximum(10, 0.01), deflated.expected_maximum(1e12, 0.01)
    assert.truthy(few > 0.15 and few < 0.16, few)
    assert.truthy(many > few and many < 0.8, many)
  end)

  it("of one trial is the probabilistic Sharpe ratio", function()
    near(numbers.normal(0.1 * math.sqrt(100) / math.sqrt(1 + 0.005)), deflated.probabilistic(0.1, 0, 101, 0, 3))
  end)

  it("refuses moments that contradict each other", function()
    local d, err = deflated.from_figures {
      sharpe = 2, observations = 100, skewness = 5, kurtosis = 1, trials = 10, variance = 0.1,
    }
    assert.is_nil(d)
    assert.equal("invalid", err.code)
    assert.truthy(err.message:find("skewness 5", 1, true))
  end)

  it("counts correlated trials as fewer", function()
    local a, b = { 1, -1, 1, -1, 2, -2 }, { 1, 1, -1, -1, 0, 0 }
    near(1, deflated.independent { { returns = a }, { returns = a }, { returns = a } })
    near(2, deflated.independent { { returns = a }, { returns = b } })
  end)
end)

describe("an equity curve", function()
  it("has one return fewer than points", function()
    local r = returns.of { 100, 110, 99 }
    assert.equal(2, #r)
    near(0.1, r[1])
    near(-0.1, r[2])
  end)

  it("that is ruined has lost all, once", function()
    assert.same({ -0.5, -1, 0, 0 }, returns.of { 100, 50, 0, 0, 80 })
    assert.same({ -1, 0 }, returns.of { 100, -5, -6 })
  end)

  it("has none when it is broken, too short or begins with nothing", function()
    for _, curve in ipairs { { 0, 100, 50 }, { -5, 3 }, { 100, 0 / 0, 3 }, { 100, 0, 0 / 0 },
      { 100, math.huge }, { 100 }, {}, { 100, "110" }, "text" } do
      assert.is_nil(returns.of(curve))
    end
    assert.is_nil(returns.of(nil))
  end)

  it("has a Sharpe ratio, by the year when asked", function()
    local list = { 0.01, 0.03, -0.01, 0.01 }
    near(0.01 / math.sqrt(0.0008 / 3), returns.sharpe(list))
    near(0.01 / math.sqrt(0.0008 / 3) * math.sqrt(252), returns.sharpe(list, 252))
    assert.is_nil(returns.sharpe { 0, 0, 0 })
    assert.is_nil(returns.sharpe { 0.01 })
  end)

  it("has a Sharpe ratio in each window", function()
    local rolling = returns.rolling_sharpe({ 0.01, 0.03, 0, 0, 0 }, 2)
    assert.equal(4, #rolling)
    near(0.02 / math.sqrt(0.0002), rolling[1])
    assert.is_false(rolling[3])
    assert.has_error(function()
      returns.rolling_sharpe({ 1, 2, 3 }, 1)
    end)
  end)

  it("falls from its highest point so far", function()
    local down, deepest = returns.drawdown { 100, 120, 90, 130, 104 }
    assert.same({ 0, 0, -0.25, 0 }, { table.unpack(down, 1, 4) })
    near(-0.2, down[5])
    assert.equal(-0.25, deepest)
  end)
end)
