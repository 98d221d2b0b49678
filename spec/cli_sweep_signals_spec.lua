--- What Ctrl-C, and SIGTERM, leave of a sweep.
local C = require "spec.support.sweep_cli"
local E = require "spec.support.engines"
local command = require "moonsand.command"
local moonsand = require "moonsand"

local env, plain_sweep, read, run, write = C.env, C.plain_sweep, C.read, C.run, C.write
local dir

setup(function()
  dir = C.begin()
end)

teardown(C.finish)

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

  --- Twice, while trials run that would take far longer than this waits: they are killed, as the journal says.
  local function killed(handle, send, journal)
    send "INT"
    moonsand.sleep(0.1)
    send "INT"
    local began = moonsand.monotonic()
    local r = assert(handle:wait())
    assert.is_true(moonsand.monotonic() - began < E.patience(20), "they were waited for")
    assert.equal(130, r.exit_code, r.stderr)
    for _, trial in ipairs(assert(moonsand.study(journal)):trials()) do
      if trial.params.x <= 4 then
        assert.equal("complete", trial.state)
      else
        assert.same({ "failed", "cancelled" }, { trial.state, trial.reason })
      end
    end
  end

  it("kills with a second one, and resume works after it", function()
    local journal, seconds = dir .. "/twice.jsonl", write("twice.seconds", "60")
    local file = write("twice.lua", ([[
local moonsand = require "moonsand"
local seconds = tonumber(io.open(%q):read "a")
return {
  space = { x = moonsand.range(1, 20) }, objective = "v", jobs = 2,
  executor = { run = function(_, trial, hooks)
    local task = moonsand.spawn(moonsand.sleep, trial.params.x <= 4 and 0 or seconds)
    hooks.started(task)
    return pcall(task.wait, task) and { status = "ok", value = { v = trial.params.x } } or { status = "cancelled" }
  end },
}]]):format(seconds))
    local handle, send = started("sweep", file, "--journal", journal)
    wait_for(journal, 11)
    killed(handle, send, journal)
    assert.same({ complete = 4, failed = 2 }, states_of(journal))
    write("twice.seconds", "0")
    local status, out, err = run("sweep", file, "--journal", journal, "--resume")
    assert.equal(0, status, err)
    assert.matches("20 trials in .*20 complete, 0 failed", out)
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
    local script = "import time, moonsand\ntime.sleep(%s)\nmoonsand.result({'v': moonsand.params()['x']})\n"

    local function sweep_words(journal, seconds)
      return "sweep", write("trial.py", script:format(seconds)), "--param", "x=1:30:1", "--objective", "v",
        "--journal", journal, "--jobs", "2", "--engine", E.url[kind], "--image", E.image
    end

    it("once finishes what runs, and nothing is left", function()
      local before = #E.containers(kind)
      local journal = ("%s/box-%s.jsonl"):format(dir, kind)
      local handle, send = started(sweep_words(journal, "0.5"))
      wait_for(journal, 6)
      send "INT"
      local r = assert(handle:wait())
      assert.equal(130, r.exit_code, r.stderr)
      local states = states_of(journal)
      assert.is_nil(states.running)
      assert.is_nil(states.failed)
      assert.equal(before, #E.containers(kind))
    end)

    it("twice kills, and nothing is left", function()
      local before = #E.containers(kind)
      local journal = ("%s/box-twice-%s.jsonl"):format(dir, kind)
      local handle, send = started(sweep_words(journal, "60 if moonsand.params()['x'] > 4 else 0"))
      wait_for(journal, 11)
      killed(handle, send, journal)
      assert.same({ complete = 4, failed = 2 }, states_of(journal))
      assert.equal(before, #E.containers(kind))
    end)
  end)
end)

describe("Ctrl-C in a sweep that never waits", function()
  --- Trials that take so long, one after the other, as a step of the loop does.
  local function busy_sweep(name, seconds, more)
    return write(name .. ".lua", ([[
local moonsand = require "moonsand"
return {
  space = { n = moonsand.range(1, 60) }, objective = "n", %s
  executor = moonsand.executors.noop { f = function(p)
    local due = moonsand.monotonic() + %g
    while moonsand.monotonic() < due do end
    return { n = p.n }
  end },
}]]):format(more or "", seconds))
  end

  --- One signal after the other, as soon as there are so many lines.
  local function interrupted(file, journal, lines, ...)
    local handle, send = started("sweep", file, "--journal", journal)
    wait_for(journal, lines)
    for _, signal in ipairs { ... } do
      send(signal)
      moonsand.sleep(0.1) -- two of a kind that wait are one
    end
    local began = moonsand.monotonic()
    local r = assert(handle:wait())
    assert.is_true(moonsand.monotonic() - began < E.patience(20), "it went on")
    return r
  end

  it("is heard between two trials", function()
    local journal = dir .. "/busy.jsonl"
    local r = interrupted(busy_sweep("busy", 0.2), journal, 4, "INT")
    assert.equal(130, r.exit_code, r.stderr)
    local states = states_of(journal)
    assert.is_nil(states.running)
    assert.is_true(states.complete < 60)
  end)

  for _, sampler in ipairs { "grid", "random", "latin" } do
    it("is heard while " .. sampler .. " finds no point that where wants", function()
      local journal = ("%s/where-%s.jsonl"):format(dir, sampler)
      local r = interrupted(write("where-" .. sampler .. ".lua", ([[
local moonsand = require "moonsand"
return {
  space = { n = moonsand.range(1, 10 ^ 12) }, objective = "n", max_trials = 10,
  where = function(p) return p.n == 1 end, sampler = { name = "%s", patience = 10 ^ 9 },
  executor = moonsand.executors.noop { f = function(p) return { n = p.n } end },
}]]):format(sampler)), journal, sampler == "grid" and 3 or 1, "TERM")
      assert.equal(130, r.exit_code, r.stderr)
      assert.same(sampler == "grid" and { complete = 1 } or {}, states_of(journal))
    end)
  end

  it("ends the process with the third one when nothing comes to look", function()
    local r = interrupted(busy_sweep("stuck", 600), dir .. "/stuck.jsonl", 2, "INT", "INT", "INT")
    assert.equal(2, r.signal, r.stderr)
  end)
end)

describe("core.catch_signals", function()
  it("ends with its state", function()
    local r = assert(command.run({ "lua5.4", "-e", [[
first = setmetatable({}, { __gc = function() os.execute "kill -TERM $PPID" end })
-- Collected in the opposite order: the state is nearly closed when the first is.
require "moonsand.core".catch_signals(true)]] }, { timeout = E.patience(20), env = env }))
    assert.equal(15, r.signal, r.stderr)
  end)
end)
