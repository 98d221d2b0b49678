--- The line that says how far a sweep is.
local live = require "moonsand.cli.live"
local moonsand = require "moonsand"

describe("the line of a sweep", function()
  local progress = {
    total = 50, done = 12, running = 2, failed = 1, pruned = 0, rate = 24.31, eta_s = 1.6,
    best = { value = 77829.05462, params = { n2 = 15, n1 = 10, kind = "a\27[31m" } },
  }

  it("has all that one wants to know", function()
    assert.equal("12 of 50 done, 2 running, 1 failed; best 77829.05 (kind=a [31m, n1=10, n2=15); 24 trials/s, "
      .. "1.6 s left", live.line(progress))
    assert.equal("3 done, 0 running, 0 failed, 2 pruned", live.line { done = 3, running = 0, failed = 0, pruned = 2 })
  end)

  it("fits any width", function()
    for columns = 1, 120 do
      local line = live.line(progress, columns)
      assert.is_true(utf8.len(line) <= columns, columns .. ": " .. line)
    end
    assert.matches("^12 of 50 done, 2 running, 1 failed; best 77829%.05 %(kind=.*%.%.%.%); 24 trials/s, 1%.6 s left$",
      live.line(progress, 90))
    assert.equal("12 of 50 done, 2 running, 1 failed; 24 trials/s, 1.6 s left", live.line(progress, 62))
  end)

  it("is drawn anew on a terminal, and said now and then elsewhere", function()
    for _, on_terminal in ipairs { true, false } do
      local out = {}
      local line = live.new({ progress = function()
        return progress
      end }, { live = on_terminal, columns = 80, every = 0.02, write = function(s)
        out[#out + 1] = s
      end })
      moonsand.sleep(0.2)
      line:note "a note\27[2J"
      line:close()
      local all = table.concat(out)
      assert.truthy(all:find("moonsand: a note [2J\n", 1, true))
      if on_terminal then
        assert.matches("^\r\27%[K12 of 50 done.*\r\27%[K12 of 50 done.*\r\27%[K", all)
        assert.equal(1, select(2, all:gsub("\n", "")))
      else
        assert.equal(1, select(2, all:gsub("12 of 50 done", "")), "nothing new is no news")
        assert.is_nil(all:find "\27")
      end
    end
  end)

  it("tells times as people do", function()
    assert.same({ "45 ms", "3.2 s", "59 s", "1:00 min", "2 h 07 min", "3 d 4 h", "?" }, {
      live.seconds(0.045), live.seconds(3.2), live.seconds(59.4), live.seconds(60.5), live.seconds(7645),
      live.seconds(3 * 86400 + 4 * 3600), live.seconds(math.huge),
    })
  end)
end)
