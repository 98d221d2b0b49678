-- Programs that mean harm, each with what must come of it: a catalogue, one entry a trick.
local engines = require "spec.support.engines"

--- name, options of the sandbox, status, what is printed (a pattern), reasons of refused artefacts, program.
local catalogue = {
  { "leaves as many zombies as it can", {}, "ok", "^12%d\n$", {}, [[
import os
for i in range(100000):
    try:
        if os.fork() == 0: os._exit(0)
    except OSError:
        break
print(i)]] },
  { "stops itself", { timeout = 1 }, "timeout", "^$", {}, "import os; os.kill(os.getpid(), 19)" },
  { "sends every signal to process 1", {}, "ok", "^still\n$", {}, [[
import os
for s in range(1, 65):
    try: os.kill(1, s)
    except OSError: pass
print("still")]] },
  { "floods memory that is no file of any mount", { memory = "64m", disk = "8m" }, "oom", "^$", {}, [[
import os
while True: os.write(os.memfd_create("x"), b"x" * (1 << 24))]] },
  { "fills /tmp and /dev/shm, and sends children against the memory limit", { memory = "64m", disk = "8m" }, "ok",
    "^alive\n$", {}, [[
import os
for path in ("/tmp/f", "/dev/shm/f"):
    try:
        with open(path, "wb") as f:
            while True: f.write(b"x" * 65536); f.flush()
    except OSError: pass
for i in range(10):
    if os.fork() == 0:
        x = bytearray(b"1" * (1 << 26)); os._exit(0)
while True:
    try: os.wait()
    except ChildProcessError: break
print("alive")]] },
  { "reads its own output back", {}, "ok", "x100000$", {}, [[
import os
f = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
os.write(1, b"x" * 100000)
try: n = len(os.read(f, 1 << 20))
except OSError: n = 0
os.write(1, b"x" * n + b"100000")]] },
  { "writes to both outputs without end", { stdout = "64k" }, "output_limit", "^x+$", {}, [[
import os
while True: os.write(1, b"x" * 65536); os.write(2, b"y" * 65536)]] },
  { "leaves files without end", { memory = "32m", disk = "8m" }, nil, nil, { count = 1 }, [[
import os
try:
    for i in range(10 ** 6): open(os.environ["MOONSAND_OUTPUT"] + "/%d" % i, "w").close()
except OSError: pass]] },
  { "leaves directories without end", {}, "ok", "^$", { name = 1 }, [[
import os
os.chdir(os.environ["MOONSAND_OUTPUT"])
for i in range(2000): os.mkdir("d"); os.chdir("d")]] },
  { "leaves names that are no text, and one too long", {}, "ok", "^$", { name = 4 }, [[
import os
os.chdir(os.environ["MOONSAND_OUTPUT"])
for n in (b"\xff\xfe", b"a\\b", "\u009b31m".encode(), b"\n"): open(n, "wb").close()
open(b"..." + b"a" * 252, "wb").close()]] },
  { "leaves links, holes, sockets and what cannot be read", {}, "ok", "^$",
    { symlink = 2, size = 1, special = 1, unreadable = 2 }, [[
import os, socket
os.chdir(os.environ["MOONSAND_OUTPUT"])
os.symlink("/etc/passwd", "link"); os.symlink("loop", "loop")
for n in ("hole", "hole2"):
    with open(n, "wb") as f: f.truncate(40 << 20)
socket.socket(socket.AF_UNIX).bind("socket")
open("closed", "w").close(); os.chmod("closed", 0)
os.mkdir("dir"); os.chmod("dir", 0)]] },
  { "has a link for its result", {}, "ok", "^$", { symlink = 1 },
    "import os; os.symlink('/etc/passwd', os.environ['MOONSAND_RESULT'])" },
  { "has a directory for its result", {}, "ok", "^$", { special = 1 },
    "import os; os.mkdir(os.environ['MOONSAND_RESULT'])" },
  { "has a result that is too large by a byte", {}, "ok", "^$", { size = 1 },
    "import os; open(os.environ['MOONSAND_RESULT'], 'w').write('1' * ((1 << 20) + 1))" },
}

engines.each(describe, "a program that", function(kind)
  for _, entry in ipairs(catalogue) do
    local name, given, status, out, reasons, program = table.unpack(entry, 1, 6)
    it(name, function()
      local options = { timeout = 20 }
      for k, v in pairs(given) do
        options[k] = v
      end
      local r = assert(engines.box(kind, options):run { code = program })
      if status then
        assert.equal(status, r.status, r.reason .. r.stderr)
        assert.matches(out, r.stdout)
      else
        assert.is_true(r.status == "ok" or r.status == "oom", tostring(r)) -- no inode limit: memory ends it
      end
      local why = {}
      for _, x in ipairs(r.rejected_artefacts) do
        why[x.reason] = (why[x.reason] or 0) + 1
        assert.is_nil(x.path:find "%c")
      end
      assert.same(reasons, why)
      assert.is_true(r.finish_s < 2, "told " .. r.finish_s .. " s after its end")
    end)
  end

  it("calls the kernel as a 32-bit program is ended by it", function()
    local r = assert(engines.box(kind):run { code = [[
import ctypes, mmap, platform
if platform.machine() != "x86_64": raise SystemExit(99)
m = mmap.mmap(-1, 4096, prot=7)
m.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))())]] })
    if r.exit_code == 99 then
      pending "only amd64 has such calls"
      return
    end
    assert.equal("signal", r.status)
    assert.equal(31, r.signal) -- SIGSYS
  end)
end)
