--- A sweep goes on where it was: after kill -9, a full disk, Ctrl-C, with what failed; and not with another sweep's
--- journal.
local errors = require "moonsand.errors"
local report_facts = require "moonsand.report.facts"
local journals = require "moonsand.sweep.journal"
local moonsand = require "moonsand"

describe("resuming a sweep", function()
  local dir, path, ran

  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    os.execute("mkdir -p " .. dir)
    path, ran = dir .. "/journal.jsonl", {}
  end)

  after_each(function()
    os.execute("rm -rf " .. dir)
  end)

  local function default(p)
    return { v = p.n }
  end

  local function run(options, f, jobs)
    local o = { space = { n = moonsand.range(1, 10) }, objective = "v", journal = path, fsync = "never" }
    for k, v in pairs(options or {}) do
      o[k] = v
    end
    return moonsand.sweep(o):run(moonsand.executors.noop { jobs = jobs, f = function(p, ...)
      ran[#ran + 1] = p.n
      return (f or default)(p, ...)
    end })
  end

  local function read(name)
    local f <close> = assert(io.open(name, "rb"))
    return f:read "a"
  end

  local function write(name, text)
    local f <close> = assert(io.open(name, "wb"))
    f:write(text)
  end

  --- Every n once, each complete with its own value.
  local function check_all(study, count)
    assert.equal(count, #study)
    local seen = {}
    for number, trial in ipairs(study:trials()) do
      assert.equal(number, trial.number)
      assert.equal("complete", trial.state)
      assert.equal(trial.params.n, trial.value)
      assert.is_nil(seen[trial.params.n])
      seen[trial.params.n] = true
    end
  end

  it("runs nothing again that is complete", function()
    assert(run { max_trials = 4 })
    assert.same({ 1, 2, 3, 4 }, ran)
    assert.equal("max_trials", assert(moonsand.study(path)).meta.stopped)
    local seen = {}
    local study = assert(run { resume = true, on_trial = function(trial)
      seen[#seen + 1] = trial.number
    end })
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, ran)
    assert.same({ 5, 6, 7, 8, 9, 10 }, seen)
    check_all(study, 10)
    assert.equal("exhausted", assert(moonsand.study(path)).meta.stopped)
    study = assert(run { resume = true })
    assert.equal(10, #ran)
    check_all(study, 10)
  end)

  it("counts the time of its runs, not that between them", function()
    assert(run { max_trials = 2 })
    local said = tonumber(read(path):match '"type":"end".-"wall_s":([%d.e-]+)')
    assert.equal(said, assert(moonsand.study(path)).meta.wall_s)
    assert.is_true(said > 0 and said < 60)
    -- One run that ended after 100 s, an hour later one that was killed after its second trial, one that ran for 5 s.
    local lines = { '{"type":"sweep","version":1,"objective":"v","signature":"x","started":1000000}' }
    local function add(line, ...)
      lines[#lines + 1] = line:format(...)
      write(path, table.concat(lines, "\n") .. "\n")
      return assert(moonsand.study(path)).meta.wall_s
    end
    local trial = '{"type":"trial","number":%d,"state":"complete","value":1,"started":%.1f,"wall_s":%.1f,"params":{}}'
    assert.equal(13, add(trial, 1, 1000010, 3)) -- it goes on
    assert.equal(100, add '{"type":"end","at":1000110,"stopped":"stop","wall_s":100}')
    assert.equal(100, add '{"type":"resume","at":1003600}')
    assert.equal(107.5, add(trial, 2, 1003605, 2.5))
    assert.equal(112.5, add(trial, 3, 1003612, 0.5))
    assert.equal(112.5, add '{"type":"resume","at":1090000}')
    assert.equal(117.5, add '{"type":"end","at":1090005,"stopped":"exhausted","wall_s":5}')
    local study = assert(moonsand.study(path))
    local times = report_facts.times(study.meta, study:trials(), { complete = 3, pruned = 0, failed = 0 })
    assert.same({ started = 1000000, ended = 1090005, wall_s = 117.5, rate = 3 / 117.5 }, times)
    -- Journals of before did not say how long a run took.
    write(path, (read(path):gsub(',"wall_s":100}', "}")))
    assert.equal(127.5, assert(moonsand.study(path)).meta.wall_s)
  end)

  it("does so with trials that are not kept, too", function()
    local function f(p)
      return p.n ~= 2 and { v = p.n } or nil
    end
    assert(run({ max_trials = 4 }, f))
    ran = {}
    local numbers = {}
    local study = assert(run({ resume = true, keep = false, on_trial = function(trial)
      numbers[#numbers + 1] = trial.number
    end }, f))
    assert.same({ 5, 6, 7, 8, 9, 10 }, ran)
    assert.same(ran, numbers)
    assert.same({ 10, 9, 1 }, { study.meta.counts.done, study.meta.counts.complete, study.meta.counts.failed })
    assert.equal(10, study:best().number)
    ran = {}
    assert(run({ resume = "failed", keep = false }))
    assert.same({ 2 }, ran)
  end)

  it("ends at once when the target had been reached", function()
    for _, keep in ipairs { true, false } do
      os.remove(path)
      assert(run { target = 4, keep = keep })
      ran = {}
      for _, resume in ipairs { true, "failed" } do
        local study = assert(run { target = 4, resume = resume, keep = keep })
        assert.same({ "target", 4, 4 }, { study.meta.stopped, study.meta.counts.done, study:best().value })
        assert.same({}, ran)
      end
      assert(run { target = 5, resume = true, keep = keep }) -- another one
      assert.same({ 5 }, ran)
    end
  end)

  it("says how many ended in its own time", function()
    local facts = require "moonsand.report.facts"
    assert(run { max_trials = 6 })
    local study = assert(run { resume = true })
    assert.same({ 10, 4 }, { study.meta.counts.done, study.meta.counts.here })
    local times = report_facts.times(study.meta, study:trials(), facts.counts(study:trials()))
    assert.equal(4 / study.meta.wall_s, times.rate)
    study.meta.counts = nil -- of a study without, as read from a journal
    assert.equal(10 / study.meta.wall_s, facts.times(study.meta, study:trials(), facts.counts(study:trials())).rate)
  end)

  it("is a beginning where there is no journal yet", function()
    for _, resume in ipairs { true, "failed" } do
      os.remove(path)
      check_all(assert(run { resume = resume }), 10)
    end
  end)

  it("asks a seeded sampler for the same points again, and skips them", function()
    local function some(n, resume)
      return assert(run { sampler = "random", seed = 7, max_trials = n, resume = resume,
        space = { n = moonsand.range(1, 1000) } })
    end
    some(20)
    local study = some(60, true)
    assert.equal(60, #ran)
    check_all(study, 60)
    local resumed = table.concat(study:column "n", " ")
    os.remove(path)
    assert.equal(table.concat(some(60):column "n", " "), resumed)
  end)

  it("tells the sampler and the pruner what there was", function()
    local told = {}
    local function sampler()
      local i = 0
      return { ask = function()
        i = i + 1
        return i <= 10 and { n = i } or nil
      end, tell = function(_, trial)
        told[#told + 1] = trial.number .. trial.state
      end }
    end
    assert(run { max_trials = 2, sampler = sampler() })
    told = {}
    assert(run { max_trials = 3, resume = true, sampler = sampler() })
    assert.same({ "1complete", "2complete", "3complete" }, told)
  end)

  it("counts what there was to max_trials and best, but not to the failures of now", function()
    local function failing(p)
      return p.n > 3 and { v = -p.n } or p.n == 1 and { v = 5 } or nil
    end
    assert(run({ max_trials = 3 }, failing))
    local study = assert(run({ resume = true, max_trials = 5, halt = { failures = 1 } }, failing))
    assert.same({ 5, "max_trials", 1 }, { #study, study.meta.stopped, study:best().number })
  end)

  it("works after kill -9", function()
    local count, runs = 150, dir .. "/runs"
    local command = ("lua5.4 spec/support/sweeper.lua %s %d %s"):format(path, count, runs)
    write(runs, "")
    for i = 1, 4 do
      -- Killed somewhere in the middle: when so many runs have begun.
      local at = 30 * i
      local p = assert(io.popen(([[
        exec 2>/dev/null
        %s & pid=$!
        while [ "$(wc -l <%s)" -lt %d ] && kill -0 $pid; do sleep 0.005; done
        kill -9 $pid; wait $pid; echo $?]]):format(command, runs, at)))
      assert.equal("137", p:read "a":match "(%d+)\n$")
      p:close()
    end
    local old = assert(journals.load(path))
    local complete = {}
    for _, trial in ipairs(old.trials) do
      if trial.state == "complete" then
        complete[trial.params.n] = true
      end
    end
    assert.is_true(#old.trials >= 100 and #old.trials < count)
    local before = {}
    for n in read(runs):gmatch "%d+" do
      before[tonumber(n)] = (before[tonumber(n)] or 0) + 1
    end
    local p = assert(io.popen(command))
    assert.equal(("done\t%d\n"):format(count), p:read "a")
    p:close()
    local after = {}
    for n in read(runs):gmatch "%d+" do
      after[tonumber(n)] = (after[tonumber(n)] or 0) + 1
    end
    for n = 1, count do
      -- What was complete was not run again; all else was, once.
      assert.equal((before[n] or 0) + (complete[n] and 0 or 1), after[n])
    end
    check_all(assert(moonsand.study(path)), count)
  end)

  it("works at whatever byte the journal ends", function()
    assert(run({ max_trials = 4 }, function(p, report)
      report(1, { v = 1 })
      return { v = p.n }
    end))
    local whole = read(path)
    local lines = select(2, whole:gsub("\n", ""))
    assert.equal(1 + 4 * 3 + 1, lines)
    local first = whole:find("\n", 1, true)
    for cut = 0, #whole, 3 do
      write(path, whole:sub(1, cut))
      ran = {}
      local study = assert(run { resume = true })
      check_all(study, 10)
      local complete = 0
      for _ in whole:sub(1, cut):gmatch '"state":"complete"[^\n]*\n' do
        complete = complete + 1
      end
      assert.equal(10 - complete, #ran, ("cut at %d of %d, the first line's end is at %d"):format(cut, #whole, first))
      check_all(assert(moonsand.study(path)), 10)
    end
  end)

  it("runs again what was cancelled, or could not be run; and only what failed, when that is asked for", function()
    local broken = true
    local function f(p)
      if p.n == 2 and broken then
        return nil, { status = "exit", stderr = "no" }
      elseif p.n == 4 and broken then
        return nil, errors.new("not_found", "the image is gone")
      end
      return { v = p.n }
    end
    local study, err, so_far = run({ retry = 0 }, f)
    assert.is_nil(study)
    assert.equal("not_found", err.code)
    assert.same({ error = 1, engine = 1 }, so_far.failures)
    ran, broken = {}, false
    study = assert(run({ resume = "failed" }, f))
    table.sort(ran)
    assert.same({ 2, 4 }, ran)
    check_all(study, 4)
    assert.equal(2, study[2].attempts)
    ran = {}
    check_all(assert(run({ resume = true }, f)), 10)
    assert.same({ 5, 6, 7, 8, 9, 10 }, ran)

    os.remove(path)
    broken, ran = true, {}
    run({ retry = 0 }, f)
    broken, ran = false, {}
    study = assert(run({ resume = true }, f))
    assert.same({ 4, 5, 6, 7, 8, 9, 10 }, ran) -- 2 failed by itself
    assert.same({ "failed", "error", "no" }, { study[2].state, study[2].reason, study[2].message })
  end)

  it("runs what failed again, until that has come to its end", function()
    for _, keep in ipairs { true, false } do
      os.remove(path)
      local broken = true
      local function f(p)
        if broken and p.n % 2 == 0 then
          return nil, { status = "exit", stderr = "no" }
        end
        return { v = p.n }
      end
      assert(run({ max_trials = 6, keep = keep }, f))
      assert.has_error(function() -- dies while 7 runs, which has never failed
        run({ resume = true, keep = keep }, function()
          error("interrupted!", 0)
        end)
      end)
      broken = false
      for _ = 1, 2 do -- dies while 2 runs: also when it does so again
        ran = {}
        assert.has_error(function()
          run({ resume = "failed", keep = keep }, function()
            error("interrupted!", 0)
          end)
        end)
        assert.same({ 2 }, ran)
      end
      ran = {}
      local total
      assert(run({ resume = "failed", keep = keep, plugins = { { api = 1, name = "total", setup = function(host)
        host:on("run", function(event)
          total = total or event.total
        end)
      end } } }, f))
      assert.same({ 2, 4, 6 }, ran)
      assert.equal(6, total)
      ran = {}
      assert(run({ resume = "failed", keep = keep }, f))
      assert.same({}, ran)
      assert(run({ resume = true, keep = keep }, f))
      assert.same({ 7, 8, 9, 10 }, ran)
      check_all(assert(moonsand.study(path)), 10)
    end
  end)

  it("refuses another sweep's journal, and one that is there without being resumed", function()
    assert(run())
    local whole = read(path)
    local function refused(pattern, options)
      local study, err = run(options)
      assert.is_nil(study)
      assert.equal("conflict", err.code)
      assert.matches(pattern, err.message)
      assert.equal(whole, read(path))
    end
    refused(path, {})
    refused("another sweep.*parameter n", { resume = true, space = { n = moonsand.range(1, 11) } })
    refused("another sweep.*parameter m", { resume = true, space = { n = moonsand.range(1, 10), m = 1 } })
    refused("another sweep.*objective", { resume = true, objective = "w" })
    refused("another sweep.*direction", { resume = true, direction = "minimize" })
    refused("another sweep", { resume = true, code = "print(1)" })
    assert.equal(10, #ran)
  end)

  it("refuses a journal of other data, or of other words for the program", function()
    local function try(data_hash, args)
      local executor = moonsand.executors.noop { f = function(p)
        ran[#ran + 1] = p.n
        return default(p)
      end }
      executor.data_hash = data_hash
      return moonsand.sweep { space = { n = moonsand.range(1, 10) }, objective = "v", journal = path, resume = true,
        max_trials = #ran + 1, args = args }:run(executor)
    end
    local function refused(pattern, data_hash, args)
      local whole = read(path)
      local study, err = try(data_hash, args)
      assert.is_nil(study)
      assert.equal("conflict", err.code)
      assert.matches(pattern, err.message)
      assert.equal(whole, read(path))
    end
    local words = { "--fee", 0.1 }
    assert(try("aa", words))
    refused('another sweep: the data %(by the hash of its files%) is "aa" there and "bb" here; give another path, or',
      "bb", words)
    refused("the data .* is \"aa\" there and nothing here", nil, words)
    refused('another sweep: the program\'s args is %["%-%-fee",0.1%] there and %["%-%-fee",0.2%] here;', "aa",
      { "--fee", 0.2 })
    refused("the program's args is .* there and nothing here", "aa")
    refused("the program's args is .* there and \"%(function%)\" here", "aa", function() end)
    assert(try("aa", { "--fee", 0.1 }))
    assert.same({ 1, 2 }, ran)
    -- What a function makes cannot be compared: only that it is one.
    os.remove(path)
    ran = {}
    for i = 1, 2 do
      assert(try("aa", function()
        return { i }
      end))
    end
    assert.same({ 1, 2 }, ran)
  end)

  it("refuses a journal that a running sweep writes to", function()
    local inner_err
    local study = assert(run({}, function(p)
      if p.n == 5 then
        local _, err = run { resume = true }
        inner_err = err
      end
      return { v = p.n }
    end))
    assert.equal("conflict", inner_err.code)
    check_all(study, 10)
    check_all(assert(moonsand.study(path)), 10)
  end)

  it("refuses a journal with a damaged middle, names the line, and leaves it as it is", function()
    assert(run())
    local whole = read(path)
    local n = 0
    local damaged = whole:gsub("[^\n]*\n", function(line)
      n = n + 1
      return n == 5 and line:sub(1, 20) .. "\n" or nil
    end)
    write(path, damaged)
    local study, err = run { resume = true }
    assert.is_nil(study)
    assert.equal("protocol", err.code)
    assert.matches("line 5", err.message)
    assert.equal(damaged, read(path))
    study, err = moonsand.study(path)
    assert.is_nil(study)
    assert.equal("protocol", err.code)
  end)

  it("bears a trial without a key", function()
    local sampler = { name = "latin", points = 10 } -- one that may ask for the same twice
    assert(run { sampler = sampler, max_trials = 4 })
    write(path, (read(path):gsub('"key":"%x+",', "")))
    for _, keep in ipairs { true, false } do
      ran = {}
      local study = assert(run { sampler = sampler, resume = true, keep = keep })
      assert.equal(10, study.meta.counts.complete)
      assert.equal(keep and 6 or 0, #ran)
    end
  end)

  it("bears numbers as large as can be, and refuses larger ones", function()
    local largest, most = 2 ^ 40 // 1 | 0, 2 ^ 53 // 1 | 0
    assert(run { max_trials = 3 })
    local text = read(path)
    local function edited(from, to)
      local out, n = text:gsub(from, to)
      assert.is_true(n > 0)
      write(path, out)
    end
    edited('"number":3', '"number":' .. largest)
    local study = assert(run { resume = true }) -- there is no number for a further one
    assert.same({ 3, 3 }, { #study, study.meta.counts.complete })
    assert.equal(largest, study[3].number)
    edited('("number":3,"state":)"complete","attempts":1', '%1"running","attempts":' .. most)
    study = assert(run { resume = true })
    assert.same({ 10, most }, { study.meta.counts.complete, study[3].attempts })
    for _, case in ipairs {
      { '"number":3,', '"number":4000000000000000000,', "number" },
      { '"number":3,', ('"number":%d,'):format(largest + 1), "number" },
      { '("number":3,"state":"running","attempts":)1', "%1" .. math.maxinteger, "attempts" },
      { '("number":3,"state":"running","attempts":)1', "%1" .. most + 1, "attempts" },
    } do
      edited(case[1], case[2])
      local none, err = run { resume = true }
      assert.is_nil(none)
      assert.equal("protocol", err.code)
      assert.matches("line %d.* has no " .. case[3], err.message)
    end
  end)

  it("a full disk ends the sweep with an error, and what was complete is not lost", function()
    local runs = dir .. "/runs"
    -- What a limit on a file's size does is what a full disk does: a write that comes short, and an error.
    local command = ("trap '' XFSZ; ulimit -f %d; lua5.4 spec/support/sweeper.lua %s 150 %s"):format(8, path, runs)
    local p = assert(io.popen(command))
    local said = p:read "a"
    assert.is_nil((p:close()))
    assert.matches("^io\t", said)
    assert.matches("the journal cannot be written, so the sweep ends", said)
    local old = assert(journals.load(path))
    local complete = 0
    for _, trial in ipairs(old.trials) do
      complete = complete + (trial.state == "complete" and 1 or 0)
    end
    assert.is_true(complete >= 5)
    os.remove(runs)
    p = assert(io.popen(("lua5.4 spec/support/sweeper.lua %s 150 %s"):format(path, runs)))
    assert.equal("done\t150\n", p:read "a")
    p:close()
    assert.equal(150 - complete, select(2, read(runs):gsub("\n", "")))
  end)

  it("takes results from other sweeps' journals when asked", function()
    local function f(p)
      if p.n == 2 then
        return nil, { status = "exit" }
      end
      return { v = p.n, w = -p.n, list = { 1, 2 } }
    end
    assert(run({ max_trials = 5 }, f))
    ran = {}
    local other = dir .. "/other.jsonl"
    local study = assert(run({ journal = other, cache = path, objective = "w", direction = "minimize" }, f))
    assert.same({ 2, 6, 7, 8, 9, 10 }, ran) -- what failed there is run
    assert.same({ -3, true, { 1, 2 } }, { study[3].value, study[3].cached, study[3].series.list })
    assert.is_nil(study[7].cached)
    local none, err = run { journal = dir .. "/third.jsonl", cache = { dir .. "/nothing.jsonl" } }
    assert.is_nil(none)
    assert.equal("not_found", err.code)
    assert.matches("nothing.jsonl", err.message)
  end)

  it("takes none of a program with other files or variables", function()
    local n = 0
    local function ran_with(what)
      n, ran = n + 1, {}
      what.code, what.journal = "1", ("%s/%d.jsonl"):format(dir, n)
      what.cache = n > 1 and { dir .. "/1.jsonl" } or nil
      assert(run(what))
      return #ran
    end
    assert.equal(10, ran_with { files = { FOO = { data = "1" } } })
    assert.equal(0, ran_with { files = { FOO = { data = "1" } } })
    assert.equal(10, ran_with { env = { FOO = "1" } })
    assert.equal(10, ran_with { files = { FOO = { data = "1", mode = 320 } } })
    assert.equal(10, ran_with { files = { FOO = { data = "2" } } })
  end)

  it("writes what cannot be written in JSON, and gets it back", function()
    assert(run({ max_trials = 1, space = { n = { 1 }, rate = 0.1 + 0.2, whole = 5.0, big = (1 << 53) + 1 } }, function()
      return { v = 1, a = 0 / 0, b = math.huge, c = -math.huge, d = 1e300 }
    end))
    local trial = assert(moonsand.study(path))[1]
    assert.is_true(trial.metrics.a ~= trial.metrics.a)
    assert.same({ math.huge, -math.huge, 1e300 }, { trial.metrics.b, trial.metrics.c, trial.metrics.d })
    assert.same({ 0.1 + 0.2, "float", (1 << 53) + 1 }, { trial.params.rate, math.type(trial.params.whole),
      trial.params.big })
  end)
end)
