-- A sweep's journal: what was appended is there, whatever ends the process, and nothing else is taken for it.
local core = require "moonsand.core"
local journal = require "moonsand.sweep.journal"
local json = require "moonsand.json"

local dir = io.popen("mktemp -d"):read "l"
local path = dir .. "/sweep.jsonl"
local nan = 0 / 0

local function sh(command)
  local p = assert(io.popen(command .. " 2>&1"))
  local out = p:read "a"
  p:close()
  return out
end

local function write(bytes, to)
  local f = assert(io.open(to or path, "wb"))
  f:write(bytes)
  f:close()
end

local function read(from)
  local f = assert(io.open(from or path, "rb"))
  local bytes = f:read "a"
  f:close()
  return bytes
end

local header = {
  signature = "fast=5..30:5",
  script = "sma.py",
  objective = "Sharpe Ratio",
  direction = "maximize",
  started = 1700000000.5,
  params = { { name = "fast", kind = "range", values = { 5, 10, 15 } }, { name = "slow", kind = "list", low = 10 } },
}

--- Begins anew, or goes on.
local function open(options)
  options = options or {}
  options.header = options.header or header
  options.fsync = options.fsync or "never"
  if not options.resume then
    os.remove(path)
  end
  return assert(journal.open(path, options))
end

local function trial(number, state, more)
  local t = { number = number, state = state, params = { fast = number, slow = number / 4 }, attempts = 1 }
  for k, v in pairs(more or {}) do
    t[k] = v
  end
  return t
end

--- Three trials with all that a trial can have.
local function some(j)
  assert(j:append(trial(1, "running", { started = 1.5 })))
  assert(j:append { type = "report", number = 1, attempts = 1, step = 1, metrics = { loss = 0.5 } })
  assert(j:append(trial(2, "running")))
  assert(j:append { type = "report", number = 1, attempts = 1, step = 2.5, metrics = { loss = nan } })
  local metrics = { ["Sharpe Ratio"] = 0.1, SQN = nan, ["Größe"] = 2 }
  assert(j:append(trial(1, "complete", { value = 0.1, metrics = metrics })))
  assert(j:append(trial(2, "failed", { reason = "timeout", message = "too slow" })))
  assert(j:append(trial(3, "running")))
end

local function states(list)
  local out = {}
  for i, t in ipairs(list) do
    out[i] = t.number .. " " .. t.state
  end
  return table.concat(out, ", ")
end

--- Of a table that may hold NaN; types of numbers count.
local function text(v)
  if type(v) ~= "table" then
    return (v ~= v and "nan" or tostring(v)) .. (math.type(v) or type(v)):sub(1, 1)
  end
  local keys = {}
  for k in pairs(v) do
    keys[#keys + 1] = k
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for i, k in ipairs(keys) do
    keys[i] = tostring(k) .. "=" .. text(v[k])
  end
  return "{" .. table.concat(keys, " ") .. "}"
end

local function fails(code, pattern, value, err)
  assert.is_nil(value)
  assert.equal(code, err.code, err.message)
  assert.truthy(err.message:find(pattern), err.message)
  return err.message
end

teardown(function()
  os.execute("rm -rf " .. dir)
end)

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

describe("a crash", function()
  it("at any byte loses nothing that was whole", function()
    local j = open()
    some(j)
    j:close()
    local bytes = read()
    local ends = { [0] = 0 } -- byte -> lines that are whole
    local n = 0
    for i = 1, #bytes do
      n = n + (bytes:sub(i, i) == "\n" and 1 or 0)
      ends[i] = n
    end
    -- What stands in the file after so many lines.
    local want = {
      "", "1 running", "1 running", "1 running, 2 running", "1 running, 2 running", "1 complete, 2 running",
      "1 complete, 2 failed", "1 complete, 2 failed, 3 running",
    }
    for cut = 0, #bytes do
      write(bytes:sub(1, cut))
      local whole = ends[cut]
      local all, err = journal.load(path)
      if whole == 0 then
        fails("protocol", "no sweep has begun", all, err)
      else
        assert.equal(want[whole], states(all.trials), cut)
        local line_end = bytes:sub(1, cut):find "[^\n]*$" - 1
        assert.equal(cut - line_end, all.torn)
      end
      local again = open { resume = true }
      assert.equal(want[whole] or "", states(again.trials), cut)
      assert.equal(whole > 0, again.resumed)
      assert(again:append(trial(9, "complete", { value = cut })))
      again:close()
      all = assert(journal.load(path))
      local expected = (want[whole] or "") .. ((want[whole] or "") ~= "" and ", " or "") .. "9 complete"
      assert.equal(expected, states(all.trials), cut)
      assert.equal(0, all.torn)
      if whole >= 6 then
        assert.equal(text(all.trials[1].metrics), "{Größe=2i SQN=nanf Sharpe Ratio=0.1f}")
      end
    end
  end)

  it("of a writer that is killed leaves a journal", function()
    os.remove(path)
    local script = ([[
      local journal = require "moonsand.sweep.journal"
      local j = assert(journal.open(%q, { header = { signature = "s" }, resume = true, fsync = "never" }))
      local n = j.last
      while true do
        n = n + 1
        assert(j:append { number = n, state = "running", params = { x = n } })
        assert(j:append { number = n, state = "complete", params = { x = n }, value = n / 3 })
      end
    ]]):format(path)
    write(script, dir .. "/writer.lua")
    -- Killed when it has written for a while, however slow the machine is.
    local kill = ([[
      exec 2>/dev/null
      size() { stat -c %%s "$1" 2>/dev/null || echo 0; }
      old=$(size %s)
      lua5.4 %s/writer.lua & pid=$!
      while kill -0 $pid && [ $(size %s) -lt $((old + 20000)) ]; do sleep 0.01; done
      kill -9 $pid
      wait $pid
    ]]):format(path, dir, path)
    local last = 0
    for _ = 1, 4 do
      sh(kill)
      local all = assert(journal.load(path))
      assert.is_true(all.last > last)
      last = all.last
      for i, t in ipairs(all.trials) do
        assert.equal(i, t.number)
        assert.is_true(i == t.params.x and (t.state == "running" or t.value == i / 3))
      end
      assert.is_true(#journal.again(all.trials) <= 4)
    end
  end)

  it("says which trials run again", function()
    local list = {
      trial(1, "complete"), trial(2, "running"), trial(3, "failed", { reason = "error" }), trial(4, "waiting"),
      trial(5, "pruned"), trial(6, "failed", { reason = "lost" }), trial(7, "failed", { reason = "cancelled" }),
      trial(8, "failed", { reason = "timeout" }), trial(9, "failed", { reason = "engine" }),
    }
    assert.equal("2 running, 4 waiting, 6 failed, 7 failed, 9 failed", states(journal.again(list)))
    assert.equal("2 running, 3 failed, 4 waiting, 6 failed, 7 failed, 8 failed, 9 failed",
      states(journal.again(list, "failed")))
    local j = open()
    some(j)
    j:close()
    j = open { resume = true, keep = false }
    assert.equal("3 running", states(j:again(true)))
    assert.equal("2 failed, 3 running", states(j:again "failed"))
    j:close()
  end)
end)

describe("a full disk", function()
  it("loses one record and no other, and appending works again when there is room", function()
    os.remove(path)
    write(([[
      local journal = require "moonsand.sweep.journal"
      local j = assert(journal.open(%q, { header = { signature = "s" } }))
      local function fill()
        for n = 1, 1000 do
          local ok, err = j:append { number = n, state = "failed", params = { x = n }, message = ("m"):rep(300) }
          if not ok then
            print(err.code, n, err.message)
            return
          end
        end
      end
      fill()
      fill()
      assert(os.execute "prlimit --fsize=unlimited --pid $PPID")
      assert(j:append { number = 5000, state = "complete", params = {} })
      assert(j:close())
      print "closed"
    ]]):format(path), dir .. "/full.lua")
    -- A limit on the size of files is met as a full disk is: in the middle of a record.
    local out = sh(("sh -c \"trap '' XFSZ; ulimit -S -f 20; exec lua5.4 %s/full.lua\""):format(dir))
    local first, again = out:match "^io\t(%d+)\t[^\n]*the record was not kept[^\n]*\nio\t(%d+)\t[^\n]*\nclosed\n$"
    assert.truthy(first, out)
    assert.equal("1", again)
    assert.is_true(tonumber(first) > 10)
    local all = assert(journal.load(path))
    assert.equal(tonumber(first), #all.trials)
    assert.equal(5000, all.trials[#all.trials].number)
    assert.equal(0, all.torn)
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

describe("damage", function()
  local function damaged(bytes, line, byte, what)
    write(bytes)
    local place = ("line %d %%(byte %d%%) %s"):format(line, byte, what)
    local message = fails("protocol", place, journal.load(path))
    fails("protocol", place, journal.open(path, { header = header, resume = true }))
    assert.equal(bytes, read(), "nothing is changed")
    fails("protocol", place, journal.load(path, { keep = false, on_trial = function() end }))
    return message
  end

  it("in the middle is refused with its place and a way out that works", function()
    local j = open()
    some(j)
    j:close()
    local bytes = read()
    local at = select(2, bytes:find "\n[^\n]*\n") -- the end of line 2
    local whole, rest = bytes:sub(1, at), bytes:sub(at + 1)
    local after = rest:match "\n(.*)$"
    for _, case in ipairs {
      { "{\"type\":\"tri\0al\"}\n", "holds a NUL byte" },
      { ("\0"):rep(4096) .. "\n", "holds a NUL byte" },
      { '{"type":"trial"\n', "is not JSON" },
      { "\n", "is not JSON" },
      { '{"type":"trial","number":1}\n', "has no state" },
      { '{"type":"trial","number":0,"state":"running","params":{}}\n', "has no number that can be" },
      { '{"type":"trial","number":1,"state":"running","params":5}\n', "has no params that can be" },
      { '{"type":"trial","number":1,"state":"odd","params":{}}\n', "has no state that can be" },
      { '{"type":"trial","number":1,"state":"running","params":{},"value":"5"}\n', "has no value that can be" },
      { '{"type":"trial","number":1,"state":"running","params":{"a":1e999}}\n', "is not JSON" },
      { '{"type":"x","a":"\xff"}\n', "is not UTF%-8" },
      { ("["):rep(100000) .. ("]"):rep(100000) .. "\n", "is not JSON %(nested too deeply" },
      { '{"type":"x"}}\n', "is not JSON" },
    } do
      local message = damaged(whole .. case[1] .. after, 3, at, case[2])
      assert.is_true(#message < 1000 and not message:find "%c")
      for command, want in pairs {
        ["sed 3d"] = "1 complete, 2 failed, 3 running", [("head -c %d"):format(at)] = "1 running",
      } do
        assert.truthy(message:find(command .. " OLD > NEW", 1, true), message)
        sh(("%s %s > %s.new"):format(command, path, path))
        assert.equal(want, states(assert(journal.load(path .. ".new")).trials))
      end
    end
  end)

  it("of 100 MB in one line costs no memory in proportion", function()
    local j = open()
    j:close()
    local size = #read()
    sh(("truncate -s 100000000 %s; echo >> %s"):format(path, path))
    collectgarbage()
    local before = collectgarbage "count"
    fails("protocol", ("line 2 %%(byte %d%%) is longer than 16 MiB"):format(size), journal.load(path))
    fails("protocol", "is longer than", journal.open(path, { header = header, resume = true }))
    assert.is_true(collectgarbage "count" - before < 1024)
    os.remove(path)
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

describe("what a program says", function()
  local harmful = "\27[2J\u{202e}evil\u{200b} \u{200b} x\u{9b}1m\xff\0\n"

  local function check(t)
    for name, v in pairs(t.metrics) do
      for _, s in ipairs { name, type(v) == "string" and v or "" } do
        assert.is_true(utf8.len(s) ~= nil and #s <= 1000 and not s:find "[%c\127]" and not s:find "\u{202e}", s)
      end
      assert.is_true(#name <= 200)
    end
    assert.is_true(#t.message <= 500 and utf8.len(t.message) ~= nil and not t.message:find "%c")
    for name, list in pairs(t.series) do
      assert.is_true(#name <= 200 and #list <= 4096)
    end
  end

  it("is made harmless and bounded on both ways", function()
    local function raw()
      local t = trial(1, "failed", {
        reason = "error",
        message = harmful .. ("é"):rep(5000),
        metrics = { [harmful] = harmful, [("n"):rep(100000)] = ("v"):rep(100000), [5] = 1, t = {}, ok = 1 },
        series = { [harmful] = { harmful }, long = {}, odd = 5 },
      })
      for i = 1, 10000 do
        t.series.long[i] = i
      end
      for i = 1, 5000 do
        t.metrics["m" .. i] = i
      end
      return t
    end
    local j <close> = open()
    assert(j:append(raw()))
    local clean = assert(journal.load(path)).trials[1]
    check(clean)
    local count = 0
    for _ in pairs(clean.metrics) do
      count = count + 1
    end
    assert.equal(4096, count)
    assert.is_nil(clean.series.odd)
    assert.equal(1, clean.series.long[1])
    assert.equal(10000, clean.series.long[4096])
    assert(j:append(clean))
    local all = assert(journal.load(path))
    assert.equal(text(clean), text(all.trials[1]), "what was clean comes back as it was")
    -- and a journal that was written by somebody else
    write('{"type":"sweep","version":1,"script":"\\u001b[2J"}\n{"type":"trial","number":1,"state":"failed",' ..
      '"params":{"\\u001b":1},"message":"\\u001b[2J\\u202e","metrics":{"\\u001b[0m":"\\u0007"},' ..
      '"series":{"\\u001b":["\\u001b"]}}\n')
    all = assert(journal.load(path))
    check(all.trials[1])
    assert.is_nil(text(all):find "[%c]")
  end)

  it("is nothing beside what a trial has", function()
    local j <close> = open()
    assert(j:append(trial(1, "complete", { tags = { a = 1 }, other = 5 })))
    assert.is_nil(read():find "tags")
    write((read():gsub('"params"', '"tags":{"a":1},"other":5,"params"')))
    assert.equal(text(trial(1, "complete")), text(assert(journal.load(path)).trials[1]))
  end)

  it("is kept without its series when it is too long otherwise", function()
    local j <close> = open()
    local t = trial(1, "complete", { series = {}, metrics = { x = 1 } })
    for i = 1, 64 do
      local list = {}
      for k = 1, 4096 do
        list[k] = ('"'):rep(64)
      end
      t.series["s" .. i] = list
    end
    assert(j:append(t))
    local all = assert(journal.load(path))
    assert.equal(1, all.trials[1].metrics.x)
    assert.is_nil(all.trials[1].series)
  end)
end)

describe("core.Journal:record", function()
  local function records(lines)
    write(table.concat(lines, "\n") .. "\n")
    return assert(core.journal(path, { mode = "read" }))
  end

  it("reads every number as what it says", function()
    local said = {
      "0", "-0", "0.0", "-0.0", "1.5", "-1.5", "0.1", "1e3", "1E-3", "5e-324", "1.7976931348623157e308", "1234567.125",
      "9223372036854775807", "-9223372036854775808", "9223372036854775808", "0.30000000000000004",
      "9007199254740993.0", "9007199254740992.5", "9007199254740993.5", "4503599627370497.5", "4503599627370496.5",
      "0.9999999999999999999", "9999999999999999999.5", "0.000000000000000001", "1.0000000000000000001",
      "1234567890123456789.0", "0.5000000000000000000", "100000000000000000000",
    }
    math.randomseed(7)
    for i = 1, 3000 do
      local x = (math.random() - 0.5) * 10 ^ math.random(-8, 18)
      said[#said + 1] = ("%.17g"):format(x)
      said[#said + 1] = ("%." .. i % 20 .. "f"):format(x)
    end
    local file <close> = records(said)
    for _, s in ipairs(said) do
      local want = tonumber(s)
      local got = file:record()
      assert.is_true(got == want and math.type(got) == math.type(want) and tostring(got) == tostring(want), s)
    end
  end)

  it("takes JSON and nothing else", function()
    for _, bad in ipairs {
      "", " ", "01", "1.", ".5", "+1", "1e", "1e+", "--1", "0x10", "NaN", "Infinity", "nul", "nulll", "True", "1 2",
      "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "{,}", "{1:2}", "{null:1}", "\"", "\"\\\"",
      "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\t\"", "[", "{", "]", "}",
      ("["):rep(33) .. ("]"):rep(33), "1e999", ("1"):rep(70), "'a'", "/**/1",
    } do
      local file <close> = records { bad }
      fails("protocol", "line 1 %(byte 0%) is not JSON %([%w ]+, byte %d+ of the line%)", file:record())
    end
    local file <close> = records {
      '  [ null , { "a" : null , "b" : [ ] } ,\ttrue,"\\u00e9\\ud83d\\ude00\\/\\b\\u0000" ]\r',
    }
    assert.same({ json.null, { b = {} }, true, "é😀/\b\0" }, (file:record()))
    assert.is_nil(file:record())
  end)

  it("knows what is simple", function()
    local long = ("x"):rep(64)
    for line, simple in pairs {
      ['{"a":1,"b":{"c d":"e f","g":null}}'] = true, ["{}"] = true, ['{"a":"' .. long .. '"}'] = true,
      ['{"a":{"b":{}}}'] = false, ['{"a":[]}'] = false, ["[]"] = false, ['{"a":"' .. long .. 'x"}'] = false,
      ['{"a":" b"}'] = false, ['{"a":"b "}'] = false, ['{"a":"b  c"}'] = false, ['{"a":"é"}'] = false,
      ['{"a":"\127"}'] = false, ['{"a":"\\n"}'] = false, ['{" ":1}'] = false, ['{"":1}'] = true,
    } do
      local file <close> = records { line }
      local _, got = file:record()
      assert.equal(simple, got, line)
    end
    local many = {}
    for i = 1, 5000 do
      many[i] = ('"%d":1'):format(i)
    end
    local file <close> = records { "{" .. table.concat(many, ",") .. "}" }
    assert.is_false(select(2, file:record()))
  end)
end)

describe("core.json_scalars", function()
  it("writes the usual, and leaves the rest to others", function()
    local function one(v)
      return core.json_scalars("{", { a = v }, { "a" }, { '"a":' }, 10)
    end
    for value, want in pairs {
      [5] = "5", [math.mininteger] = "-9223372036854775808", [0.1] = "0.1", [2.5] = "2.5", [true] = "true",
      [1 / 3] = "0.33333333333333331", [1e300] = "1.0000000000000001e+300",
      x = '"x"', ["a b"] = '"a b"', [""] = '""',
    } do
      assert.equal('{"a":' .. want, one(value))
    end
    assert.equal('{"a":3.0', one(3.0))
    assert.equal("{", core.json_scalars("{", {}, { "a" }, { '"a":' }, 10))
    for _, value in ipairs {
      nan, math.huge, -math.huge, "12345678901", "é", '"', "\\", " a", "a ", "a  b", "\n", {},
    } do
      assert.is_nil(one(value))
    end
    assert.has_error(function()
      core.json_scalars("{", {}, {}, 5, 1)
    end)
  end)
end)
