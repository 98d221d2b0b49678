--- `moonsand trials` and `moonsand report`: what they print and write of a journal.
local C = require "spec.support.sweep_cli"
local E = require "spec.support.engines"
local command = require "moonsand.command"
local json = require "moonsand.json"

local env, plain_sweep, read, run = C.env, C.plain_sweep, C.read, C.run
local dir

setup(function()
  dir = C.begin()
end)

teardown(C.finish)

describe("moonsand trials and report", function()
  local journal

  setup(function()
    journal = dir .. "/look.jsonl"
    assert.equal(0, (run("sweep", plain_sweep("look", 0), "--journal", journal, "-q")))
  end)

  it("print a table, what failed, and the best", function()
    local status, out = run("trials", journal)
    assert.equal(0, status)
    assert.equal(41, select(2, out:gsub("\n", "")))
    assert.is_nil(out:find "\27")
    status, out = run("trials", journal, "--failed")
    assert.equal(0, status)
    assert.matches("^trial +state +value +x +y +time +message\n +5 +failed: error +3 +a +the third %[31mfails\n +6 ",
      out)
    assert.equal(3, select(2, out:gsub("\n", "")))
    status, out = run("trials", journal, "--top", "2", "--metric", "height")
    assert.matches("^trial +state +value +x +y +height +time\n +29 +complete +100 +15 +a +100 *\n +27 [^\n]+\n$", out)
    assert.equal(0, status)
    status, out = run("trials", journal, "--state", "pruned")
    assert.equal(0, status)
    assert.equal("no such trials\n", out)
  end)

  it("print JSON lines and CSV", function()
    local _, out = run("trials", journal, "--json", "--top", "3")
    local values = {}
    for line in out:gmatch "[^\n]+" do
      values[#values + 1] = json.decode(line).value
    end
    assert.same({ 100, 99, 99 }, values)
    _, out = run("trials", journal, "--csv", "--failed")
    assert.matches("^number,state,reason,value,x,y,", out)
    assert.matches("\n5,failed,error,,3,a,", out)
    assert.equal(3, select(2, out:gsub("\r\n", "")))
  end)

  it("write a page", function()
    local status, out, err = run("report", journal)
    assert.equal(0, status, err)
    assert.equal(dir .. "/look.html\n", out)
    assert.matches("^<![Dd][Oo][Cc][Tt][Yy][Pp][Ee] html", read(dir .. "/look.html"))
    status, out, err = run("report", journal, "-o", dir .. "/other.html", "--x", "x", "--y", "y", "--title", "<b>t</b>",
      "--json")
    assert.equal(0, status, err)
    assert.same({ report = dir .. "/other.html", trials = 40 }, json.decode(out))
    assert.is_nil(read(dir .. "/other.html"):find("<b>t</b>", 1, true))
  end)

  it("fail when what they print cannot be written", function()
    for _, words in ipairs { "trials '%s'", "trials '%s' --csv", "trials '%s' --json", "report '%s'", "--version" } do
      local line = "exec lua5.4 bin/moonsand " .. words:format(journal) .. " >/dev/full"
      local r = assert(command.run({ "sh", "-c", line }, { timeout = E.patience(60), env = env }))
      assert.equal(125, r.exit_code, line)
      assert.matches("cannot write to the standard output: No space left", r.stderr)
    end
  end)

  -- Of names of one directory in /proc: nothing can be replaced there, should that be tried.
  it("write the page where the standard output goes, a file too, and leave its name in its place", function()
    for _, name in ipairs { "/proc/self/fd/1", "/dev/fd/1", "/dev//./fd/1" } do
      for _, where in ipairs { ">'%s/page'", "| cat >'%s/page'" } do
        local line = ("lua5.4 bin/moonsand report '%s' -o %s %s"):format(journal, name, where:format(dir))
        local r = assert(command.run({ "sh", "-c", line }, { timeout = E.patience(60), env = env }))
        assert.equal("", r.stderr)
        assert.matches("^<!DOCTYPE html>.*</html>%s*$", read(dir .. "/page"))
      end
    end
    local line = ("echo before >'%s/log'; lua5.4 bin/moonsand report '%s' -o /dev/fd/1 --json >>'%s/log'"):format(dir,
      journal, dir)
    assert(command.run({ "sh", "-c", line }, { timeout = E.patience(60), env = env }))
    assert.matches('^before\n<!DOCTYPE html>.*</html>%s*{"report":.*}\n$', read(dir .. "/log"))
  end)

  it("tell what cannot be", function()
    for _, case in ipairs {
      { { "report", journal, "--x", "nonsense" }, "no such parameter (it has x, y)" },
      { { "report", journal, "-o", dir .. "/no/such/dir/x.html" }, "/no/such/dir" },
      { { "report", dir .. "/none.jsonl" }, "none.jsonl" },
      { { "report", plain_sweep("nojournal", 0) }, "nojournal.lua" },
      { { "trials", dir .. "/none.jsonl" }, "none.jsonl" },
      { { "trials", journal, "--metric", "Hieght" }, '--metric "Hieght": no trial has it; did you mean "height"?' },
      { { "trials", journal, "--metric", "Sharpe Ratio" }, "no trial has it; there are height, x" },
      { { "trials", journal, "--top", "0" }, "--top" },
      { { "trials", journal, "--top", "x" }, "--top" },
      { { "trials", journal, "--failed", "--state", "complete" }, "exclude each other" },
      { { "trials", journal, "--failed", "--top", "3" }, "--top is of complete trials" },
      { { "trials", journal, "--csv", "--json" }, "can not be used together" },
    } do
      local status, _, err = run(table.unpack(case[1]))
      assert.equal(125, status, case[2])
      assert.truthy(err:find(case[2], 1, true), case[2] .. " is not in: " .. err)
    end
  end)
end)
