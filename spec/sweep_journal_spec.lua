-- A sweep's journal: what was appended is there, whatever ends the process, and nothing else is taken for it.
local J = require "spec.support.journals"
local journal = require "moonsand.sweep.journal"
local json = require "moonsand.json"

local path, header, fails, open, read = J.path, J.header, J.fails, J.open, J.read
local sh, some, states, text, trial, write = J.sh, J.some, J.states, J.text, J.trial, J.write
local nan = 0 / 0

setup(J.begin)

teardown(J.finish)

describe("a journal", function()
  it("gives back every trial as it was, types, NaN and all", function()
    local j <close> = open()
    local full = {
      number = 1,
      state = "complete",
      params = {
        i = 5, f = 5.0, tenth = 0.1, third = 1 / 3, big = math.maxinteger, least = math.mininteger, above = 2 ^ 60,
        far = math.huge, minus = -0.0, on = true, off = false, text = 'a "b"\\\n\té\0  ', empty = "",
      },
      key = ("ab"):rep(32),
      value = -1e-300,
      values = { 1.5, nan, -math.huge, 3 },
      metrics = { ["Return [%]"] = 12.5, n = 3, inf = math.huge, bad = nan, Start = "2004-08-19", ["a.b"] = true },
      series = { equity = { 1, 2.5, nan, math.huge, 5 }, ["equity.index"] = { "d1", "d2", 3, 4, "d5" } },
      attempts = 2,
      started = 1700000000.123456,
      ended = 1700000001,
      wall_s = 0.25,
      cpu_s = 0.125,
      queue_s = 0.0,
      memory_peak = 1 << 40,
      cached = true,
    }
    local before = text(full)
    assert(j:append(full))
    assert.equal(before, text(full), "appending changes nothing")
    local all = assert(journal.load(path))
    assert.equal(before, text(all.trials[1]))
    assert.equal("-0.0", tostring(all.trials[1].params.minus))
    assert.equal("Sharpe Ratio", all.header.objective)
    assert.same({ "fast", "slow" }, { all.header.params[1].name, all.header.params[2].name })
    for line in io.lines(path) do
      assert.truthy(utf8.len(line) and json.decode(line), "each line is JSON to anybody")
    end
  end)

  it("has each trial as its last record says, and its reports", function()
    local j <close> = open()
    some(j)
    local all = assert(journal.load(path))
    assert.equal("1 complete, 2 failed, 3 running", states(all.trials))
    assert.equal("{1={metrics={loss=0.5f} step=1i} 2={metrics={loss=nanf} step=2.5f}}", text(all.trials[1].reports))
    assert.equal("timeout", all.trials[2].reason)
    assert.equal(3, all.last)
    assert(j:append(trial(1, "running", { attempts = 2 })))
    assert(j:append { type = "report", number = 1, attempts = 1, step = 9, metrics = {} })
    assert(j:append { type = "report", number = 1, attempts = 2, step = 1, metrics = { loss = 7 } })
    assert(j:append { type = "report", number = 77, attempts = 1, step = 1, metrics = {} })
    all = assert(journal.load(path))
    assert.equal("1 running, 2 failed, 3 running", states(all.trials))
    assert.equal("{1={metrics={loss=7i} step=1i}}", text(all.trials[1].reports), "those of the attempt that counts")
    assert.is_nil(assert(journal.load(path, { reports = false })).trials[1].reports)
  end)

  it("keeps what else happened", function()
    local j <close> = open()
    assert(j:append { type = "end", reason = "max_trials", rate = nan, list = json.array {} })
    local all = assert(journal.load(path))
    assert.equal("{1={list={} rate=nans reason=max_trialss type=ends}}", text(all.others))
  end)

  it("is not begun where something is, and begun where nothing is", function()
    local j = open()
    j:close()
    fails("conflict", "exists and holds", journal.open(path, { header = header }))
    os.remove(path)
    j = open { resume = true }
    assert.is_false(j.resumed)
    assert.same({}, j.trials)
    j:close()
    write ""
    j = assert(journal.open(path, { header = header }))
    j:close()
    assert.equal("sma.py", assert(journal.load(path)).header.script)
    write ""
    fails("protocol", "no sweep has begun", journal.load(path))
    os.remove(path)
    fails("not_found", "sweep.jsonl", journal.load(path))
  end)

  it("takes up what is there", function()
    local j = open()
    some(j)
    assert.is_true(j:close())
    j = open { resume = true }
    assert.is_true(j.resumed)
    assert.equal("1 complete, 2 failed, 3 running", states(j.trials))
    assert.equal(3, j.last)
    assert(j:append(trial(4, "running")))
    j:close()
    j:close()
    local all = assert(journal.load(path))
    assert.equal("1 complete, 2 failed, 3 running, 4 running", states(all.trials))
    assert.equal("resume", all.others[1].type)
  end)

  it("does what it was told about syncing, or raises", function()
    for _, fsync in ipairs { "always", "never", "500ms", "1s", 0.25 } do
      local j = open { fsync = fsync }
      assert.is_true(j:append(trial(1, "running")))
      assert.is_true(j:close())
    end
    for _, options in ipairs {
      { header = header, fsync = "sometimes" }, { header = header, fsync = -1 }, { header = header, resume = "all" },
      { header = header, colour = "red" }, {},
    } do
      assert.has_error(function()
        journal.open(path, options)
      end)
    end
    local j <close> = open()
    for _, record in ipairs {
      {}, { number = 1, state = "running" }, { number = 1.5, state = "running", params = {} },
      { number = 1, state = "gone", params = {} }, { type = "sweep" }, trial(1, "failed", { message = 5 }),
      trial(1, "failed", { wall_s = "long" }), trial(1, "running", { params = { x = "\xff" } }),
      { type = "report", number = 1, step = "x", metrics = {} },
    } do
      local before = read()
      assert.has_error(function()
        j:append(record)
      end)
      assert.equal(before, read())
    end
  end)
end)

describe("a second writer", function()
  it("is refused with the first one's process id, a reader is not", function()
    local j <close> = open()
    some(j)
    fails("conflict", "written by .*process", journal.open(path, { header = header, resume = true }))
    local out = sh(([[lua5.4 -e '
      local _, err = require("moonsand.sweep.journal").open(%q, { header = {}, resume = true })
      print(err.code, err.message)']]):format(path))
    assert.truthy(out:find "^conflict\t", out)
    local own = read("/proc/self/stat"):match "^%d+"
    if read("/proc/locks"):find(" " .. own .. " ", 1, true) then
      assert.truthy(out:find("process " .. own, 1, true), out)
    end
    assert.equal("1 complete, 2 failed, 3 running", states(assert(journal.load(path)).trials))
    assert(j:append(trial(4, "running")))
  end)
end)

describe("another sweep", function()
  local function refused(changes)
    local other = {}
    for k, v in pairs(header) do
      other[k] = v
    end
    for k, v in pairs(changes) do
      other[k] = v
    end
    local before = read()
    local message = fails("conflict", "journal of another sweep", journal.open(path, { header = other, resume = true }))
    assert.equal(before, read())
    return message
  end

  it("is told apart, and what differs is said", function()
    local j = open()
    some(j)
    j:close()
    local params = { { name = "fast", kind = "range", values = { 5, 10 } }, { name = "more", kind = "list" } }
    local message = refused { signature = "s", params = params, objective = "SQN" }
    assert.truthy(message:find("parameter fast is ", 1, true), message)
    assert.truthy(message:find("parameter more is nothing there", 1, true), message)
    assert.truthy(message:find('objective is "Sharpe Ratio" there and "SQN" here', 1, true), message)
    message = refused { signature = "s" }
    assert.truthy(message:find('signature is "fast=5..30:5" there and "s" here', 1, true), message)
    message = refused { signature = "\27[31m" .. ("s"):rep(100000) }
    assert.is_true(#message < 500 and not message:find "%c")
    -- What is the same by its signature may have begun at another time.
    j = open { header = { signature = header.signature, started = 5 }, resume = true }
    assert.equal(1700000000.5, j.header.started)
    j:close()
  end)

  it("and what is no journal is left alone", function()
    for _, bytes in ipairs {
      "Date,Open\n2004,1\n", "no line end", "\x7fELF\0\0\n", "{}\n", '{"type":"trial"}\n', '{"type":"sweep"}\n', "[]\n",
      '{"type":"sweep","version":"1"}\n', "5\n", "false\n", "\n",
    } do
      write(bytes)
      fails("protocol", "sweep.jsonl", journal.open(path, { header = header, resume = true }))
      assert.equal(bytes, read())
      local all, err = journal.load(path)
      fails("protocol", "sweep.jsonl", all, err)
    end
    write '{"type":"sweep","version":2}\n'
    fails("unsupported", "newer moonsand", journal.load(path))
    fails("unsupported", "newer moonsand", journal.open(path, { header = header, resume = true }))
  end)
end)

describe("reading as a stream", function()
  it("gives each finished trial once, with its reports", function()
    local j <close> = open()
    some(j)
    local seen = {}
    local all = assert(journal.load(path, { keep = false, on_trial = function(t)
      seen[#seen + 1] = t
    end }))
    assert.equal("1 complete, 2 failed", states(seen))
    assert.equal(2, #seen[1].reports)
    assert.equal("2 failed, 3 running", states({ all.trials[1], all.trials[2] }))
  end)

  it("keeps nothing of what is over", function()
    local j = open()
    for n = 1, 2000 do
      assert(j:append(trial(n, "running")))
      assert(j:append(trial(n, n % 100 == 0 and "failed" or "complete", { metrics = { x = n } })))
    end
    j:close()
    local count = 0
    local all = assert(journal.load(path, {
      keep = false,
      on_trial = function(t)
        count = count + 1
        assert.equal(t.number, t.metrics.x)
      end,
    }))
    assert.equal(2000, count)
    assert.equal(20, #all.trials)
    assert.equal(2000, all.last)
  end)
end)
