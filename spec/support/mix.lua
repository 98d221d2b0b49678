--- Good and hostile programs for many runs, each with what has to come of it. In every text, %d is the run's number:
--- what comes back has to be this run's own.
local M = {}

---@class moonsand.spec.Mixed
---@field code string
---@field status string
---@field exit_code integer?
---@field signal integer?
---@field stdout string? exactly
---@field timeout number?
---@field stdin string?
---@field value integer? times the run's number

---@type moonsand.spec.Mixed[]
M.good = {
  { code = "print(%d)", status = "ok", stdout = "%d\n" },
  { code = "import sys; print(sys.stdin.read())", stdin = "in %d", status = "ok", stdout = "in %d\n" },
  { code = "import json, os; json.dump(%d, open(os.environ['MOONSAND_RESULT'], 'w'))", status = "ok", value = 1 },
  { code = "import os; open('/tmp/f', 'w').write('x' * 100000); print(%d, os.listdir('.'))", status = "ok",
    stdout = "%d ['main.py']\n" },
  { code = "import random; random.seed(%d); a = random.random(); random.seed(%d); print(a == random.random(), %d)",
    status = "ok", stdout = "True %d\n" },
  { code = "import subprocess; print(subprocess.run(['echo', '%d'], capture_output=True, text=True).stdout, end='')",
    status = "ok", stdout = "%d\n" },
  { code = "import sys; print(%d); sys.exit(3)", status = "exit", exit_code = 3, stdout = "%d\n" },
  { code = "print(%d); raise ValueError", status = "exit", exit_code = 1, stdout = "%d\n" },
}

-- one in `of` runs
---@type (moonsand.spec.Mixed|{ of: integer })[]
M.hostile = {
  { of = 40, code = "import os; print(%d, flush=True); os.kill(os.getpid(), 9)", status = "signal", signal = 9,
    stdout = "%d\n" },
  { of = 40, code = "import ctypes; ctypes.string_at(0)", status = "signal", signal = 11, stdout = "" },
  { of = 40, code = "import os; print(%d, flush=True); os._exit(137)", status = "exit", exit_code = 137,
    stdout = "%d\n" },
  { of = 50, status = "ok", stdout = "%d\n", code = [[
import os, time
for i in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(60)
        os._exit(0)
print(%d)]] },
  { of = 50, status = "ok", stdout = "%d\n", code = [[
import os, signal
for s in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)
for p in [int(p) for p in os.listdir("/proc") if p.isdigit()] + list(range(1, 50)):
    if p != os.getpid():
        for s in (1, 2, 9, 15, 19):
            try: os.kill(p, s)
            except OSError: pass
print(%d)]] },
  { of = 50, status = "ok", stdout = "%d\n", code = [[
import os, resource
for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_SIGPENDING):
    for p in (1, os.getppid()):
        try: resource.prlimit(p, n, (0, 0))
        except (OSError, ValueError): pass
print(%d)]] },
  { of = 60, status = "ok", stdout = "%d\n", code = [[
import ctypes, os, sys
for name in ("/proc/self/mem", "/proc/1/mem", "/proc/1/fd/0", "/proc/2/mem", "/.moonsand/agent", "/proc/sys/vm/x"):
    try: os.write(os.open(name, os.O_RDWR), b"x" * 100)
    except OSError: pass
for fd in range(3, 64):
    try: os.write(fd, b"\1\2\3\4" * 100)
    except OSError: pass
ctypes.c_long.from_address(id(201) + 24).value = 7
print(%d)]] },
  { of = 100, status = "ok", stdout = "%d\n", code = [[
import os
for path in ("/tmp/f", "/dev/shm/f"):
    try:
        with open(path, "wb") as f:
            while True: f.write(b"x" * 65536); f.flush()
    except OSError: pass
print(%d)]] },
  { of = 100, status = "ok", stdout = "%d\n", code = [[
import json, os, random, sys
json.dumps = json.loads = random.random = None
os.environ.clear(); sys.path.clear(); sys.modules["os"] = None; os.umask(0o777); os.chdir("/")
print(%d)]] },
  { of = 200, status = "output_limit", code = "while True: print('x' * 60000)" },
  { of = 250, status = "timeout", stdout = "%d\n", timeout = 0.3,
    code = "import os, time\nprint(%d, flush=True)\nif os.fork() == 0: os.setsid()\nwhile True: time.sleep(9)" },
  { of = 500, status = "timeout", stdout = "", timeout = 0.3, code = "import os; os.kill(os.getpid(), 19)" },
  { of = 500, status = "ok", stdout = "%d\n", code = [[
import os, sys
try:
    while True:
        if os.fork() == 0:
            os.setsid(); sys.stdout = None
            import time; time.sleep(60)
except OSError: pass
print(%d)]] },
  { of = 2500, status = "oom", stdout = "%d\n", code = "print(%d, flush=True)\nx = bytearray(b'1' * (300 << 20))" },
}

--- The program of run i, with its number in place.
---@param i integer
---@return moonsand.spec.Mixed
function M.pick(i)
  local entry
  for k, hostile in ipairs(M.hostile) do
    if i % hostile.of == k then
      entry = hostile
      break
    end
  end
  entry = entry or M.good[i % #M.good + 1]
  local out = {}
  for name, value in pairs(entry) do
    out[name] = type(value) == "string" and value:gsub("%%d", tostring(i)) or value
  end
  return out
end

return M
