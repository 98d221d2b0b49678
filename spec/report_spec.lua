-- What is in a report and what is not. report_file_spec.lua: how it gets there; report_browser_spec.lua looks at it.
local choose = require "moonsand.report.choose"
local curve = require "moonsand.sweep.curve"
local curves = require "moonsand.report.curves"
local encode = require "moonsand.report.encode"
local facts = require "moonsand.report.facts"
local json = require "moonsand.json"
local outcome = require "moonsand.sweep.outcome"
local report = require "moonsand.report"
local stand_in = require "spec.support.study"

local dir, path

local function read(name)
  local f = assert(io.open(name or path, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

-- The page, and the data in it.
local function written(study, options)
  assert(report.write(study, path, options))
  local html = read()
  local data = html:match '<script type="application/json" id="data">(.-)</script>'
  return html, assert(json.decode(data))
end

local function column(data, name)
  for _, c in ipairs(data.columns) do
    if c.name == name then
      return c
    end
  end
end

local function files()
  local out = {}
  for name in io.popen("ls -A " .. dir):lines() do
    out[#out + 1] = name
  end
  return out
end

local function trial(fields)
  local out = { number = 1, params = {}, state = "complete", value = 1, metrics = {} }
  for k, v in pairs(fields) do
    out[k] = v
  end
  return out
end

describe("a report", function()
  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -m 700 " .. dir))
    path = dir .. "/x.html"
  end)

  after_each(function()
    os.execute("rm -rf " .. dir)
  end)

  it("is one file that names no other and lets nothing else run", function()
    local html = written(stand_in.new(50))
    local policy = html:match 'Content%-Security%-Policy" content="([^"]*)"'
    local policy_is = "^default%-src 'none'; style%-src 'sha256%-%S+';%s+script%-src 'sha256%-%S+'; img%-src data:;"
    assert.matches(policy_is, policy)
    for _, attribute in ipairs { "src", "href", "action", "data" } do
      for value in html:gmatch("[^%w]" .. attribute .. '="([^"]*)"') do
        assert.is_true(value:find "^#" ~= nil or value:find "^data:image" ~= nil, value)
      end
    end
    for _, word in ipairs {
      "fetch(", "XMLHttpRequest", "WebSocket", "import(", "@import", "url(", "innerHTML", "outerHTML",
      "insertAdjacentHTML", "document.write", "eval(", "new Function",
    } do
      assert.is_nil(html:find(word, 1, true), word)
    end
  end)

  it("names the script and the style that are in it by their hashes", function()
    local html = written(stand_in.new(3))
    local function hash(text)
      local name = dir .. "/part"
      local f = assert(io.open(name, "wb"))
      f:write(text)
      f:close()
      local p = io.popen("openssl dgst -sha256 -binary " .. name .. " | base64")
      return p:read "l", p:close()
    end
    local style, script = html:match "<style>(.-)</style>", html:match "<script>(.-)</script>"
    assert.equal(hash(style), (html:match "style%-src 'sha256%-([^']+)'"))
    assert.equal(hash(script), (html:match "script%-src 'sha256%-([^']+)'"))
  end)

  it("keeps what programs said as data", function()
    local nasty = {
      "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--", "]]>", "\" onload='x'", "&lt;b&gt;",
      "\u{2028}\u{2029}", "\u{202e}txt.exe", "\27[31m", "\xff\xfe", ("A"):rep(100000),
    }
    local trials = {}
    for i, text in ipairs(nasty) do
      trials[i] = trial { number = i, params = { [text] = text }, metrics = { [text .. "m"] = i }, message = text,
        state = i % 2 == 0 and "failed" or "complete", reason = i % 2 == 0 and text or nil,
        series = { [text] = { 1, 2, 3 }, [text .. ".index"] = { text, text, text } } }
    end
    local study = { trials = trials, warnings = nasty, meta = {
      objective = nasty[1], script = nasty[2], stopped = nasty[3], params = { { name = nasty[1], values = nasty } },
      walkforward = { windows = {
        { params = { [nasty[1]] = nasty[2] }, in_sample = { from = nasty[1], to = nasty[2] } },
      } } },
      importance = function()
        return { [nasty[1]] = 1 }
      end }
    local html, data = written(study, { title = nasty[1],
      sections = { { title = nasty[1], text = nasty[2], columns = nasty, rows = { nasty } } } })
    local count = 0
    for _ in html:gmatch "<script" do
      count = count + 1
    end
    assert.equal(2, count)
    assert.is_nil(html:find("<img", 1, true))
    assert.is_nil(html:find("<!--", 1, true))
    assert.is_nil(html:find "\u{2028}")
    assert.is_nil(html:find "\u{202e}")
    assert.is_nil(html:find "\27")
    assert.is_truthy(utf8.len(html))
    assert.is_true(#html < 500000) -- 1,300,000 bytes came in for the longest alone
    assert.equal("</script><script>alert(1)</script>", data.sections[1].title)
    assert.matches("<title>&lt;/script&gt;&lt;script&gt;alert%(1%)&lt;/script&gt;</title>", html)
    assert.equal("<img src=x onerror=alert(1)>", data.messages.labels[2])
  end)

  it("writes the same JSON whatever the text is", function()
    for _, text in ipairs { "", "<", "a\u{2028}b\u{2029}", "<\\/>", "\0", "é\u{1f319}" } do
      local line = encode.value { text }
      assert.is_nil(line:find "[<>&]")
      assert.same({ text }, json.decode(line))
    end
    assert.equal("&lt;&gt;&amp;&quot;&#39;", encode.html "<>&\"'")
  end)

  it("has numbers of at most 10 digits, whole ones exactly, and says what is none", function()
    local _, data = written { meta = { objective = "v" }, trials = {
      trial { number = 1, value = 1 / 3, params = { seed = 9007199254740993, n = 1234567890123 } },
      trial { number = 2, value = 0 / 0, params = { seed = 1, n = 2 }, metrics = { a = math.huge } },
      trial { number = 4, value = -math.huge, params = { n = 3 }, metrics = { a = -math.huge } },
    } }
    local html = read()
    assert.matches("0.3333333333,", html, 1, true)
    assert.is_nil(html:find("0.33333333333", 1, true))
    assert.same({ 1, 2, 4 }, data.numbers)
    assert.same({ ["1"] = "NaN", ["2"] = "-Infinity" }, column(data, "v").odd)
    assert.same({ ["1"] = "Infinity", ["2"] = "-Infinity" }, column(data, "a").odd)
    assert.same({ ["0"] = "9007199254740993" }, column(data, "seed").odd)
    assert.same({ 1234567890123, 2, 3 }, column(data, "n").values)
    assert.equal(json.null, column(data, "seed").values[3])
  end)

  it("holds texts, truths and mixed parameters as labels", function()
    local _, data = written { trials = {
      trial { params = { kind = "sma", on = true, mixed = 1 } },
      trial { number = 2, params = { kind = "ema", on = false, mixed = "one" } },
      trial { number = 3, params = { kind = "sma", mixed = 0.5 } },
    } }
    assert.same({ "sma", "ema" }, column(data, "kind").labels)
    assert.same({ 0, 1, 0 }, column(data, "kind").values)
    assert.same({ "true", "false" }, column(data, "on").labels)
    assert.same({ 0, 1, -1 }, column(data, "on").values)
    assert.same({ "1", "one", "0.5" }, column(data, "mixed").labels)
  end)

  it("has a parameter's type and all its digits, for it is to be copied", function()
    local _, data = written { trials = {
      trial { params = { x = 0.1 + 0.2, n = 1, f = 2.0, both = 3.0, on = true, any = 1, text = "1", seed = 1 << 60 } },
      trial { number = 2, params = { x = 1e300, n = 2, f = 0.5, both = 4, any = "1", text = "two  blanks" } },
      trial { number = 3, params = { any = true, text = ("x"):rep(200) } },
      trial { number = 4, params = { any = "true", text = "x" } },
    } }
    local html = read()
    assert.matches("0.30000000000000004", html, 1, true)
    assert.same({ true, false }, { column(data, "f").float, column(data, "n").float or false })
    assert.same({ ["0"] = true }, column(data, "both").floats)
    assert.same({ "true" }, column(data, "on").json)
    assert.same({ "1", '"1"', "true", '"true"' }, column(data, "any").json)
    assert.same({ '"1"', json.null, json.null, '"x"' }, column(data, "text").json)
    assert.same({ ["0"] = "1152921504606846976" }, column(data, "seed").odd)
    assert.is_true(data.all_params)
    -- Of metrics ten digits are enough.
    _, data = written { trials = { trial { metrics = { m = 1 / 3, t = "x" } } } }
    assert.same({ 0.3333333333 }, column(data, "m").values)
    assert.is_nil(column(data, "t").json)
    local many = {}
    for i = 1, 300 do
      many["p" .. i] = i
    end
    _, data = written { trials = { trial { params = many } } }
    assert.is_false(data.all_params)
  end)

  it("says what it has of a study and why it lacks the rest", function()
    local study = stand_in.new(50)
    local _, data = written(study)
    local counts = data.counts
    for name, n in pairs {
      total = 50, complete = 48, failed = 2, pruned = 0, running = 0, waiting = 0, cached = 0, retried = 0,
    } do
      assert.equal(n, counts[name], name)
    end
    assert.equal(50.0, data.times.rate)
    assert.equal("the space is exhausted", data.stopped)
    assert.same({ "a plugin raised" }, data.warnings)
    assert.same({ "fast", "slow", "kind" }, { data.importance.rows[1].name, data.importance.rows[2].name,
      data.importance.rows[3].name })
    assert.equal(5, #data.walkforward.windows)
    assert.same({ { "fast", "5" }, { "slow", "50" } }, data.walkforward.windows[1].params)
    assert.equal(2, #data.failures)

    study.importance = function()
      error "too few trials"
    end
    study.meta.walkforward = nil
    _, data = written(study)
    assert.matches("importance() failed: ", data.importance.why, 1, true)
    assert.matches("too few trials", data.importance.why, 1, true)
    assert.matches("no walk-forward windows", data.walkforward.why, 1, true)
    study.importance = nil
    _, data = written(study)
    assert.equal("The study has no importance().", data.importance.why)
    study.importance = function()
      return nil, "only one parameter"
    end
    _, data = written(study)
    assert.equal("importance() has no answer: only one parameter", data.importance.why)
  end)

  it("asks the study whether the best is luck", function()
    local study = stand_in.new(10)
    study.meta.walkforward = nil
    local _, data = written(study)
    assert.equal("The study has no plateau().", data.robust.plateau.why)
    assert.equal("The study has no overfit_probability().", data.robust.overfit.why)
    function study.plateau()
      return { kind = "spike", verdict = "spike: 0 of 4\27[1m" }
    end
    function study.deflated_sharpe()
      return { probability = 0.91, trials = 10 }
    end
    local asked
    function study:overfit_probability(options)
      asked = self == study and options.blocks
      return nil, "the curves are too short"
    end
    _, data = written(study)
    assert.same({ kind = "spike", verdict = "spike: 0 of 4 [1m" }, data.robust.plateau)
    assert.same({ probability = 0.91, trials = 10 }, data.robust.deflated)
    assert.same({ why = "overfit_probability() has no answer: the curves are too short" }, data.robust.overfit)
    assert.equal(10, asked)
  end)

  it("takes the best of a walk through windows out of sample, and asks of no luck over all", function()
    local study = stand_in.new(20)
    local function never()
      error "asked of all windows at once"
    end
    study.plateau, study.deflated_sharpe, study.overfit_probability = never, never, never
    for i, one in ipairs(study.trials) do
      one.value, one.params.segment = 100 - i, i % 5 == 0 and "out-of-sample" or "in-sample"
    end
    study.best = function()
      return study.trials[1]
    end
    local _, data = written(study)
    assert.equal(5, data.numbers[data.best + 1])
    assert.is_true(data.outside)
    for _, one in ipairs(data.curves) do
      assert.equal(0, one.number % 5)
    end
    assert.equal(4, #data.curves)
    for _, part in pairs(data.robust) do
      assert.matches("^Per window only", part.why)
    end
    study.meta.walkforward = nil
    _, data = written(study)
    assert.equal(1, data.numbers[data.best + 1])
    assert.is_false(data.outside)
    assert.matches("asked of all windows", data.robust.plateau.why)
  end)

  it("says in words why a sweep ended", function()
    local study = stand_in.new(3)
    study.meta.stopped, study.meta.error = "max_time", "the engine is gone"
    local _, data = written(study)
    assert.equal("its time was up", data.stopped)
    assert.same({ "a plugin raised", "the engine is gone" }, data.warnings)
    study.meta.stopped = "the plugin had enough"
    _, data = written(study)
    assert.equal("the plugin had enough", data.stopped)
  end)

  it("takes importance as a list, too", function()
    local study = stand_in.new(10)
    study.importance = function()
      local list = { { name = "slow", importance = 0.2 }, { name = "fast", value = 0.7 }, { "kind", 0.1 } }
      return list, { explained = 0.83 }
    end
    local _, data = written(study)
    assert.same({ { name = "fast", value = 0.7 }, { name = "slow", value = 0.2 }, { name = "kind", value = 0.1 } },
      data.importance.rows)
    assert.equal(0.83, data.importance.explained)
  end)

  it("takes the best from the study, or finds it by the direction", function()
    local study = { meta = { objective = "v", direction = "minimize" },
      trials = { trial { number = 3, value = 2 }, trial { number = 1, value = 1 }, trial { number = 2, value = 5 } } }
    local _, data = written(study)
    assert.same({ 1, 2, 3 }, data.numbers)
    assert.equal(0, data.best)
    study.best = function(self)
      return self.trials[3]
    end
    _, data = written(study)
    assert.equal(1, data.best)
    _, data = written { trials = { trial { state = "failed", reason = "lost" } } }
    assert.is_nil(data.best)
  end)

  it("asks trials of a method and knows several objectives", function()
    local list = { trial { number = 1, values = { 1, 9 } }, trial { number = 2, values = { 2, 8 } } }
    list[1].value, list[2].value = nil, nil
    local _, data = written {
      trials = function()
        return list
      end,
      meta = { objective = { { "Sharpe", "maximize" }, { "Drawdown", "minimize" } } },
      pareto = function()
        return list
      end,
    }
    assert.same({ 1, 2 }, column(data, "Sharpe").values)
    assert.same({ 9, 8 }, column(data, "Drawdown").values)
    assert.equal("minimize", data.objectives[2].direction)
    assert.same({ 1, 2 }, data.pareto)
    assert.equal(1, data.best)
  end)

  it("leaves the front of many trials with three objectives to who asks for it", function()
    local asked, trials = 0, {}
    local study = {
      trials = trials, meta = { objective = { { "a", "maximize" }, { "b", "maximize" }, { "c", "maximize" } } },
      pareto = function()
        asked = asked + 1
        return { trials[1] }
      end,
    }
    for i = 1, 3000 do
      trials[i] = trial { number = i, values = { i, -i, 0 } }
    end
    local _, data = written(study, { max_trials = 10 })
    assert.same({ 1 }, data.pareto)
    trials[3001] = trial { number = 3001, values = { 3001, -3001, 0 } }
    _, data = written(study, { max_trials = 10 })
    assert.same({}, data.pareto)
    assert.equal(1, asked)
    assert.matches("than in all 3 objectives are left out.*among 3001; study:pareto%(%) does", data.notes[2])
    study.meta.objective[3] = nil
    _, data = written(study, { max_trials = 10 })
    assert.same({ 1 }, data.pareto)
  end)

  it("has an empty study, too", function()
    local _, data = written { trials = {} }
    assert.equal(0, data.rows)
    assert.same({}, data.columns)
  end)

  it("keeps of too many trials the best, each that was the best so far, and a share of the others", function()
    local study = stand_in.new(2000)
    local _, data = written(study, { max_trials = 200, curves = { 101 } })
    assert.equal(200, data.rows)
    assert.equal(2000, data.counts.total)
    assert.matches("200 of 2000 trials", data.notes[1], 1, true)
    local kept, best = {}, -math.huge
    for _, number in ipairs(data.numbers) do
      kept[number] = true
    end
    assert.is_true(kept[101])
    for _, t in ipairs(study.trials) do
      local value = choose.score(t)
      if value and value > best then
        best = value
        assert.is_true(kept[t.number], t.number)
      end
    end
    local late = 0
    for _, number in ipairs(data.numbers) do
      late = late + (number > 1000 and 1 or 0)
    end
    assert.is_true(late > 60 and late < 140, late)
    assert.equal(best, study.trials[data.numbers[data.best + 1]].value)
  end)

  it("has the best, however many others are wanted, and room for others than the best so far", function()
    local trials = {}
    for i = 1, 300 do
      trials[i] = trial { number = i, value = i, values = { i, 300 - i } }
      trials[i].value = nil
    end
    local _, data = written({ trials = trials, meta = { objective = { { "a", "maximize" }, { "b", "maximize" } } },
      pareto = function()
        return trials
      end }, { max_trials = 50 })
    assert.equal(50, data.rows)
    assert.equal(300, data.numbers[data.best + 1])
    trials = {}
    for i = 1, 1000 do
      trials[i] = trial { number = i, value = i }
    end
    _, data = written({ trials = trials }, { max_trials = 100 })
    assert.same({ 1, 1000, 100 }, { data.numbers[1], data.numbers[100], data.rows })
    local gap, last = 0, 0
    for _, number in ipairs(data.numbers) do
      gap, last = math.max(gap, number - last), number
    end
    assert.is_true(gap <= 30, gap)
    assert.matches("the best, many a one that was the best so far", data.notes[1], 1, true)
  end)

  it("has room for so many texts of programs", function()
    local trials = {}
    for i = 1, 2000 do
      local metrics = { few = "x" .. i % 5 }
      for k = 1, 100 do
        metrics["m" .. k] = ("%d of %d "):format(k, i) .. ("x"):rep(200)
      end
      trials[i] = trial { number = i, metrics = metrics, params = { own = "param " .. i } }
    end
    local _, data = written { trials = trials }
    assert.is_true(#read() < 8e6, #read())
    assert.equal(2000, #column(data, "own").labels)
    assert.equal(5, #column(data, "few").labels)
    local labels = column(data, "m1").labels
    assert.same({ 1001, "(others)", 1000 }, { #labels, labels[1001], column(data, "m1").values[2000] })
    assert.same({ "(others)" }, column(data, "m99").labels)
    assert.matches("different texts", data.notes[1], 1, true)
  end)

  it("stays small with 20,000 trials and with as many metrics as a program likes", function()
    local _, data = written(stand_in.new(20000))
    assert.equal(20000, data.rows)
    assert.is_true(#read() < 10e6, #read())
    local metrics = {}
    for i = 1, 20000 do
      metrics["m" .. i] = i
    end
    local trials = {}
    for i = 1, 1000 do
      trials[i] = trial { number = i, metrics = i == 1 and metrics or { ["only " .. i] = 1 }, message = "said " .. i }
    end
    trials[1001] = trial { number = 1001, message = "one more" }
    _, data = written { trials = trials }
    assert.equal(200, #data.columns)
    assert.is_true(#read() < 2e6, #read())
    assert.matches("columns more than the", data.notes[1], 1, true)
    assert.equal(1000, #data.messages.labels)
    assert.equal(-2, data.messages.values[1001])
  end)

  it("draws the series that were asked for, and says which it has not", function()
    local study = stand_in.new(30)
    study.trials[5].series = nil
    local _, data = written(study, { curves = { 7, 5, 99 } })
    assert.equal(1, #data.curves)
    assert.equal(7, data.curves[1].number)
    assert.equal("equity", data.curves[1].series[1].name)
    assert.equal("2004-08-20", data.curves[1].series[1].x[1])
    assert.matches("5, 99", data.notes[1], 1, true)
    _, data = written(study)
    assert.equal(5, #data.curves)
  end)

  it("thins a series without losing its peaks", function()
    local values = {}
    for i = 1, 10000 do
      values[i] = 100
    end
    values[777], values[5001] = 1, 900
    local keep, seen = curve.thin(values, 300), {}
    assert.is_true(#keep <= 300)
    for i, at in ipairs(keep) do
      assert.is_true(i == 1 or at > keep[i - 1])
      seen[at] = true
    end
    assert.is_true(seen[1] and seen[777] and seen[5001] and seen[10000])
    assert.same({ 1, 2, 3 }, curve.thin({ 5, 5, 5 }, 3))
  end)

  it("draws the fall of one bar of a curve that was too long to be kept", function()
    local result = { v = 1, equity = {}, ["equity.index"] = {} }
    for i = 1, 10001 do
      result.equity[i], result["equity.index"][i] = 1000 + i / 100, os.date("!%Y-%m-%d", i * 86400)
    end
    result.equity[6002] = 400
    local one = trial {}
    one.metrics, one.series = outcome.flatten(result)
    local out = curves.of(one)
    assert.equal(1, #out)
    local lowest, at = math.huge, nil
    for i, y in ipairs(json.decode(out[1].y.text)) do
      if y < lowest then
        lowest, at = y, i
      end
    end
    assert.equal(400, lowest)
    assert.matches("1986%-06%-0[6-9]", out[1].x[at]) -- the 8th
    assert.is_true(#out[1].x <= 1500)
  end)

  it("leaves out of a series what is no number", function()
    local out = curves.of { series = { equity = { 1, 0 / 0, 3, math.huge, "x", 4 }, a = { 1 }, b = "no" } }
    assert.equal(1, #out)
    assert.equal("[1,3,4]", out[1].y.text)
    assert.equal("[1,3,6]", out[1].x.text)
  end)

  it("counts failures by reason with what was said most", function()
    local trials = {}
    for i, message in ipairs { "b", "a", "a", "c" } do
      trials[i] = trial { number = i, state = "failed", reason = "error", message = message }
    end
    trials[5] = trial { number = 5, state = "failed", reason = "oom" }
    trials[6] = trial { number = 6, state = "failed" }
    local out = facts.failures(trials)
    assert.same({ "error", "not said", "oom" }, { out[1].reason, out[2].reason, out[3].reason })
    assert.same({ { text = "a", count = 2 }, { text = "b", count = 1 }, { text = "c", count = 1 } }, out[1].messages)
    assert.same({ 1, 2, 3, 4 }, out[1].numbers)
  end)

  it("has the sweep's own counts when the trials were not kept", function()
    local counts = { done = 1000, complete = 900, pruned = 60, failed = 40, failures = { oom = 30, lost = 10 } }
    local _, data = written {
      trials = { trial { number = 7 } }, meta = { kept = false, started = 100, ended = 150, counts = counts },
    }
    assert.equal(1000, data.counts.total)
    assert.equal(900, data.counts.complete)
    assert.equal(20, data.times.rate)
    assert.same({ "oom", "lost" }, { data.failures[1].reason, data.failures[2].reason })
    assert.matches("did not keep its trials", data.notes[1], 1, true)
  end)

  it("shows sections of plugins, whatever they hold", function()
    local _, data = written(stand_in.new(3), { sections = {
      { title = "A", text = "one\n\ntwo", columns = { "x", "y" }, rows = { { 1, "b" }, { x = 3, y = 0 / 0 }, "z" } },
      { rows = { { 1, 2, 3 } } }, {},
    } })
    assert.same({ "one", "two" }, data.sections[1].text)
    assert.same({ { 1, "b" }, { 3, ("%.10g"):format(0 / 0) }, { "z", "" } }, data.sections[1].rows)
    assert.same({ { 1, 2, 3 } }, data.sections[2].rows)
    assert.equal("Section 3", data.sections[3].title)
  end)

  it("wants parameters for the axes of its heatmap", function()
    local study = stand_in.new(5)
    local _, data = written(study, { x = "slow", y = "kind" })
    assert.same({ "slow", "kind" }, { data.x, data.y })
    assert(report.write({ trials = {} }, path, { x = "any" })) -- nobody knows
  end)

  it("blames the caller's line for misuse", function()
    local study = stand_in.new(3)
    local here = "^spec/report_spec%.lua:%d+: "
    for message, call in pairs {
      ["report%.write wants a study, got nil"] = function() report.write(nil, path) end,
      ["a report wants a study, whose trials"] = function() report.write({}, path) end,
      ["item 1 of study%.trials has none"] = function() report.write({ trials = { {} } }, path) end,
      ["option 'path': 3 is not a text"] = function() report.write(study, 3) end,
      ["has no option 'tittle'; did you mean 'title'%?"] = function() report.write(study, path, { tittle = "x" }) end,
      ["option 'curves': item 1 is not a trial's number"] = function()
        report.write(study, path, { curves = { "a" } })
      end,
      ["option 'y': the study has no parameter \"nope\" %(it has fast, kind, slow%)"] = function()
        report.write(study, path, { x = "slow", y = "nope" })
      end,
      ["option 'curves': 3 is not a table"] = function() report.write(study, path, { curves = 3 }) end,
      ["option 'sections': item 1 is not a table"] = function() report.write(study, path, { sections = { 1 } }) end,
      ["option 'max_trials': 0 is not a whole number"] = function() report.write(study, path, { max_trials = 0 }) end,
    } do
      local good, err = pcall(call)
      assert.is_false(good)
      assert.matches(here .. ".*" .. message, err)
    end
    assert.same({}, files())
  end)
end)
