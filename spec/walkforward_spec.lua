--- Walk-forward: windows, and what is chosen in one part of each and tried in the other.
local errors = require "moonsand.errors"
local moonsand = require "moonsand"

local walkforward = moonsand.plugin "walkforward"
local windows, run = walkforward.windows, walkforward.run

local function bounds(list)
  local out = {}
  for i, w in ipairs(list) do
    assert(w.number == i)
    out[i] = { w.train.from, w.train.to, w.test.from, w.test.to }
  end
  return out
end

describe("walk-forward windows", function()
  it("roll", function()
    assert.same({ { 0, 50, 50, 70 }, { 20, 70, 70, 90 } }, bounds(windows { bars = 100, train = 50, test = 20 }))
    assert.same({ { 0, 50, 50, 70 }, { 30, 80, 80, 100 } },
      bounds(windows { bars = 100, train = 50, test = 20, step = 30 }))
  end)

  it("are anchored", function()
    assert.same({ { 0, 50, 50, 70 }, { 0, 70, 70, 90 } },
      bounds(windows { bars = 100, train = 50, test = 20, anchored = true }))
  end)

  it("leave a gap", function()
    assert.same({ { 0, 50, 55, 75 }, { 20, 70, 75, 95 } },
      bounds(windows { bars = 100, train = 50, test = 20, gap = 5 }))
  end)

  it("fill the data when they fit exactly", function()
    assert.same({ { 0, 60, 60, 100 } }, bounds(windows { bars = 100, train = 60, test = 40 }))
    local list = windows { bars = 2148, train = 1000, test = 250 }
    assert.equal(4, #list)
    assert.same({ from = 2000 - 250, to = 2000 }, list[4].test)
  end)

  it("carry the dates of their ends", function()
    local list = windows { labels = { "a", "b", "c", "d", "e" }, train = 2, test = 1 }
    assert.same({ 3, "c", "d", "e", "e" },
      { #list, list[3].train.first, list[3].train.last, list[3].test.first, list[3].test.last })
  end)

  it("raise for what makes no sense, in the caller's line", function()
    for pattern, o in pairs {
      ["100 bars are too few for one window of 90 %+ 0 %+ 20"] = { bars = 100, train = 90, test = 20 },
      ["train is a whole number of at least 1, got 0"] = { bars = 100, train = 0, test = 20 },
      ["step is a whole number of at least 1, got 0"] = { bars = 100, train = 10, test = 20, step = 0 },
      ["gap is a whole number of at least 0, got %-1"] = { bars = 100, train = 10, test = 20, gap = -1 },
      ["bars is a whole number of at least 2, got nil"] = { train = 10, test = 20 },
      ["test is a whole number of at least 1, got 1.5"] = { bars = 100, train = 10, test = 1.5 },
      ["there are 2 labels for 3 bars"] = { bars = 3, train = 1, test = 1, labels = { "a", "b" } },
      ["has no option 'tests'"] = { bars = 100, train = 10, tests = 5 },
    } do
      local good, err = pcall(function()
        windows(o) -- to blame
      end)
      assert.is_false(good)
      assert.matches(pattern, err)
      assert.matches("^spec/walkforward_spec.lua:", err)
    end
  end)
end)

describe("walk-forward", function()
  local dir, ran
  local list = windows { bars = 100, train = 50, test = 20, labels = (function()
    local labels = {}
    for i = 1, 100 do
      labels[i] = ("2020-%03d"):format(i)
    end
    return labels
  end)() }

  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    os.execute("mkdir -p " .. dir)
    ran = {}
  end)

  after_each(function()
    os.execute("rm -rf " .. dir)
  end)

  -- In-sample the best n is the window's beginning / 10 + 1; out-of-sample the value is a tenth.
  local function program(p)
    ran[#ran + 1] = { p.n, p.from, p.to }
    local length = p.to - p.from
    if length == 50 then
      return { v = 100 - math.abs(p.n - (p.from / 10 + 1)), length = length }
    end
    return { v = p.n + 0.5, length = length }
  end

  local function walk(options, f)
    local sweep = { space = { n = moonsand.range(1, 5), kind = { "a", "b" } }, where = function(p)
      return p.kind == "a"
    end, constants = { cash = 10000 }, objective = "v" }
    local o = { windows = list, sweep = sweep }
    for k, v in pairs(options or {}) do
      if k == "sweep" then
        for name, value in pairs(v) do
          sweep[name] = value
        end
      else
        o[k] = v
      end
    end
    return run(moonsand.executors.noop { f = f or program }, o)
  end

  it("chooses in-sample and tries the choice out-of-sample, window by window", function()
    local told = {}
    local study = assert(walk { on_window = function(window)
      told[#told + 1] = window.number
    end })
    assert.same({ 1, 2 }, told)
    assert.same({ 12, 12 }, { #ran, #study })
    assert.same({ { 1, 50, 70 }, { 3, 70, 90 } }, { ran[6], ran[12] })
    local walked = study.meta.walkforward
    local first, second = walked.windows[1], walked.windows[2]
    assert.same({ n = 1, kind = "a", cash = 10000 }, first.params)
    assert.same({ 100, 1.5, 1, 6, 5 },
      { first.in_value, first.out_value, first.in_trial, first.out_trial, first.trials })
    assert.same({ n = 3, kind = "a", cash = 10000 }, second.params)
    assert.same({ 100, 3.5, 9, 12 }, { second.in_value, second.out_value, second.in_trial, second.out_trial })
    assert.same({ from = "2020-021", to = "2020-070" }, second.in_sample)
    assert.same({ from = "2020-071", to = "2020-090" }, second.out_of_sample)
    assert.same({ v = 3.5, length = 20 }, second.metrics)
    assert.same({ 100, 2.5, 0.025 }, { walked.in_mean, walked.out_mean, walked.efficiency })
    for i, trial in ipairs(study:trials()) do
      assert.equal(i, trial.number)
      assert.equal(i > 6 and 2 or 1, trial.params.window)
      assert.equal(i % 6 == 0 and "out-of-sample" or "in-sample", trial.params.segment)
    end
    local names = {}
    for i, one in ipairs(study.meta.params) do
      names[i] = one.name
    end
    assert.same({ "cash", "from", "kind", "n", "segment", "to", "window" }, names)
  end)

  it("stands in the report, once, with why a window has no result", function()
    local study = assert(walk(nil, function(p)
      return p.from ~= 20 and program(p) or nil
    end))
    local data = require "moonsand.report.data".build(study, { max_trials = 100 }, 1)
    assert.same({}, data.sections)
    assert.same({ {
      in_sample = { from = "2020-001", to = "2020-050" }, out_of_sample = { from = "2020-051", to = "2020-070" },
      params = { { "cash", "10000" }, { "kind", "a" }, { "n", "1" } }, in_value = 100, out_value = 1.5,
    }, {
      in_sample = { from = "2020-021", to = "2020-070" }, out_of_sample = { from = "2020-071", to = "2020-090" },
      params = {}, reason = "no trial in-sample has a value",
    } }, data.walkforward.windows)
  end)

  it("goes on where it was", function()
    local options = { sweep = { journal = dir .. "/wf.jsonl", resume = true } }
    local study, err, so_far = walk(options, function(p)
      if #ran == 8 then
        return nil, errors.new("denied", "enough")
      end
      return program(p)
    end)
    assert.is_nil(study)
    assert.equal("denied", err.code)
    assert.equal(9, #so_far)
    ran = {}
    study = assert(walk(options))
    assert.same({ { 3, 20, 70 }, { 4, 20, 70 }, { 5, 20, 70 }, { 3, 70, 90 } }, ran)
    assert.equal(12, #study)
    assert.equal(3.5, study.meta.walkforward.windows[2].out_value)
    local files = {}
    for name in io.popen("ls " .. dir):lines() do
      files[#files + 1] = name:gsub("%-%x%x%x%x%x%x%x%x%.", "-*.")
      assert(moonsand.study(dir .. "/" .. name))
    end
    assert.same({ "wf.1.jsonl", "wf.1.test-*.jsonl", "wf.2.jsonl", "wf.2.test-*.jsonl",
      "wf.jsonl" }, files)
  end)

  -- What the journals do not keep as it was: when the study was made, and by which of the processes.
  local function facts(study)
    local meta = {}
    for k, v in pairs(study.meta) do
      meta[k] = v
    end
    for _, name in ipairs { "started", "ended", "journal", "error", "kept", "signature", "type", "version", "program",
      "wall_s" } do
      meta[name] = nil
    end
    local trials = study:trials()
    for i, trial in ipairs(trials) do
      trials[i] = { trial.number, trial.state, trial.params, trial.value, trial.metrics, trial.message }
    end
    return { meta, trials }
  end

  it("keeps the windows in its own journal, which is read with those of the parts", function()
    local path = dir .. "/wf.jsonl"
    local meanwhile = {}
    local study = assert(walk({ on_window = function()
      meanwhile[#meanwhile + 1] = assert(moonsand.study(path))
    end, sweep = { journal = path, title = "a walk", seed = 3 } }, function(p)
      if p.from == 70 then
        error("no luck", 0)
      end
      return program(p), { stderr = "x" }
    end))
    local given = facts(study)
    local read = assert(moonsand.study(path))
    assert.same(given, facts(read))
    assert.equal("no luck", read.meta.walkforward.windows[2].reason)
    assert.same({ 12, "a walk", 100, {} }, { #read, read.meta.title, read:best().value, read.warnings })
    assert.same({ 6, 1, 1.5 }, { #meanwhile[1], #meanwhile[1].meta.walkforward.windows,
      meanwhile[1].meta.walkforward.windows[1].out_value })
    assert.equal(12, #meanwhile[2])
    assert.equal("exhausted", read.meta.stopped)
    assert.is_nil(meanwhile[2].meta.stopped)
    -- It is this walk's: not another one's, nor to be begun again, nor a sweep's.
    for pattern, options in pairs {
      ["exists and holds"] = { sweep = { journal = path } },
      ["walkforward is .* there and"] = { sweep = { journal = path, resume = true },
        windows = windows { bars = 100, train = 50, test = 10 } },
    } do
      local nothing, err = walk(options)
      assert.same({ nil, "conflict" }, { nothing, err.code })
      assert.matches(pattern, err.message)
    end
    local _, err = moonsand.sweep { space = { n = 1 }, objective = "v", journal = path, resume = true }:run(
      moonsand.executors.noop { f = program })
    assert.equal("conflict", err.code)
    -- Resumed, and ended before it is where it was, it loses nothing.
    assert.has_error(function()
      walk({ on_sweep = function(_, window, segment)
        if window.number == 2 then
          error(segment, 0)
        end
      end, sweep = { journal = path, resume = true, title = "a walk", seed = 3 } })
    end, "in-sample")
    read = assert(moonsand.study(path))
    assert.same({ 12, nil }, { #read, read.meta.stopped })
    given[1].stopped = nil
    assert.same(given, facts(read))
    assert(os.remove(dir .. "/wf.2.jsonl"))
    read = assert(moonsand.study(path))
    assert.equal(7, #read)
    assert.matches("^window 2, in%-sample: .*wf%.2%.jsonl", read.warnings[1])
    local window = read.meta.walkforward.windows[2]
    assert.same({ { n = 3, kind = "a", cash = 10000 }, 100, nil, "no luck" },
      { window.params, window.in_value, window.in_trial, window.reason })
    os.execute("rm " .. dir .. "/wf.?.*")
    window = assert(moonsand.study(path)).meta.walkforward.windows[1]
    assert.same({ 1, 100, 1.5 }, { window.params.n, window.in_value, window.out_value })
  end)

  it("leaves no journal of a walk that could not begin", function()
    local path = dir .. "/wf.jsonl"
    assert(io.open(dir .. "/wf.1.jsonl", "w")):write("something else\n"):close()
    local study, err = walk { sweep = { journal = path, resume = true } }
    assert.same({ nil, "protocol" }, { study, err.code })
    assert.is_nil(io.open(path))
  end)

  it("takes nothing from its journal that leads elsewhere", function()
    local path = dir .. "/wf.jsonl"
    assert(walk { sweep = { journal = path } })
    for _, line in ipairs {
      '{"type":"window","number":1,"ended":true,"chosen":1,"test":"../../../x","in_sample":7}',
      '{"type":"window","number":2,"ended":true,"chosen":"1","test":7}', '{"type":"window","number":"../x"}',
      '{"type":"window","number":4000000000000000000}', '{"type":"window","number":-1}', '{"type":"window"}',
      '{"type":"window","number":3,"chosen":1.5,"ended":true,"reason":{},"in_value":"7","out_value":[],'
        .. '"params":{"a":{},"b":null}}', '{"type":"window","number":4,"params":[[1],2],"in_value":null}',
    } do
      assert(io.open(path, "a")):write(line, "\n"):close()
    end
    local study = assert(moonsand.study(path))
    local found = study.meta.walkforward.windows
    assert.same({ 4, 10, 1, nil, 5 }, { #found, #study, found[1].params.n, found[2].params, found[2].trials })
    assert.same({ {}, {} }, { found[1].in_sample, found[3].params })
    assert.matches("^window 3, in%-sample: .*wf%.3%.jsonl", study.warnings[1])
    require "moonsand.report.data".build(study, { max_trials = 100 }, 1)
    for _, own in ipairs { '7', '{}', '{"from":1,"to":2}' } do
      assert(io.open(path, "w")):write('{"type":"sweep","version":1,"walkforward":', own, '}\n'):close()
      assert.equal(0, #assert(moonsand.study(path)))
    end
  end)

  it("goes on when the resumed part chooses otherwise than before", function()
    local slow = true
    local function f(p)
      if slow and p.from == 20 and p.n == 3 then
        return program(p), { status = "timeout" }
      end
      return program(p)
    end
    local options = { sweep = { journal = dir .. "/wf.jsonl" } }
    local study = assert(walk(options, f))
    local window = study.meta.walkforward.windows[2]
    assert.same({ 2, 2.5 }, { window.params.n, window.out_value })
    ran, slow, options.sweep.resume = {}, false, "failed"
    study = assert(walk(options, f))
    window = study.meta.walkforward.windows[2]
    assert.same({ { 3, 20, 70 }, { 3, 70, 90 } }, ran)
    assert.same({ 3, 3.5, 1.5 }, { window.params.n, window.out_value, study.meta.walkforward.windows[1].out_value })
    for _, resume in ipairs { "failed", true } do
      ran, options.sweep.resume = {}, resume
      study = assert(walk(options, f))
      assert.same({}, ran)
      assert.equal(3.5, study.meta.walkforward.windows[2].out_value)
    end
  end)

  it("runs a test that failed again with the others that failed", function()
    local slow = true
    local function f(p)
      return program(p), slow and p.from == 50 and { status = "timeout" } or nil
    end
    local options = { sweep = { journal = dir .. "/wf.jsonl" } }
    local window = assert(walk(options, f)).meta.walkforward.windows[1]
    assert.same({ 1, nil }, { window.params.n, window.out_value })
    ran, slow, options.sweep.resume = {}, false, "failed"
    window = assert(walk(options, f)).meta.walkforward.windows[1]
    assert.same({ { 1, 50, 70 } }, ran)
    assert.equal(1.5, window.out_value)
  end)

  it("has a file of a plugin for each part", function()
    assert.same({}, assert(walk { sweep = { plugins = { { "csv", path = dir .. "/wf.csv" }, "retry" } } }).warnings)
    local lines = {}
    for i, name in ipairs { "wf.1.csv", "wf.1.test.csv", "wf.2.csv", "wf.2.test.csv" } do
      local f <close> = assert(io.open(dir .. "/" .. name))
      lines[i] = select(2, f:read "a":gsub("\n", ""))
    end
    assert.same({ 6, 2, 6, 2 }, lines)
  end)

  it("has what plugins warned of in a part, in its journal too", function()
    local path = dir .. "/wf.jsonl"
    local noisy = { api = 1, name = "noisy", setup = function(host)
      host:on("trial", function(trial)
        host:warn("at " .. trial.number)
      end)
    end }
    local study = assert(walk { windows = windows { bars = 100, train = 60, test = 40 },
      sweep = { plugins = { noisy }, journal = path, max_trials = 1 } })
    assert.same({ "window 1, in-sample: plugin 'noisy': at 1", "window 1, out-of-sample: plugin 'noisy': at 1" },
      study.warnings)
    assert.same(study.warnings, assert(moonsand.study(path)).warnings)
  end)

  it("goes on after a window that has no choice, and says so", function()
    local study = assert(walk(nil, function(p)
      return p.from ~= 0 and program(p) or nil
    end))
    local first, second = study.meta.walkforward.windows[1], study.meta.walkforward.windows[2]
    assert.same({ "no trial in-sample has a value" }, { first.reason, first.params, first.out_value })
    assert.equal(3.5, second.out_value)
    study = assert(walk(nil, function(p)
      return p.from ~= 50 and program(p) or nil
    end))
    first = study.meta.walkforward.windows[1]
    assert.matches("the program wrote no result", first.reason)
    assert.same({ 100 }, { first.in_value, first.out_value })
  end)

  it("ends when a sweep is stopped", function()
    local current
    local study = assert(walk({ on_sweep = function(sweep)
      current = sweep
    end, sweep = { on_trial = function(trial)
      if trial.params.from == 0 and trial.number == 2 then
        current:stop()
      end
    end } }))
    assert.same({ "stop", 1, 2 }, { study.meta.stopped, #study.meta.walkforward.windows, #study })
    assert.matches("stopped before the end", study.meta.walkforward.windows[1].reason)
  end)

  it("ends when a plugin's policy ends a sweep, but not at a part's own end", function()
    local study = assert(walk { sweep = { plugins = { { api = 1, name = "mine", setup = function(host)
      host:policy("halt", function(trial)
        return trial.params.from == 0 and trial.number == 3 and "it is good enough" or nil
      end)
    end } } } })
    assert.same({ "it is good enough", 3 }, { study.meta.stopped, #study })
    assert.same({ "stopped before the end: it is good enough" }, { study.meta.walkforward.windows[1].reason })
    assert.same({ "exhausted", 6 }, { (function()
      local s = assert(walk { sweep = { max_trials = 2 } })
      return s.meta.stopped, #s
    end)() })
    assert.equal("exhausted", assert(walk { sweep = { target = 98 } }).meta.stopped)
  end)

  it("raises for what makes no sense, in the caller's line", function()
    for pattern, options in pairs {
      ["a choice is by one objective"] = { sweep = { objective = { { "a" }, { "b" } } } },
      ["the space has a parameter 'from', too"] = { sweep = { space = { from = 1 } } },
      ["leave keep = false away"] = { sweep = { keep = false } },
      ["has no option 'window'"] = { window = 1 },
    } do
      local good, err = pcall(function()
        return (walk(options))
      end)
      assert.is_false(good)
      assert.matches(pattern, err)
    end
    local good, err = pcall(function()
      local study = run(moonsand.executors.noop { f = program }, { windows = list, sweep = { space = { n = {} },
        objective = "v" } })
      return study
    end)
    assert.is_false(good)
    assert.matches("^spec/walkforward_spec.lua:%d+: space.n", err)
  end)
end)
