--- `moonsand sweep`, `moonsand trials` and `moonsand report`: what they take, what they print, and what Ctrl-C leaves.
local E = require "spec.support.engines"
local command = require "moonsand.command"
local imports = require "moonsand.cli.sweep_imports"
local json = require "moonsand.json"
local live = require "moonsand.cli.live"
local moonsand = require "moonsand"
local params = require "moonsand.cli.sweep_params"
local spaces = require "moonsand.sweep.space"
local sweep_command = require "moonsand.cli.sweep"

local dir

local function write(name, text)
  local f = assert(io.open(dir .. "/" .. name, "wb"))
  f:write(text)
  f:close()
  return dir .. "/" .. name
end

local function read(path)
  local f = io.open(path, "rb")
  local text = f and f:read "a"
  if f then
    f:close()
  end
  return text
end

local env = { LUA_PATH = package.path, LUA_CPATH = package.cpath }

--- The program with these words; exit status, stdout, stderr.
local function run(...)
  local r = assert(command.run({ "lua5.4", "bin/moonsand", ... }, { timeout = E.patience(120), env = env }))
  return r.exit_code, r.stdout, r.stderr
end

--- A sweep of 40 points without a sandbox; each trial takes so long.
local function plain_sweep(name, seconds, more)
  return write(name .. ".lua", ([[
local moonsand = require "moonsand"
return {
  space = { x = moonsand.range(1, 20), y = { "a", "b" } }, objective = "height",
  executor = moonsand.executors.noop { jobs = 2, f = function(p)
    moonsand.sleep(%g)
    if p.x == 3 then
      error("the third \27[31mfails", 0)
    end
    return { height = p.y == "a" and 100 - (p.x - 15) ^ 2 or 0, x = p.x }
  end },
  %s
}]]):format(seconds, more or ""))
end

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  assert(os.execute("mkdir " .. dir))
end)

teardown(function()
  os.execute("rm -rf " .. dir)
end)

describe("--param", function()
  local function described(...)
    local out = {}
    for _, d in ipairs(spaces.new(params.space { ... }):describe()) do
      out[d.name] = d
    end
    return out
  end

  it("takes ranges, lists, continuous ones and constants", function()
    local d = described("a=5:30:5", "b=a,b", "c=log:1e-4:1e-1", "d=0.1:0.9", "e=3:7", "f=7", "g=0:0.3:0.1",
      "h=true,false", 'i="7",7', "j=int:2:9", "k=uniform:1:2", "l=text", 'm="a:b"', "n=-1.5,2")
    assert.same({ 5, 10, 15, 20, 25, 30 }, d.a.values)
    assert.same({ "a", "b" }, d.b.values)
    assert.same({ "log_uniform", 1e-4, 1e-1 }, { d.c.kind, d.c.low, d.c.high })
    assert.same({ "uniform", 0.1, 0.9 }, { d.d.kind, d.d.low, d.d.high })
    assert.same({ "integers", 3, 7 }, { d.e.kind, d.e.low, d.e.high })
    assert.same({ 7 }, d.f.values)
    assert.same({ 0.0, 0.1, 0.2, 0.3 }, d.g.values)
    assert.same({ true, false }, d.h.values)
    assert.same({ "7", 7 }, d.i.values)
    assert.equal("string", type(d.i.values[1]))
    assert.same({ "integers", 2, 9 }, { d.j.kind, d.j.low, d.j.high })
    assert.same({ "uniform", 1, 2 }, { d.k.kind, d.k.low, d.k.high })
    assert.same({ "text" }, d.l.values)
    assert.same({ "a:b" }, d.m.values)
    assert.same({ -1.5, 2 }, d.n.values)
  end)

  it("says what is wrong, and how it is written", function()
    for given, why in pairs {
      ["fast"] = "there is no =", ["=5"] = "is no name", ["fa st=5"] = "is no name", ["fast="] = "nothing stands",
      ["fast=30:5:5"] = "30 is not below 5", ["fast=5:30:0"] = "the step 0 is not above 0",
      ["fast=5:30:-5"] = "the step -5 is not above 0", ["fast=5:x"] = '"x" is no number',
      ["fast=1:2:3:4"] = "4 parts", ["fast=a,,b"] = "an empty value", ["lr=log:0:1"] = "above 0",
      ["lr=log:1"] = "takes two numbers", ["lr=log:a:b"] = '"a" is no number', ["n=int:1.5:3"] = "whole numbers",
      ["fast=5:5:1"] = "5 is not below 5", ["fast=5:30:"] = '"" is no number',
    } do
      local ok, err = pcall(params.space, { given })
      assert.is_false(ok, given)
      assert.truthy(err:find("--param " .. json.encode(given), 1, true), err)
      assert.truthy(err:find(why, 1, true), given .. ": " .. err)
      assert.truthy(err:find("write NAME=5:30:5", 1, true), err)
    end
    local _, err = pcall(params.space, { "a=1", "a=2" })
    assert.matches("a is given twice", err)
  end)
end)

describe("--where", function()
  local space = { fast = { 1, 2 }, slow = { 1, 2 }, kind = { "a", "b" } }

  it("is an expression over the parameters", function()
    local where = params.where("fast<slow and kind ~= 'b' and math.max(fast, slow) == 2", space)
    assert.is_true(where { fast = 1, slow = 2, kind = "a" })
    assert.is_false(where { fast = 1, slow = 2, kind = "b" })
    assert.is_false(where { fast = 2, slow = 2, kind = "a" })
    -- a conditional parameter that is not there at this point
    assert.is_true(params.where("kind == nil or fast < 2", space) { fast = 2, slow = 2 })
  end)

  it("sees nothing else, and changes nothing", function()
    for text, why in pairs {
      ["os.exit(3)"] = 'knows no "os" (it has fast, kind, slow and math)', ["fsat<slow"] = 'knows no "fsat"',
      ["_G"] = 'knows no "_G"', ["(function() fast = 1 return true end)()"] = "cannot set anything",
      ["fast + slow"] = "gives a number", ["kind == 'a' and nil"] = "gives nothing",
    } do
      local ok, err = pcall(params.where(text, space), { fast = 1, slow = 2, kind = "a" })
      assert.is_false(ok, text)
      assert.truthy(tostring(err):find(why, 1, true), text .. ": " .. tostring(err))
    end
    local pi = math.pi
    assert.is_true(params.where("rawset == nil or true", setmetatable({ rawset = 1 }, { __index = space })) {})
    pcall(params.where("(function() math.pi = 3 return true end)()", space), { fast = 1 })
    assert.equal(pi, math.pi)
  end)

  it("tells what is no expression", function()
    for _, text in ipairs { "fast <", "fast != slow", "fast<slow) or (true", "return true", "\27Lua", "" } do
      local ok, err = pcall(params.where, text, space)
      assert.is_false(ok, text)
      assert.truthy(err:find("--where", 1, true) and err:find("'fast<slow", 1, true), err)
    end
  end)
end)

describe("other options", function()
  it("name objectives with directions", function()
    assert.same({ "Sharpe Ratio", "maximize" }, { params.objective({ "Sharpe Ratio" }, "maximize") })
    assert.same({ "x", "minimize" }, { params.objective({ "x=minimize" }, "maximize") })
    assert.same({ { "a", "maximize" }, { "b [%]", "minimize" } },
      (params.objective({ "a", "b [%]=minimize" }, "maximize")))
    assert.has_error(function()
      params.objective({ "a=most" }, "maximize")
    end, '--objective "a=most": most is neither maximize nor minimize')
  end)

  it("give plugins options", function()
    assert.same({ "csv" }, params.plugin "csv")
    assert.same({ "retry", times = 2, wait = 1.5, on = "oom" }, params.plugin "retry:times=2,wait=1.5,on=oom")
    assert.has_error(function()
      params.plugin "csv:path"
    end, '--plugin "csv:path": "path" is not of the form OPTION=VALUE')
  end)

  it("count failures in numbers and shares", function()
    assert.equal("3%", params.failures "3%")
    assert.equal(5, params.failures "5")
    for _, given in ipairs { "0", "-1", "x", "0%", "101%", "1.5", "" } do
      assert.has_error(function()
        params.failures(given)
      end)
    end
  end)
end)

describe("the imports of a script", function()
  it("are those of its top level", function()
    assert.same({ "os", "numpy", "pandas", "backtesting", "backtesting.lib", "a.b", "c", "json", "sys" }, imports.of [[
#!/usr/bin/env python3
"""Text
import docstring
"""
from __future__ import annotations
import os
import numpy as np, pandas  # import comment
from backtesting import Backtest, Strategy
from backtesting.lib import (
    crossover,
)
import a.b, c as d
import moonsand
from . import sibling
from .sibling import x
x = 'import string'; import json
y = """
import block
""" + 'it''s' ; import sys
text = "a \" import no"
def f():
    import inside
if True:
    import conditional
try:
    import optional
except ImportError:
    pass
importlib = 1
imported = import_module("x")
import os
]])
  end)

  it("of what is no Python at all are a list all the same", function()
    assert.same({}, imports.of "")
    assert.same({}, imports.of "'''")
    assert.same({}, imports.of "\"\n'\nimport\nimport \nfrom x\nimport ..\nimport a..b\nimport 5")
    assert.same({ "x" }, imports.of "s = 'never closed\nimport x")
  end)
end)

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
    run("sweep", file, "--journal", journal, "-q")
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

-- ---- Ctrl-C ---------------------------------------------------------------------------------------------------------

--- Starts the program; returns its handle, and a function that sends it a signal.
local function started(...)
  local pidfile = os.tmpname()
  local words = { "sh", "-c", "echo $$ >" .. pidfile .. "; exec lua5.4 bin/moonsand \"$@\"", "sh", ... }
  local handle = assert(command.start(words, { timeout = E.patience(120), env = env }))
  local function send(signal)
    local pid = read(pidfile):match "%d+"
    assert(os.execute(("kill -%s %s"):format(signal, pid)))
  end
  return handle, send, pidfile
end

local function records(journal)
  return select(2, (read(journal) or ""):gsub("\n", ""))
end

--- Waits until there are so many lines in the journal.
local function wait_for(journal, lines)
  local due = moonsand.monotonic() + E.patience(60)
  while records(journal) < lines do
    assert(moonsand.monotonic() < due, "the sweep does not get on")
    moonsand.sleep(0.02)
  end
end

local function states_of(journal)
  local states = {}
  for _, trial in ipairs(assert(moonsand.study(journal)):trials()) do
    states[trial.state] = (states[trial.state] or 0) + 1
  end
  return states
end

describe("Ctrl-C in a sweep", function()
  for signal, shown in pairs { INT = "once", TERM = "as SIGTERM" } do
    it(shown .. " finishes what runs, writes the report, and resume does the rest", function()
      local journal = ("%s/%s.jsonl"):format(dir, signal)
      local file, report = plain_sweep("one" .. signal, 0.2), journal:gsub("jsonl$", "html")
      local handle, send = started("sweep", file, "--journal", journal, "--report", report)
      wait_for(journal, 12)
      send(signal)
      local r = assert(handle:wait())
      assert.equal(130, r.exit_code, r.stderr)
      assert.matches("interrupted; to go on: moonsand sweep .* %-%-resume\n", r.stderr)
      assert.truthy(r.stderr:find(journal, 1, true))
      assert.truthy(read(report))
      local states = states_of(journal)
      assert.is_nil(states.running)
      assert.is_nil(states.waiting)
      assert.is_true(states.complete + (states.failed or 0) < 40)
      local status, out, err = run("sweep", file, "--journal", journal, "--resume")
      assert.equal(0, status, err)
      assert.matches("38 complete, 2 failed", out)
      for _, trial in ipairs(assert(moonsand.study(journal)):trials()) do
        assert.equal(1, trial.attempts, "trial " .. trial.number .. " ran twice")
      end
    end)
  end

  it("kills with a second one, and resume works after it", function()
    local journal = dir .. "/twice.jsonl"
    local file = plain_sweep("twice", 0.3)
    local handle, send = started("sweep", file, "--journal", journal)
    wait_for(journal, 8)
    send "INT"
    moonsand.sleep(0.05)
    send "INT"
    local r = assert(handle:wait())
    assert.equal(130, r.exit_code, r.stderr)
    local status, out, err = run("sweep", file, "--journal", journal, "--resume")
    assert.equal(0, status, err)
    assert.matches("40 trials in .*38 complete, 2 failed", out)
  end)

  it("on a terminal comes from the keyboard, and the line is drawn there", function()
    local journal = dir .. "/pty.jsonl"
    local words = ("lua5.4 bin/moonsand sweep %s --journal %s"):format(plain_sweep("pty", 0.1), journal)
    local r = assert(command.run({ "script", "-qefc", words, "/dev/null" }, {
      timeout = E.patience(60), env = { LUA_PATH = env.LUA_PATH, LUA_CPATH = env.LUA_CPATH, TERM = "xterm" },
    }))
    assert.equal(0, r.exit_code)
    assert.matches("\r\27%[K%d+ of 40 done, 2 running", r.stdout)
    os.remove(journal)
    local handle = assert(command.start({ "sh", "-c", "(while ! [ -s " .. journal .. " ] || [ $(wc -l <" .. journal
      .. ") -lt 12 ]; do sleep 0.05; done; printf '\\003'; sleep 20) | script -qefc '" .. words .. "' /dev/null" }, {
      timeout = E.patience(60), env = { LUA_PATH = env.LUA_PATH, LUA_CPATH = env.LUA_CPATH, TERM = "xterm" },
    }))
    r = assert(handle:wait())
    assert.equal(130, r.exit_code, r.stdout)
    assert.matches("ending; Ctrl%-C once more kills what runs", r.stdout)
    assert.matches("interrupted; to go on:", r.stdout)
    assert.is_nil(states_of(journal).running)
  end)

  E.each(describe, "with sandboxes", function(kind)
    local script = "import time, moonsand\ntime.sleep(0.5)\nmoonsand.result({'v': moonsand.params()['x']})\n"

    local function sweep_words(journal)
      return "sweep", write("trial.py", script), "--param", "x=1:30:1", "--objective", "v", "--journal", journal,
        "--jobs", "2", "--engine", E.url[kind], "--image", E.image
    end

    it("once finishes what runs, and nothing is left", function()
      local before = #E.containers(kind)
      local journal = ("%s/box-%s.jsonl"):format(dir, kind)
      local handle, send = started(sweep_words(journal))
      wait_for(journal, 6)
      send "INT"
      local r = assert(handle:wait())
      assert.equal(130, r.exit_code, r.stderr)
      local states = states_of(journal)
      assert.is_nil(states.running)
      assert.is_nil(states.failed)
      assert.equal(before, #E.containers(kind))
    end)

    it("twice kills, nothing is left, and resume does the rest", function()
      local before = #E.containers(kind)
      local journal = ("%s/box-twice-%s.jsonl"):format(dir, kind)
      local handle, send = started(sweep_words(journal))
      wait_for(journal, 6)
      send "INT"
      moonsand.sleep(0.05)
      send "INT"
      local r = assert(handle:wait())
      assert.equal(130, r.exit_code, r.stderr)
      assert.equal(before, #E.containers(kind))
      local words = { sweep_words(journal) }
      words[#words + 1] = "--resume"
      local status, out, err = run(table.unpack(words))
      assert.equal(0, status, err)
      assert.matches("30 complete, 0 failed", out)
      assert.equal(30, #assert(moonsand.study(journal)))
      assert.equal(before, #E.containers(kind))
    end)
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
