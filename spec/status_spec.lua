-- Every status, made to happen by a real program in a real container.
local engines = require "spec.support.engines"

engines.each(describe, "status", function(kind)
  local box

  before_each(function()
    box = engines.box(kind, { timeout = 20 })
  end)

  it("ok, with bytes kept exactly", function()
    local r = assert(box:run { code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 3)" })
    assert.equal("ok", r.status)
    local all = {}
    for i = 0, 255 do
      all[#all + 1] = string.char(i)
    end
    assert.equal(table.concat(all):rep(3), r.stdout)
    assert.equal(768, r.stdout_bytes)
    assert.is_false(r.stdout_truncated)
  end)

  it("ok, with bytes kept exactly, when the program makes its stdout a pipe of packets", function()
    local r = assert(box:run { code = [[
import fcntl, os
fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_DIRECT)
for i in range(2000):
    os.write(1, bytes([65 + i % 26]) * 4096)
]] })
    local want = {}
    for i = 0, 1999 do
      want[#want + 1] = string.char(65 + i % 26):rep(4096)
    end
    assert.equal("ok", r.status, r.reason)
    assert.is_true(table.concat(want) == r.stdout)
  end)

  it("exit with the exact code, 137 included", function()
    for _, code in ipairs { 1, 2, 77, 124, 125, 126, 127, 128, 137, 255 } do
      local r = assert(box:run { argv = { "python3", "-c", "import os; os._exit(" .. code .. ")" } })
      assert.equal("exit", r.status)
      assert.equal(code, r.exit_code)
      assert.equal(0, r.signal)
    end
  end)

  it("signal", function()
    local r = assert(box:run { code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)" })
    assert.equal("signal", r.status)
    assert.equal(15, r.signal)
    r = assert(box:run { code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)" })
    assert.equal("signal", r.status)
    assert.equal(9, r.signal)
  end)

  it("output_limit, with exactly the limit kept", function()
    local small = engines.box(kind, { stdout = "64k", timeout = 20 })
    local r = assert(small:run { code = "while True: print('x' * 1000)" })
    assert.equal("output_limit", r.status)
    assert.equal(65536, #r.stdout)
    assert.is_true(r.stdout_truncated)
  end)

  it("cancelled, with the partial output", function()
    local h = assert(box:start { code = "import time\nprint('here', flush=True)\ntime.sleep(60)" })
    h:wait(1.5)
    h:cancel()
    local r = assert(h:wait())
    assert.equal("cancelled", r.status)
    assert.equal("here\n", r.stdout)
    assert.is_true(r.wall_s < 10)
  end)

  it("a child that is out of memory does not make the program oom", function()
    local r = assert(engines.box(kind, { memory = "64m", disk = "8m", timeout = 20 }):run { code = [[
import subprocess, sys
hog = "x = bytearray(200 * 1024 * 1024)\nfor i in range(0, len(x), 4096): x[i] = 1"
p = subprocess.run([sys.executable, "-c", hog])
print(p.returncode)
]] })
    assert.equal("ok", r.status)
    assert.equal("-9\n", r.stdout)
    assert.is_true(r.oom_kills >= 1)
  end)

  it("a daemon that holds stdout open does not hang the run", function()
    local r = assert(box:run { code = [[
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
time.sleep(0.2)
print("parent done")
]] })
    assert.equal("ok", r.status)
    assert.equal("parent done\n", r.stdout)
    assert.is_true(r.stragglers_killed >= 1)
    assert.is_true(r.wall_s < 5)
  end)

  it("a fork bomb meets the process limit and ends", function()
    local r = assert(engines.box(kind, { pids = 32, timeout = 3 }):run { code = [[
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
]] })
    assert.equal("timeout", r.status)
    assert.is_true(r.pids_refused > 0)
    assert.is_true(r.finish_s < engines.patience(3), "clean-up took " .. r.finish_s)
  end)

  it("nothing that the program prints is taken for a frame", function()
    local r = assert(box:run { code = [[
import os, struct, sys
fake = struct.pack(">BBBBI", 0x8c, 0, 0, 0, 13) + struct.pack(">BIQ", 42, 8, 0)
docker = struct.pack(">BBBBI", 1, 0, 0, 0, len(fake)) + fake
for fd in (1, 2):
    os.write(fd, fake + docker)
for fd in range(3, 64):
    try:
        os.write(fd, fake)
        print("wrote to", fd)
    except OSError:
        pass
for path in ("/proc/1/fd/1", "/proc/1/mem", "/proc/1/environ"):
    try:
        open(path, "wb" if "environ" not in path else "rb")
        print("opened", path)
    except OSError:
        pass
try:
    os.kill(1, 9)
except OSError:
    pass
os._exit(3)
]] })
    assert.equal("exit", r.status)
    assert.equal(3, r.exit_code)
    assert.is_nil(r.stdout:find("wrote to", 1, true))
    assert.is_nil(r.stdout:find("opened", 1, true))
    assert.equal(21 * 2 + 8, #r.stderr)
  end)

  it("says when the program is not in the image", function()
    local r, err = box:run { argv = { "no-such-program" } }
    assert.is_nil(r)
    assert.equal("exec", err.code)
    assert.matches("no-such-program", tostring(err), 1, true)
  end)
end)
