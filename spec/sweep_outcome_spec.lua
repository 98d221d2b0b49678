--- What becomes of a program's result: a trial's state, reason, message, metrics and series.
local curve = require "moonsand.sweep.curve"
local moonsand = require "moonsand"
local noop_sweep = require "spec.support.noop_sweep"

local run = noop_sweep.run

describe("a sweep", function()
  describe("says what went wrong with a trial:", function()
    local function one(f, options)
      local o = { space = { n = 1 } }
      for k, v in pairs(options or {}) do
        o[k] = v
      end
      local study = assert(run(o, f))
      assert.equal(1, #study)
      local trial = study[1]
      return trial
    end

    local function check(reason, pattern, f, options)
      local trial = one(f, options)
      assert.same({ "failed", reason }, { trial.state, trial.reason })
      assert.matches(pattern, trial.message)
      assert.is_nil(trial.value)
      return trial
    end

    it("no objective", function()
      local trial = check("invalid_value", "^the result has no 'v'; did you mean 'vv'%? %(it has other, vv%)$",
        function()
          return { vv = 1, other = 2 }
        end)
      assert.same({ vv = 1, other = 2 }, trial.metrics)
      check("invalid_value", "^the result has no 'v' %(it is empty%)$", function()
        return {}
      end)
    end)

    it("nothing, of an objective whose name is not written as it would be shown", function()
      for _, name in ipairs { "Win  Rate", "Win\tRate", "Win\u{200b}Rate", ("%s "):format(("long name "):rep(30)) } do
        local trial = one(function()
          return { [name] = 3, other = 2 }
        end, { objective = name })
        assert.same({ "complete", 3 }, { trial.state, trial.value }, name)
      end
    end)

    it("NaN, infinity, a text, true", function()
      check("invalid_value", "^'v' is not a number %(NaN%)$", function()
        return { v = 0 / 0 }
      end)
      check("invalid_value", "^'v' is infinite$", function()
        return { v = -math.huge }
      end)
      check("invalid_value", '^\'v\' is "1.5", not a number$', function()
        return { v = "1.5" }
      end)
      check("invalid_value", "^'v' is true, not a number$", function()
        return { v = true }
      end)
      check("invalid_value", "^the objective raised: .*arithmetic", function()
        return {}
      end, { objective = function(m)
        return m.no + 1
      end })
    end)

    it("other metrics that are NaN or infinite are kept", function()
      local trial = one(function()
        return { v = 1, a = 0 / 0, b = math.huge }
      end)
      assert.equal("complete", trial.state)
      assert.is_true(trial.metrics.a ~= trial.metrics.a)
      assert.equal(math.huge, trial.metrics.b)
    end)

    it("JSON that is no object, no JSON, nothing", function()
      for said, value in pairs { ["a list"] = { 1, 2 }, ["a number"] = 5, ["a string"] = "x", null = moonsand.null } do
        check("invalid_value", "^the result is " .. said .. ", not a JSON object$", function()
          return value
        end)
      end
      check("invalid_value", "^the result file is not JSON", function()
        return nil, { value_error = "the result file is not JSON: x" }
      end)
      check("invalid_value", "^the program wrote no result", function() end)
      for reason, pattern in pairs { size = "^the result is larger than", link = "^the result file was .*: link" } do
        check("invalid_value", pattern, function()
          return nil, { rejected_artefacts = { { path = "a", reason = "x" }, { path = "result", reason = reason } } }
        end)
      end
    end)

    it("a last line that should have been one", function()
      for _, line in ipairs { "{'v': 1}", '{"v": 1', '{"v": nan}' } do
        check("invalid_value", "^the last line begins as an object, but is not JSON: %S", function()
          return nil, { stdout = "hello\n" .. line .. "\n" }
        end)
      end
    end)

    it("a result file that was refused: what was printed does not stand for it", function()
      local printed = 'hello\n{"v": 3, "level": "info"}\n'
      for reason, pattern in pairs { size = "^the result is larger than", link = "^the result file was .*: link" } do
        local trial = check("invalid_value", pattern, function()
          return nil, { rejected_artefacts = { { path = "result", reason = reason } }, stdout = printed }
        end)
        assert.is_nil(trial.metrics)
      end
      assert.equal(3, one(function() -- another file's refusal is its own matter
        return nil, { rejected_artefacts = { { path = "a", reason = "link" } }, stdout = printed }
      end).value)
    end)

    it("a program that fails after it wrote its result: its value is not used", function()
      local trial = check("error", "^ValueError: no$", function()
        return { v = 7 }, { status = "exit", exit_code = 1, stderr = "Traceback\n  x\nValueError: no\n\n \n" }
      end)
      assert.is_nil(trial.metrics)
      check("error", "^exit 3$", function()
        return { v = 7 }, { status = "exit", exit_code = 3 }
      end)
      check("error", "^signal 11$", function()
        return { v = 7 }, { status = "signal", signal = 11 }
      end)
      for _, reason in ipairs { "timeout", "oom", "output_limit", "tampered" } do
        check(reason, "^ran long$", function()
          return { v = 7 }, { status = reason, reason = "ran long", stderr = "x" }
        end)
      end
    end)

    it("its message is one harmless line", function()
      local trial = check("error", "^%[31mred", function()
        return nil, { status = "exit", stderr = "a\n\27[31mred\7\t\u{202e}" .. ("x"):rep(3000) .. "\n\n" }
      end)
      assert.is_true(#trial.message <= 500)
      assert.is_nil(trial.message:find "%c")
      check("error", "^first$", function()
        return nil, { status = "exit", stderr = "first\n" .. ("\27\n"):rep(20) }
      end)
    end)
  end)

  it("takes a result that was printed last when there is no other", function()
    local study = run({}, function(p)
      return nil, { stdout = 'hello\n{"v": 1}\n{"v": ' .. p.n .. ', "x": [1, 2]}\n\n' }
    end)
    assert.equal(10, study:best().value)
    study = run({}, function(p)
      return { v = p.n }, { stdout = '{"v": 100}\n' }
    end)
    assert.equal(10, study:best().value)
    local trial = run({ space = { n = 1 } }, function()
      return nil, { stdout = '{"v": 1, "Sortino Ratio": NaN, "Calmar Ratio": -Infinity}\n' }
    end)[1]
    assert.same({ "complete", 1, -math.huge }, { trial.state, trial.value, trial.metrics["Calmar Ratio"] })
    assert.is_true(trial.metrics["Sortino Ratio"] ~= trial.metrics["Sortino Ratio"])
  end)

  it("keeps the lows and highs of what it thins, and where they were", function()
    local m = { v = 1, equity = {}, tail = {}, ["tail.extremes"] = { 1 } }
    for i = 1, 10001 do
      m.equity[i], m.tail[i] = 100 + i / 100, i
    end
    m.equity[6002], m.equity[7778], m.tail[10001] = 40, 900, moonsand.null
    local series = run({ space = { n = 1 } }, function()
      return m
    end)[1].series
    local function find(list, wanted)
      for i, v in ipairs(list) do
        if v == wanted then
          return i
        end
      end
    end
    assert.is_nil(find(series.equity, 40)) -- else this proves nothing
    assert.equal(6002, series["equity.extremes.index"][find(series["equity.extremes"], 40)])
    assert.equal(7778, series["equity.extremes.index"][find(series["equity.extremes"], 900)])
    local values, places, near = curve.whole(series, "equity")
    local at = find(values, 40)
    assert.same({ 6002, #values, #values }, { places[at], #places, #near })
    assert.is_true(math.abs(series.equity[near[at]] - 160) < 0.03)
    assert.same({ 10001, 10001, 1 }, { curve.length(series, "equity"), curve.length(series, "tail"),
      curve.length({ short = { 5 } }, "short") })
  end)

  it("keeps no long series whose lows and highs it has no room for", function()
    local m = { v = 1, z = {} }
    for i = 1, 62 do
      m["s" .. i] = { i }
    end
    for i = 1, 5000 do
      m.z[i] = i
    end
    local series = run({ space = { n = 1 } }, function()
      return m
    end)[1].series
    assert.is_nil(series.z)
    assert.same({ 62 }, series.s62)
  end)

  it("keeps series to a size, and metrics to a number", function()
    local study = run({ space = { n = 1 }, objective = "zz" }, function()
      local m = { zz = 1, long = {}, ["long.index"] = {}, gap = { 1, moonsand.null, 3 }, mixed = { 1, "x" },
        words = { "x" }, series = { equity = { 5, 6 }, gap = { 9 }, v = 7 }, ["a.b"] = 1, a = { b = 2, c = 3 } }
      for i = 1, 10000 do
        m.long[i], m["long.index"][i] = i, "d" .. i
      end
      for i = 1, 5000 do
        m["w" .. i] = i
      end
      return m
    end)
    local trial = study[1]
    assert.equal(4096, #trial.series.long)
    assert.same({ 1, 10000, "d1", "d10000" }, { trial.series.long[1], trial.series.long[4096],
      trial.series["long.index"][1], trial.series["long.index"][4096] })
    local places = trial.series["long.extremes.index"]
    assert.same({ 1, 10000, #places }, { places[1], places[#places], #trial.series["long.extremes"] })
    assert.is_true(#places <= 1024)
    assert.equal(3, #trial.series.gap)
    assert.is_true(trial.series.gap[2] ~= trial.series.gap[2])
    assert.is_nil(trial.series.mixed)
    assert.is_nil(trial.series.words)
    assert.same({ 5, 6 }, trial.series.equity)
    assert.same({ 1, 7, 1, 3 }, { trial.value, trial.metrics["series.v"], trial.metrics["a.b"], trial.metrics["a.c"] })
    local n = 0
    for _ in pairs(trial.metrics) do
      n = n + 1
    end
    assert.equal(4096, n)
  end)
end)
