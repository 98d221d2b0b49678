--- `moonsand sweep`: what it takes, runs and prints.
local C = require "spec.support.sweep_cli"
local E = require "spec.support.engines"
local command = require "moonsand.command"
local json = require "moonsand.json"
local moonsand = require "moonsand"
local sweep_command = require "moonsand.cli.sweep"

local plain_sweep, read, run, write = C.plain_sweep, C.read, C.run, C.write
local dir

setup(function()
  dir = C.begin()
end)

teardown(C.finish)

describe("the way to go on", function()
  it("is the command line with the journal", function()
    assert.equal("moonsand sweep a.py --where 'fast<slow' --objective 'it'\\''s' --journal 'my j.jsonl' --resume",
      sweep_command.resume_line({ "sweep", "a.py", "--where", "fast<slow", "--objective", "it's" }, "my j.jsonl"))
    assert.equal("moonsand sweep a.lua --journal=j --resume",
      sweep_command.resume_line({ "sweep", "a.lua", "--journal=j", "--resume" }, "j"))
  end)
end)

describe("moonsand sweep", function()
  it("runs a Lua file, says where it is, and prints the best", function()
    local journal = dir .. "/plain.jsonl"
    local status, out, err = run("sweep", plain_sweep("plain", 0.01), "--journal", journal)
    assert.equal(0, status, err)
    assert.matches("^40 trials in .*: 38 complete, 2 failed, 0 pruned\n", out)
    assert.truthy(out:find("failures: 2 error; the first is trial 5: the third [31mfails\n", 1, true), out)
    assert.matches("best by height\ntrial +state +value +x +y +time\n +29 +complete +100 +15 +a", out)
    assert.truthy(out:find("journal  " .. journal, 1, true))
    local study = assert(moonsand.study(journal))
    assert.equal(40, #study)
    assert.equal(100.0, study:best().value)
  end)

  it("writes a line every few seconds when there is no terminal", function()
    local status, _, err = run("sweep", plain_sweep("slow", 0.4), "--no-journal")
    assert.equal(0, status, err)
    assert.matches("^%d+ of 40 done, 2 running, %d failed; best %-?%d+ %(x=%d+, y=%l%); %d%.%d trials/s, [%d.]+ s left"
      .. "\n", err)
    assert.is_nil(err:find("\r", 1, true))
  end)

  it("takes options on top of the file's", function()
    local status, out = run("sweep", plain_sweep("few", 0), "--no-journal", "--max-trials", "7", "--sampler", "random",
      "--seed", "3", "--json", "-q")
    assert.equal(0, status)
    local answer = json.decode(out)
    assert.equal(7, answer.done)
    assert.equal("max_trials", answer.ended_by)
    assert.is_nil(answer.journal)
    assert.is_false(answer.interrupted)
    local _, again = run("sweep", plain_sweep("few", 0), "--no-journal", "--max-trials", "7", "--sampler", "random",
      "--seed", "3", "--json", "-q")
    assert.same(answer.best.params, json.decode(again).best.params)
  end)

  it("takes a file that calls moonsand.sweep itself, and options on top", function()
    local file = write("made.lua", [[
local moonsand = require "moonsand"
local sweep = moonsand.sweep { code = "pass", space = { x = { 1, 2, 3 } }, objective = "x", max_trials = 2 }
return sweep
]])
    local status, _, err = run("sweep", file, "--max-trials", "0")
    assert.equal(125, status)
    assert.matches("max%-trials", err)
    status, _, err = run("sweep", file, "--max-trials", "1", "--no-journal", "--engine", "unix:///no/such.sock")
    assert.equal(125, status)
    assert.matches("/no/such%.sock", err)
  end)

  it("writes the journal beside where it is called, when none is named", function()
    local r = assert(command.run({ "sh", "-c", ("cd %s && LUA_PATH='%s' exec lua5.4 %s/bin/moonsand sweep few.lua "
      .. "--max-trials 2"):format(dir, package.path:gsub("%./", os.getenv "PWD" .. "/"), os.getenv "PWD") },
      { env = { LUA_CPATH = package.cpath } }))
    assert.equal(0, r.exit_code, r.stderr)
    local name = r.stdout:match "journal  (few%-%d+%-%d+%.jsonl)\n"
    assert.truthy(name, r.stdout)
    assert.equal(2, #assert(moonsand.study(dir .. "/" .. name)))
  end)

  it("ends early when it is told to, and says so", function()
    local file = plain_sweep("halts", 0)
    local status, out, err = run("sweep", file, "--no-journal", "--fail-fast", "--json")
    assert.equal(1, status)
    assert.equal("fail_fast", json.decode(out).ended_by)
    assert.matches("ended early, for too much failed %(fail_fast%)", err)
    status, out = run("sweep", file, "--no-journal", "--halt-failures", "2", "--json")
    assert.equal(1, status)
    assert.equal("failures", json.decode(out).ended_by)
    status, out = run("sweep", file, "--no-journal", "--target", "90", "--json")
    assert.equal(0, status)
    assert.equal("target", json.decode(out).ended_by)
  end)

  it("counts and estimates with --dry-run, and leaves nothing", function()
    local file = plain_sweep("dry", 0.3, "where = function(p) return p.x ~= 7 end, journal = '" .. dir
      .. "/dry.jsonl',")
    local status, out, err = run("sweep", file, "--dry-run", "--json")
    assert.equal(0, status, err)
    local answer = json.decode(out)
    assert.equal(38, answer.trials)
    assert.is_true(answer.exact)
    assert.equal(3, #answer.tried_s)
    assert.is_true(answer.seconds > 38 * 0.3 / 2 * 0.9 and answer.seconds < E.patience(60), answer.seconds)
    assert.is_nil(read(dir .. "/dry.jsonl"))
    status, out = run("sweep", file, "--dry-run", "--max-trials", "10")
    assert.equal(0, status)
    assert.matches("^10 trials, 2 at a time\n3 were tried and took .*\nall together: about ", out)
    local endless = write("endless.lua", [[
local moonsand = require "moonsand"
return { space = { x = moonsand.uniform(0, 1) }, objective = "x", sampler = "random",
  executor = moonsand.executors.noop { f = function(p) return p end } }]])
    status, out, err = run("sweep", endless, "--dry-run")
    assert.equal("", out)
    assert.equal(125, status)
    assert.matches("this space has no end: give max_trials", err)
    status, out = run("sweep", endless, "--dry-run", "--max-time", "10s")
    assert.equal(0, status)
    assert.matches("no end of their own: give %-%-max%-trials", out)
  end)

  it("counts with --dry-run what any of our samplers gives, and only what a resume has to run", function()
    local journal = dir .. "/counted.jsonl"
    local file = plain_sweep("counted", 0)
    local function answer(...)
      local _, out, err = run("sweep", file, "--dry-run", "--json", ...)
      return json.decode(out) or error(err)
    end
    for _, sampler in ipairs { "grid", "random", "tpe", "sobol" } do
      assert.equal(40, answer("--sampler", sampler).trials)
    end
    assert.equal(30, answer("--sampler", "latin", "--max-trials", "30").trials)
    assert.equal(0, (run("sweep", file, "--sampler", "sobol", "--journal", journal, "--max-trials", "7")))
    assert.equal(7, #assert(moonsand.study(journal)))
    local rest = answer("--sampler", "sobol", "--journal", journal, "--resume")
    assert.same({ 33, 7 }, { rest.trials, rest.done })
    assert.equal(3, answer("--sampler", "sobol", "--journal", journal, "--resume", "--max-trials", "10").trials)
    run("sweep", file, "--sampler", "sobol", "--journal", journal, "--resume")
    rest = answer("--sampler", "sobol", "--journal", journal, "--resume", "failed")
    assert.same({ 2, 38 }, { rest.trials, rest.done })
    assert.equal(40, answer("--journal", dir .. "/none.jsonl", "--resume").trials)
    file = plain_sweep("latin", 0, 'sampler = { name = "latin", points = 13 },')
    assert.equal(13, answer().trials)
    file = plain_sweep("latin", 0, 'sampler = { ask = function() end },')
    assert.is_nil(answer().trials)
  end)

  it("lets no plugin do anything with --dry-run but give its sampler", function()
    local kept = write("kept.csv", "of the last sweep\n")
    local heard = dir .. "/heard"
    local plugin = write("first.lua", ([[
return { api = 1, name = "first", setup = function(host)
  for _, event in ipairs { "run", "trial", "end" } do
    host:on(event, function() io.open(%q, "a"):write(event, "\n"):close() end)
  end
  host:policy("halt", function() return "it wants no more" end)
  host:sampler("first", function()
    return { name = "first", setup = function(self, ctx) self.space, self.n = ctx.space, -1 end,
      ask = function(self) self.n = self.n + 1 return self.space:at(self.n) end }
  end)
end }]]):format(heard))
    local more = ("plugins = { { 'csv', path = %q }, %q }, keep = false,"):format(kept, plugin)
    for _, sampler in ipairs { "grid", "first" } do
      local status, out, err = run("sweep", plain_sweep("plugged", 0, more), "--dry-run", "--json", "--jobs", "1",
        "--sampler", sampler)
      assert.equal(0, status, err)
      assert.equal(3, #json.decode(out).tried_s)
      assert.equal("of the last sweep\n", read(kept))
      assert.is_nil(read(heard))
    end
  end)

  it("puts --jobs and --no-journal above what the file says", function()
    local journal = dir .. "/unwanted.jsonl"
    local file = plain_sweep("above", 0, ("workers = 2, journal = %q, resume = true,"):format(journal))
    local status, out, err = run("sweep", file, "--jobs", "1", "--no-journal", "--json")
    assert.equal(0, status, err)
    assert.is_nil(json.decode(out).journal)
    assert.is_nil(read(journal))
    for _, word in ipairs { "--journal=x.jsonl", "--resume" } do
      status, _, err = run("sweep", file, "--no-journal", word)
      assert.equal(125, status)
      assert.matches("exclude each other", err)
    end
  end)

  it("counts a grid that is far too large to write out", function()
    local status, out, err = run("sweep", write("large.lua", [[
local moonsand = require "moonsand"
local r = moonsand.range(1, 1000)
return { space = { a = r, b = r, c = r, d = r }, objective = "a", where = function(p) return p.a <= 500 end,
  executor = moonsand.executors.noop { f = function(p) return p end } }]]), "--dry-run", "--json")
    assert.equal(0, status, err)
    local answer = json.decode(out)
    assert.is_false(answer.exact)
    assert.is_true(answer.trials > 0.49e12 and answer.trials < 0.51e12, answer.trials)
  end)

  it("tells every mistake in one line, and where it is in the user's file", function()
    local py = write("x.py", "pass")
    for _, case in ipairs {
      { { py }, "no --param is given" },
      { { py, "--param", "a=1:2:1" }, "--objective is missing" },
      { { py, "--param", "a=1:2", "--objective", "x", "--jobs", "0" }, "--jobs 0: write a number of workers" },
      { { py, "--param", "a=1:2:1", "--objective", "x", "--seed", "x" }, '--seed: "x" is not a number' },
      { { py, "--param", "a=1:2:1", "--objective", "x", "--seed", "1.5" }, '--seed: "1.5" is not a whole number' },
      { { py, "--param", "a=1:2:1", "--objective", "x", "--target", "x" }, '--target: "x" is not a number' },
      { { py, "--param", "a=1:2:1", "--objective", "x", "--resume" }, "--resume needs --journal" },
      { { py, "--param", "a=1:2:1", "--objective", "x", "--resume", "some" }, "'failed'" },
      { { py, "--param", "a=1:2:1", "--objective", "x", "--max-time", "soon" }, "--max-time" },
      { { py, "--param", "a=1:2:1", "--objective", "x", "--sampler", "gird" }, "grid" },
      { { py, "--param", "a=1:2:1", "--objective", "x", "--plugin", "cvs" }, "cvs" },
      { { py, "--param", "a=1:2:1", "--objective", "x", "--where", "a!=1" }, "--where" },
      { { dir .. "/none.py", "--param", "a=1:2:1", "--objective", "x", "--no-journal", "--engine", E.url.docker,
        "--image", E.image, "--preload", "none" }, "none.py" },
      { { write("empty.lua", "") }, "empty.lua returns nothing; it should return moonsand.sweep" },
      { { write("number.lua", "return 5") }, "returns a number" },
      { { write("syntax.lua", "x = = 5") }, "syntax.lua, line 1: unexpected symbol" },
      { { write("raises.lua", "\nlocal x = nil + 1") }, "raises.lua, line 2: attempt to perform arithmetic" },
      { { write("unknown.lua", "return { spice = {} }") }, "spice" },
      { { write("tail.lua", "return require 'moonsand'.sweep { spice = {} }") },
        "tail.lua: moonsand.sweep has no option" },
      { { write("line.lua", "\n\nlocal s = require 'moonsand'.sweep { spice = {} }\nreturn s") },
        "line.lua, line 3: moonsand.sweep has no option 'spice'; did you mean 'space'?" },
      { { write("box.lua", "return { space = { x = { 1 } }, objective = 'x', code = '' }, 7") }, "after the sweep" },
      { { plain_sweep("mixed", 0), "--param", "a=1" }, "--param is for a sweep without Lua" },
      { { plain_sweep("mixed", 0), "--minimize" }, "--minimize is for a sweep without Lua" },
      { { dir .. "/no.lua" }, "no.lua" },
    } do
      local status, out, err = run("sweep", table.unpack(case[1]))
      assert.equal(125, status, err)
      assert.truthy(err:find(case[2], 1, true), case[2] .. " is not in: " .. err)
      assert.equal("", out)
      assert.is_nil(err:find("traceback", 1, true))
      assert.is_nil(err:find("lua/moonsand/cli/", 1, true), err)
    end
  end)

  it("refuses a journal that is there, and one of another sweep", function()
    local journal = dir .. "/there.jsonl"
    assert.equal(0, (run("sweep", plain_sweep("there", 0), "--journal", journal, "-q")))
    local status, _, err = run("sweep", plain_sweep("there", 0), "--journal", journal)
    assert.equal(125, status)
    assert.truthy(err:find(journal, 1, true), err)
    status, _, err = run("sweep", write("other.lua", [[
return { space = { z = { 1 } }, objective = "z", executor = require "moonsand".executors.noop { f = function(p)
  return p end } }]]), "--journal", journal, "--resume")
    assert.equal(125, status)
    assert.truthy(err:find(journal, 1, true), err)
    assert.equal(40, #assert(moonsand.study(journal)))
  end)

  it("refuses a report in a journal's place, however that is spelled", function()
    local file, journal, cache = plain_sweep("over", 0), dir .. "/over.jsonl", dir .. "/cache.jsonl"
    assert(os.execute("mkdir -p " .. dir .. "/sub"))
    for _, report in ipairs { journal, dir .. "//over.jsonl", dir .. "/sub/../over.jsonl", dir .. "/./cache.jsonl" } do
      local status, out, err = run("sweep", file, "--journal", journal, "--report", report, "--cache", cache)
      assert.equal(125, status, report)
      assert.equal("", out)
      assert.truthy(err:find("--report " .. json.encode(report) .. ": that is the journal", 1, true), err)
      assert.is_nil(read(journal))
    end
    local status, _, err = run("sweep", file, "--journal", journal, "--report", dir .. "/sub/over.jsonl", "-q")
    assert.equal(0, status, err)
    local before = read(journal)
    assert(os.execute(("cd '%s' && ln -s over.jsonl link && ln over.jsonl hard"):format(dir)))
    for _, report in ipairs { journal, dir .. "/sub/../over.jsonl", dir .. "/link", dir .. "/hard" } do
      status, _, err = run("report", journal, "-o", report)
      assert.equal(125, status, report)
      assert.truthy(err:find("that is the journal", 1, true), err)
      status, _, err = run("sweep", file, "--journal", journal, "--resume", "--report", report)
      assert.equal(125, status, report)
      assert.truthy(err:find("that is the journal", 1, true), err)
    end
    assert.equal(before, read(journal))
  end)

  it("runs with --resume failed only what failed", function()
    local journal = dir .. "/mended.jsonl"
    local file = plain_sweep("mended", 0)
    local began, said = run("sweep", file, "--journal", journal, "--resume", "failed")
    assert.equal(0, began)
    assert.matches("38 complete, 2 failed", said) -- there was none: all of it
    local text = read(file):gsub("p%.x == 3", "false")
    write("mended.lua", text)
    local status, out, err = run("sweep", file, "--journal", journal, "--resume", "failed")
    assert.equal(0, status, err)
    assert.matches("40 complete, 0 failed", out)
    local again = 0
    for _, trial in ipairs(assert(moonsand.study(journal)):trials()) do
      again = again + (trial.attempts > 1 and 1 or 0)
    end
    assert.equal(2, again)
  end)
end)

E.each(describe, "moonsand sweep in sandboxes", function(kind)
  local function sweep(name, script, ...)
    return run("sweep", write(name, script), "--engine", E.url[kind], "--image", E.image, "--no-journal", ...)
  end

  it("needs no Lua", function()
    local status, out, err = sweep("area.py", [[
import json, os, sys
p = json.load(open(os.environ["MOONSAND_PARAMS"]))
assert sys.argv[1:] == ["--fast", str(p["fast"]), "--kind", p["kind"], "--slow", str(p["slow"])]
json.dump({"area": p["fast"] * p["slow"]}, open(os.environ["MOONSAND_RESULT"], "w"))
]], "--param", "fast=5:30:5", "--param", "slow=10:30:10", "--param", "kind=a,b", "--where", "fast<slow",
      "--objective", "area", "--minimize", "--arguments", "--json")
    assert.equal(0, status, err)
    local answer = json.decode(out)
    assert.equal(2 * (1 + 3 + 5), answer.complete)
    assert.equal(50, answer.best.value)
    assert.same({ fast = 5, slow = 10, kind = "a" }, answer.best.params)
  end)

  it("loads what the script imports once, and says what cannot be", function()
    local script = [[
import decimal
import no_such_module_anywhere
]]
    local status, _, err = sweep("missing.py", script, "--param", "x=1,2", "--objective", "x")
    assert.equal(1, status)
    assert.matches("moonsand: no_such_module_anywhere is not loaded ahead of time: ModuleNotFoundError", err)
    assert.is_nil(err:find("decimal is not", 1, true))
    status, _, err = sweep("loaded.py", [[
import decimal, sys, moonsand
moonsand.result({"v": moonsand.params()["x"]})
]], "--param", "x=1,2", "--objective", "v")
    assert.equal(0, status, err)
    assert.equal("", err)
    status, _, err = sweep("asked.py", "import moonsand\nmoonsand.result({'v': 1})", "--param", "x=1,2", "--objective",
      "v", "--preload", "no_such_module_anywhere")
    assert.equal(125, status)
    assert.matches("no_such_module_anywhere", err)
  end)

  it("gives data to all, and sweeps over data sets", function()
    write("a.csv", "1\n2\n")
    write("b.csv", "1\n2\n3\n")
    write("more.csv", "x\n")
    local status, out, err = sweep("data.py", [[
import os, moonsand
where = os.environ["MOONSAND_DATA"] + "/"
p = moonsand.params()
assert open(where + "extra.csv").read() == "x\n"
moonsand.result({"rows": len(open(where + p["data"]).readlines()) * p["k"]})
]], "--param", "k=1,10", "--objective", "rows", "--dataset", dir .. "/a.csv", "--dataset", dir .. "/b.csv", "--data",
      dir .. "/more.csv=extra.csv", "--json")
    assert.equal(0, status, err)
    local answer = json.decode(out)
    assert.equal(4, answer.complete)
    assert.equal(30, answer.best.value)
    assert.equal("b.csv", answer.best.params.data)
  end)

  it("takes limits and container mode", function()
    local status, out, err = sweep("limits.py", [[
import os, moonsand
moonsand.result({"cpus": int(os.environ["OMP_NUM_THREADS"])})
]], "--param", "x=1,2", "--objective", "cpus", "--cpus", "1.5", "--memory", "100m", "--mode", "container", "--jobs",
      "1", "--timeout", "20s", "--json")
    assert.equal(0, status, err)
    assert.equal(2, json.decode(out).best.value)
    status, out = sweep("late.py", "import time; time.sleep(30)", "--param", "x=1,2", "--objective", "v", "--timeout",
      "1s", "--jobs", "2", "--json")
    assert.equal(1, status)
    assert.same({ timeout = 2 }, json.decode(out).failures)
  end)
end)
