-- Programs of this machine, as the Lua layer runs them.
local command = require "moonsand.command"
local core = require "moonsand.core"
local moonsand = require "moonsand"
local sched = require "moonsand.sched"

local function sh(script, options)
  return command.run({ "sh", "-c", script }, options)
end

describe("command.run", function()
  it("returns exit code and outputs", function()
    local r = assert(sh("cat; echo oops >&2; exit 4", { stdin = "a\0b" }))
    assert.same(
      { 4, 0, "a\0b", "oops\n", 3, false },
      { r.exit_code, r.signal, r.stdout, r.stderr, r.stdout_bytes, r.stdout_truncated }
    )
    r = assert(sh "kill -TERM $$")
    assert.same({ -1, 15 }, { r.exit_code, r.signal })
  end)

  it("passes environment and directory", function()
    local script = "echo $MS_A $PWD; command -v sh >/dev/null && echo path"
    local r = assert(sh(script, { env = { MS_A = "1" }, cwd = "/usr" }))
    assert.equal("1 /usr\npath\n", r.stdout)
  end)

  it("keeps a bounded part of the output", function()
    local r = assert(sh("head -c 100000 /dev/zero", { max_output = "1k" }))
    assert.same({ 1024, 100000, true, false }, { #r.stdout, r.stdout_bytes, r.stdout_truncated, r.stderr_truncated })
  end)

  it("streams without collecting", function()
    local n, errs = 0, ""
    local r = assert(sh("head -c 3000000 /dev/zero; echo x >&2", {
      on_stdout = function(piece)
        n = n + #piece
      end,
      on_stderr = function(piece)
        errs = errs .. piece
      end,
    }))
    assert.same({ 3000000, "x\n" }, { n, errs })
    assert.is_nil(r.stdout)
    assert.equal(3000000, r.stdout_bytes)
  end)

  it("raises what a callback raises, and ends the program", function()
    local pid
    local ok, err = pcall(sh, "echo $$; sleep 1000", {
      on_stdout = function(piece)
        pid = tonumber(piece)
        error("mine", 0)
      end,
    })
    assert.is_false(ok)
    assert.equal("mine", err)
    for _ = 1, 300 do
      if not core.stat("/proc/" .. pid) then
        break
      end
      moonsand.sleep(0.01)
    end
    assert.is_nil(core.stat("/proc/" .. pid))
  end)

  it("tells what does not exist, and what takes too long", function()
    local r, err = command.run { "moonsand-no-such-program" }
    assert.is_nil(r)
    assert.equal("not_found", err.code)
    r, err = command.run { "/" }
    assert.is_nil(r)
    assert.same({ "io", 13 }, { err.code, err.errno })
    local before = moonsand.monotonic()
    r, err = sh("sleep 1000", { timeout = "200ms" })
    assert.is_nil(r)
    assert.equal("timeout", err.code)
    assert.is_true(moonsand.monotonic() - before < 2)
  end)

  it("yields in tasks, and ends with a task that is cancelled", function()
    local before = moonsand.monotonic()
    local results = moonsand.map({ 1, 2, 3, 4 }, 4, function(i)
      return assert(sh("sleep 0.3; echo " .. i)).stdout
    end)
    assert.same({ "1\n", "2\n", "3\n", "4\n" }, results)
    assert.is_true(moonsand.monotonic() - before < 1.1)
    local pid
    local task = moonsand.spawn(function()
      return sh("echo $$; exec sleep 1000", {
        on_stdout = function(piece)
          pid = tonumber(piece)
        end,
      })
    end)
    while not pid do
      moonsand.sleep(0.01)
    end
    task:cancel()
    for _ = 1, 300 do
      if not core.stat("/proc/" .. pid) then
        break
      end
      moonsand.sleep(0.01)
    end
    assert.is_nil(core.stat("/proc/" .. pid))
    assert.is_false((pcall(task.wait, task)))
  end)

  it("cancels a handle", function()
    local c <close> = assert(command.start { "sleep", "1000" })
    local r, err = c:wait(0.05)
    assert.is_nil(r)
    assert.equal("timeout", err.code)
    c:cancel()
    r, err = c:wait()
    assert.is_nil(r)
    assert.equal("cancelled", err.code)
    assert.equal("moonsand.Command (sleep)", tostring(c))
  end)

  it("raises for misuse", function()
    for pattern, given in pairs {
      ["argv is a list"] = { {} },
      ["argv%[2%]"] = { { "sh", 5 } },
      ["argv%[1%]"] = { { "" } },
      ["NUL"] = { { "sh", "a\0b" } },
      ["did you mean 'timeout'"] = { { "sh" }, { timeut = 1 } },
      ["name of an environment variable"] = { { "sh" }, { env = { ["A=B"] = "1" } } },
      ["variable A"] = { { "sh" }, { env = { A = 1 } } },
      ["option 'stdin'"] = { { "sh" }, { stdin = 1 } },
    } do
      local ok, err = pcall(function()
        return (command.run(given[1], given[2]))
      end)
      assert.is_false(ok)
      assert.matches(pattern, err)
      assert.matches("command_spec", err, pattern)
    end
  end)
end)

describe("the core's command", function()
  it("is closed like any handle", function()
    local loop <close> = core.loop()
    local c = assert(loop:command { argv = { "sleep", "1000" } })
    assert.matches("%(running%)", tostring(c))
    assert.is_false(c:done())
    c:close()
    c:close()
    assert.matches("%(closed%)", tostring(c))
    assert.has_error(function()
      c:done()
    end, "attempt to use a closed command")
    assert.has_error(function()
      loop:command { argv = {} }
    end, "option 'argv' must name a program")
  end)

  it("ends with its loop", function()
    local loop = core.loop()
    local c = assert(loop:command { argv = { "sleep", "1000" } })
    local before = core.monotonic()
    loop:close()
    assert.is_true(core.monotonic() - before < 1)
    assert.matches("closed", tostring(c))
    c:close()
  end)

  it("waits while nobody takes what it says", function()
    local loop <close> = core.loop()
    local c <close> = assert(loop:command { argv = { "head", "-c", "9000000", "/dev/zero" }, stream_stdout = true })
    local e = core.monotonic() + 0.5
    while core.monotonic() < e do
      assert(loop:wait(0.05))
      assert(loop:step())
    end
    assert.is_false(c:done())
    local total, most = 0, 0
    e = core.monotonic() + 20
    while not c:done() and core.monotonic() < e do
      local piece = c:take() or ""
      total, most = total + #piece, math.max(most, #piece)
      assert(loop:wait(0.05))
      assert(loop:step())
    end
    total = total + #(c:take() or "")
    assert.equal(9000000, total)
    assert.is_true(most < 1500000, most)
    assert.equal(9000000, c:result().stdout_bytes)
  end)

  it("does not keep the collector from ending it", function()
    -- Its arguments are looked for: ps(1) waits for ever with a sanitizer's runtime loaded into it.
    local seconds = ("1%06d"):format(math.random(0, 999999))
    local function running()
      local p <close> = assert(io.popen(("grep -slzx '[1]%s' /proc/[0-9]*/cmdline"):format(seconds:sub(2))))
      return p:read "a" ~= ""
    end
    do
      local c = assert(sched.loop():command { argv = { "sleep", seconds } })
      assert.is_false(c:done())
      assert.is_true(running())
    end
    collectgarbage()
    collectgarbage()
    moonsand.sleep(0.1)
    assert.is_false(running())
  end)
end)

describe("core.sha256", function()
  it("is SHA-256", function()
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", core.sha256 "")
  end)
end)
