-- Intermediate reports: from the program through the agent to on_report, on real engines, in each mode; and programs
-- that mean harm by them.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

local modes = {
  { "container", {} },
  { "pool", { pool = 1 } },
  { "fork", { mode = "fork" } },
}

engines.each(describe, "reports", function(kind)
  for _, mode in ipairs(modes) do
    describe("in mode " .. mode[1], function()
      local box

      setup(function()
        local how = { timeout = 30 }
        for k, v in pairs(mode[2]) do
          how[k] = v
        end
        box = engines.box(kind, how)
      end)

      teardown(function()
        box:close()
        engines.settle(kind)
      end)

      local function run(given)
        local seen = {}
        local take = given.on_report
        given.on_report = function(report)
          seen[#seen + 1] = report
          return take and take(report)
        end
        local r = assert(box:run(given))
        if mode[1] == "fork" then
          assert.equal("fork", r.isolation.mode)
        end
        return r, seen
      end

      it("come while the program runs, in order, with their numbers", function()
        local first
        local r, seen = run {
          code = [[
import os, sys, time
with open(os.environ["MOONSAND_REPORTS"], "w") as f:
    print('{"step": 1, "loss": 0.5, "nan": NaN, "deep": {"list": [1, -Infinity]}}', file=f, flush=True)
    sys.stdin.readline()
    print('{"step": 2}', file=f, flush=True)
print("out")]],
          stdin = function()
            return not first and "" or nil -- ends when the first report is there: else the program waits for ever
          end,
          on_report = function(report)
            first = first or report
          end,
        }
        assert.equal("ok", r.status, r.stderr)
        assert.equal("out\n", r.stdout)
        assert.equal(2, #seen)
        assert.equal(1, seen[1].step)
        assert.equal("integer", math.type(seen[1].step))
        assert.equal(0.5, seen[1].loss)
        assert.is_true(seen[1].nan ~= seen[1].nan)
        assert.equal(-math.huge, seen[1].deep.list[2])
        assert.same({ step = 2 }, seen[2])
        assert.equal(2, r.reports)
        assert.equal(0, r.reports_dropped)
      end)

      it("are easy from a shell script", function()
        local r, seen = run { language = "sh", code = [[
for i in 1 2 3; do echo "{\"step\": $i}" >> "$MOONSAND_REPORTS"; done
printf '{"step": 4}' > $MOONSAND_REPORTS
]] }
        assert.equal("ok", r.status, r.stderr)
        assert.same({ { step = 1 }, { step = 2 }, { step = 3 }, { step = 4 } }, seen)
      end)

      it("end the run when the callback says so", function()
        local r, seen = run {
          code = [[
import os, time
print("begun", flush=True)
for i in range(1000):
    with open(os.environ["MOONSAND_REPORTS"], "w") as f: print('{"step": %d}' % i, file=f)
    time.sleep(.02)
print("went to its end")]],
          on_report = function(report)
            return report.step == 3 and "prune" or nil
          end,
        }
        assert.equal("cancelled", r.status)
        assert.equal("begun\n", r.stdout)
        assert.equal(4, #seen)
        assert.equal(3, seen[4].step)
      end)

      it("come out of wait() when the callback raises, or returns what makes no sense", function()
        local handle = assert(box:start {
          code = "import os, time\nopen(os.environ['MOONSAND_REPORTS'], 'w').write('{}\\n')\ntime.sleep(20)",
          on_report = function()
            error "no more"
          end,
        })
        local ok, err = pcall(handle.wait, handle)
        assert.is_false(ok)
        assert.matches("no more", tostring(err))
        handle = assert(box:start {
          code = "import os, time\nopen(os.environ['MOONSAND_REPORTS'], 'w').write('{}\\n')\ntime.sleep(20)",
          on_report = function()
            return "prun"
          end,
        })
        ok, err = pcall(handle.wait, handle)
        assert.is_false(ok)
        assert.matches('must return nil or "prune", got string', tostring(err), 1, true)
      end)

      it("are not there when nobody asked for them", function()
        local r = assert(box:run { code = [[
import os
print("MOONSAND_REPORTS" in os.environ)
for fd in range(3, 64):
    try: os.fstat(fd); print(fd)
    except OSError: pass]] })
        assert.equal("False\n", r.stdout, r.stderr)
        assert.equal(0, r.reports)
        assert.equal(0, r.reports_dropped)
      end)

      it("that are no JSON objects are dropped, and counted", function()
        local r, seen = run { code = [[
import os
f = os.open(os.environ["MOONSAND_REPORTS"], os.O_WRONLY)
for line in (b"hello", b"[1]", b"3", b"null", b'"{}"', b"{", b"{} {}", b"{NaN:1}", b"\0\0\0", b"\xff\xfe", b"{\0}",
             b'{"a":' * 100 + b"1" + b"}" * 100, b"x" * 70000, b'{"a":1e999}', b""):
    while line: line = line[os.write(f, line):]
    os.write(f, b"\n")
os.write(f, b'{"good":1}\n')]] }
        assert.equal("ok", r.status, r.stderr)
        assert.same({ { good = 1 } }, seen)
        assert.equal(1, r.reports)
        assert.equal(14, r.reports_dropped)
      end)

      it("have texts that can be shown", function()
        local r, seen = run { code = [[
import os
f = os.open(os.environ["MOONSAND_REPORTS"], os.O_WRONLY)
os.write(f, b'{"a\\u001b[31m":"\\u009b2J\\u202ex\\ny", "list": ["\\u0007b"], "raw": "\xff\x1bc"}\n')
os.write(f, b'{"long":"' + b"x" * 60000 + b'"}\n')]] }
        assert.equal("ok", r.status, r.stderr)
        assert.equal("2Jx y", seen[1]["a [31m"])
        assert.same({ "b" }, seen[1].list)
        assert.equal("\u{FFFD} c", seen[1].raw)
        assert.equal(4096 + 3, #seen[2].long)
      end)

      it("are bounded in number, and a flood of them does not hold up the verdict", function()
        local r, seen = run { code = [[
import os
b = b'{"x":1}\n' * 25000
f = os.open(os.environ["MOONSAND_REPORTS"], os.O_WRONLY)
while b: b = b[os.write(f, b):]
print("through")]] }
        assert.equal("ok", r.status, r.stderr)
        assert.equal("through\n", r.stdout)
        assert.equal(10000, #seen)
        assert.equal(10000, r.reports)
        assert.equal(15000, r.reports_dropped)
      end)

      it("are bounded in bytes, one by one and together", function()
        local r, seen = run { code = [[
import os
f = os.open(os.environ["MOONSAND_REPORTS"], os.O_WRONLY)
def put(b):
    while b: b = b[os.write(f, b):]
for i in range(300): put(b'{"x":"' + b"y" * 65528 + b'"}\n')
line = b"z" * (1 << 20)
for i in range(1024):
    put(line)
put(b"\n")
print("through")]] }
        assert.equal("ok", r.status, r.stderr)
        assert.equal("through\n", r.stdout)
        assert.equal(256, #seen)
        assert.equal(45, r.reports_dropped)
      end)

      it("of a child that outlives the program end with it", function()
        local r, seen = run { code = [[
import os, time
if os.fork() == 0:
    os.setsid()
    f = os.open(os.environ["MOONSAND_REPORTS"], os.O_WRONLY)
    while True: os.write(f, b'{"late":1}\n')
time.sleep(.2)
os._exit(5)]] }
        assert.equal("exit", r.status)
        assert.equal(5, r.exit_code)
        assert.is_true(#seen <= 10000)
        assert.equal(1, r.stragglers_killed)
        local after = run { code = "print('clean')" }
        assert.equal("clean\n", after.stdout)
        assert.equal(0, after.reports)
      end)

      it("of a program that closes the pipe, or reads it, harm nobody", function()
        local r = run { code = [[
import os
os.close(15)
try: open(os.environ["MOONSAND_REPORTS"], "w")
except OSError as e: print(e.strerror)]] }
        assert.equal("ok", r.status)
        assert.equal("No such file or directory\n", r.stdout)
        local seen
        r, seen = run { code = [[
import os
f = os.open(os.environ["MOONSAND_REPORTS"], os.O_RDWR | os.O_NONBLOCK)
for i in range(100):
    os.write(f, b'{"i":1}\n')
    try: os.read(f, 5)
    except BlockingIOError: pass
print("alive")]] }
        assert.equal("alive\n", r.stdout, r.stderr)
        assert.equal(r.reports, #seen)
      end)

      it("that look like frames of the agent are lines", function()
        local r = run { code = [[
import os, struct
f = os.open(os.environ["MOONSAND_REPORTS"], os.O_WRONLY)
os.write(f, struct.pack(">BxxxI", 0x8c, 0) + struct.pack(">BxxxI", 0x91, 1 << 20) + b"{}\n")
os._exit(9)]] }
        assert.equal("exit", r.status)
        assert.equal(9, r.exit_code)
        assert.equal(1, r.reports_dropped)
      end)

      it("survive the time limit and a kill", function()
        local r, seen = run {
          code = "import os, time\nopen(os.environ['MOONSAND_REPORTS'], 'w').write('{\"a\":1}\\n')\ntime.sleep(20)",
          timeout = 1,
        }
        assert.equal("timeout", r.status)
        assert.same({ { a = 1 } }, seen)
        r, seen = run {
          code = "import os\nopen(os.environ['MOONSAND_REPORTS'], 'w').write('{\"a\":1}\\n')\nos.kill(os.getpid(), 9)",
        }
        assert.equal("signal", r.status)
        assert.same({ { a = 1 } }, seen)
      end)
    end)
  end

  it("checks that on_report is a function", function()
    local box <close> = engines.box(kind)
    local ok, err = pcall(box.run, box, { code = "1", on_report = "x" })
    assert.is_false(ok)
    assert.matches("'on_report'", err)
    ok, err = pcall(box.run, box, { code = "1", on_raport = print })
    assert.is_false(ok)
    assert.matches("did you mean 'on_report'", err)
  end)

  it("keeps reports for a callback that waits for something else meanwhile", function()
    local box <close> = engines.box(kind, { timeout = 30 })
    local seen = {}
    local run = assert(box:start {
      code = "import os\nf = open(os.environ['MOONSAND_REPORTS'], 'w')\n"
        .. "for i in range(500): print('{\"i\":%d}' % i, file=f, flush=True)",
      on_report = function(report)
        seen[#seen + 1] = report.i
        if #seen == 1 then
          moonsand.sleep(0.5)
        end
      end,
    })
    local r = assert(run:wait(20))
    assert.equal("ok", r.status)
    assert.equal(500, #seen)
    for i = 1, 500 do
      assert.equal(i - 1, seen[i])
    end
  end)
end)
