-- Tasks and waiting, without an engine.
local moonsand = require "moonsand"
local sched = require "moonsand.sched"
local engines = require "spec.support.engines"

local function sleeper(seconds, value)
  return function()
    moonsand.sleep(seconds)
    return value
  end
end

describe("spawn", function()
  it("gives back what the function returned, nils included", function()
    local task = moonsand.spawn(function(...)
      moonsand.sleep(0.01)
      return nil, select("#", ...), nil
    end, 1, nil)
    local t = table.pack(task:wait())
    assert.equal(3, t.n)
    assert.equal(2, t[2])
    assert.is_true(task:done())
  end)

  it("runs side by side", function()
    local began = moonsand.monotonic()
    local tasks = {}
    for i = 1, 10 do
      tasks[i] = moonsand.spawn(sleeper(0.1, i))
    end
    for i = 1, 10 do
      assert.equal(i, tasks[i]:wait())
    end
    assert.is_true(moonsand.monotonic() - began < engines.patience(0.5))
  end)

  it("reports an error where it is waited for, as it was raised, each time", function()
    local value = { "mine" }
    local task = moonsand.spawn(function()
      moonsand.sleep(0.01)
      error(value)
    end)
    for _ = 1, 2 do
      local ok, err = pcall(task.wait, task)
      assert.is_false(ok)
      assert.equal(value, err)
    end
    assert.matches("sched_spec", task.traceback)
  end)

  it("an error that nobody waits for becomes a warning, not silence", function()
    local f = assert(io.popen([[LUA_PATH="]] .. package.path .. [[" LUA_CPATH="]] .. package.cpath ..
      [[" lua5.4 -W -e 'require"moonsand".spawn(error, "lost words")' 2>&1]]))
    local text = f:read "a"
    f:close()
    assert.matches("lost words", text)
  end)

  it("waits with a time limit, and the task goes on", function()
    local task = moonsand.spawn(sleeper(0.15, "end"))
    local value, err = task:wait(0.02)
    assert.is_nil(value)
    assert.equal("timeout", err.code)
    assert.equal("end", task:wait(5))
  end)

  it("waits inside tasks, nested, with and without a limit", function()
    local inner = moonsand.spawn(sleeper(0.05, "inner"))
    local outer = moonsand.spawn(function()
      local _, err = inner:wait(0.01)
      return err.code, inner:wait()
    end)
    local code, value = outer:wait()
    assert.equal("timeout", code)
    assert.equal("inner", value)
  end)

  it("a task that waits for itself is told so", function()
    local task
    task = moonsand.spawn(function()
      moonsand.sleep(0.01)
      task:wait()
    end)
    assert.has_error(function()
      task:wait()
    end)
  end)

  it("cancel closes what is to be closed and raises cancelled", function()
    local closed = false
    local task = moonsand.spawn(function()
      local _ <close> = setmetatable({}, {
        __close = function()
          closed = true
        end,
      })
      moonsand.sleep(60)
    end)
    task:cancel()
    assert.is_true(closed)
    local ok, err = pcall(task.wait, task)
    assert.is_false(ok)
    assert.equal("cancelled", err.code)
    task:cancel()
  end)

  it("a yield of somebody else's is a pause", function()
    local task = moonsand.spawn(function()
      coroutine.yield()
      coroutine.yield "x"
      return "through"
    end)
    assert.equal("through", task:wait(5))
  end)

  it("a coroutine of the user's inside a task drives the loop itself", function()
    local task = moonsand.spawn(function()
      local f = coroutine.wrap(function()
        moonsand.sleep(0.02)
        coroutine.yield "from inside"
      end)
      return f()
    end)
    assert.equal("from inside", task:wait(5))
  end)

  it("yields across pcall and metamethods", function()
    local slow = setmetatable({}, {
      __index = function(_, k)
        moonsand.sleep(0.01)
        return k .. "!"
      end,
    })
    local task = moonsand.spawn(function()
      return select(2, pcall(function()
        return slow.hello
      end))
    end)
    assert.equal("hello!", task:wait(5))
  end)

  it("raises for what is no function", function()
    assert.has_error(function()
      moonsand.spawn(5)
    end)
  end)
end)

describe("map", function()
  it("keeps the order and never has more than n at once", function()
    local now, most = 0, 0
    local results, errs = moonsand.map({ 5, 4, 3, 2, 1 }, 2, function(item, i)
      now = now + 1
      most = math.max(most, now)
      moonsand.sleep(item / 100)
      now = now - 1
      return item * 10 + i
    end)
    assert.same({ 51, 42, 33, 24, 15 }, results)
    assert.is_nil(errs)
    assert.equal(2, most)
  end)

  it("keeps nil, err apart, without holes", function()
    local results, errs = moonsand.map({ 1, 2, 3 }, 3, function(i)
      moonsand.sleep(0.01)
      if i == 2 then
        return nil, "no"
      end
      return i
    end)
    assert.same({ 1, false, 3 }, results)
    assert.same({ [2] = "no" }, errs)
  end)

  it("an error ends the others and comes out, at once", function()
    local closed, began = 0, moonsand.monotonic()
    local ok, err = pcall(moonsand.map, { 1, 2, 3, 4 }, 3, function(i)
      local _ <close> = setmetatable({}, {
        __close = function()
          closed = closed + 1
        end,
      })
      moonsand.sleep(i == 2 and 0.02 or 60)
      error("in " .. i, 0)
    end)
    assert.is_false(ok)
    assert.equal("in 2", err)
    assert.equal(3, closed)
    assert.is_true(moonsand.monotonic() - began < engines.patience(5))
  end)

  it("works inside a task, and on an empty list", function()
    assert.same({}, (moonsand.map({}, 4, error)))
    local task = moonsand.spawn(function()
      return (moonsand.map({ 1, 2 }, 2, function(i)
        moonsand.sleep(0.01)
        return i
      end))
    end)
    assert.same({ 1, 2 }, task:wait(5))
  end)

  it("refuses nonsense", function()
    for _, args in ipairs { { {}, 0, print }, { {}, 1.5, print }, { 5, 1, print }, { {}, 1, 5 } } do
      assert.has_error(function()
        moonsand.map(args[1], args[2], args[3])
      end)
    end
  end)
end)

--- Runs a program as a script of its own, below a shell command's words; returns what it printed.
local function script(words, program)
  local name = os.tmpname()
  local f = assert(io.open(name, "w"))
  f:write(program)
  f:close()
  local p = assert(io.popen(('LUA_PATH="%s" LUA_CPATH="%s" %s lua5.4 %s'):format(
    package.path, package.cpath, words, name)))
  local text = p:read "a"
  p:close()
  os.remove(name)
  return text
end

describe("Ctrl-C", function()
  it("cancels the tasks and comes out of the wait as interrupted!", function()
    -- sh starts background programs with SIGINT ignored; lua5.4 sets its own handler all the same
    local text = script("timeout -s INT 0.5", [[
      local moonsand = require "moonsand"
      local closed = 0
      for _ = 1, 3 do
        moonsand.spawn(function()
          local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
          moonsand.sleep(60)
        end)
      end
      print "waiting"
      io.stdout:flush()
      local ok, err = pcall(moonsand.sleep, 60)
      print(ok, tostring(err), closed)
    ]])
    assert.matches("waiting\nfalse\t.*interrupted!\t3\n", text)
  end)
end)

describe("other signals", function()
  -- luv handles SIGCHLD, and here SIGCONT and SIGWINCH; a plain wait is none of their business.
  it("do not end a wait: children, stops, the terminal's size", function()
    local text = script("", [[
      local moonsand, uv = require "moonsand", require "luv"
      for _, name in ipairs { "sigcont", "sigwinch" } do
        uv.new_signal():start(name, print)
      end
      local kicks = ("sleep 0.1; kill -WINCH $0; kill -STOP $0; sleep 0.1; kill -CONT $0"):gsub("$0", uv.os_getpid())
      assert(uv.spawn("sh", { args = { "-c", kicks } }, function() end))
      local began = moonsand.monotonic()
      print(pcall(moonsand.sleep, 0.5))
      print(moonsand.monotonic() - began >= 0.5)
    ]])
    assert.equal("true\ntrue\n", text)
  end)
end)

describe("timers", function()
  it("fire once, and not when forgotten", function()
    local fired = 0
    sched.later(0.01, function()
      fired = fired + 1
    end)
    sched.forget(sched.later(0.01, function()
      fired = fired + 10
    end))
    moonsand.sleep(0.05)
    assert.equal(1, fired)
  end)
end)
