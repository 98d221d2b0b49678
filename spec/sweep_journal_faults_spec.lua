--- What a crash, a full disk and damage leave of a sweep's journal.
local J = require "spec.support.journals"
local journal = require "moonsand.sweep.journal"

local dir, path, header, fails, open, read = J.dir, J.path, J.header, J.fails, J.open, J.read
local sh, some, states, text, trial, write = J.sh, J.some, J.states, J.text, J.trial, J.write

setup(J.begin)

teardown(J.finish)

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
