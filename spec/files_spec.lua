-- Files in, stdin, streams, artefacts and the value out.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

engines.each(describe, "files", function(kind)
  local box

  before_each(function()
    box = engines.box(kind, { timeout = 30 })
  end)

  it("go in as text and from the host's disk", function()
    local path = os.tmpname()
    local f = assert(io.open(path, "wb"))
    f:write("from disk\0x")
    f:close()
    local r = assert(box:run {
      code = "import sys\nsys.stdout.buffer.write(open('d/a.txt','rb').read() + open('b.bin','rb').read())",
      files = { ["d/a.txt"] = { data = "text " }, ["b.bin"] = path },
    })
    os.remove(path)
    assert.equal("text from disk\0x", r.stdout)
  end)

  it("stdin as a string, larger than every buffer on the way", function()
    local data = ("0123456789abcdef"):rep(200000)
    local r = assert(box:run {
      code = "import sys,hashlib\nd=sys.stdin.buffer.read()\nprint(len(d), hashlib.sha256(d).hexdigest()[:8])",
      stdin = data,
    })
    assert.equal("ok", r.status)
    assert.matches("^3200000 ", r.stdout)
  end)

  it("stdin as a function", function()
    local n = 0
    local r = assert(box:run {
      code = "import sys\nfor l in sys.stdin: print(int(l) * 2)",
      stdin = function()
        n = n + 1
        return n <= 3 and n .. "\n" or nil
      end,
    })
    assert.equal("2\n4\n6\n", r.stdout)
  end)

  it("no stdin is end of file", function()
    local r = assert(box:run { code = "import sys; print(repr(sys.stdin.read()))" })
    assert.equal("''\n", r.stdout)
  end)

  it("streams reach the callbacks while the program runs", function()
    local got, errs, first = {}, {}, nil
    local r = assert(box:run {
      code = [[
import sys, time
for i in range(3):
    print(i, flush=True)
    print("e", i, file=sys.stderr, flush=True)
    time.sleep(0.3)
]],
      on_stdout = function(piece)
        first = first or moonsand.monotonic()
        got[#got + 1] = piece
      end,
      on_stderr = function(piece)
        errs[#errs + 1] = piece
      end,
    })
    local last = moonsand.monotonic()
    assert.equal("0\n1\n2\n", table.concat(got))
    assert.equal("e 0\ne 1\ne 2\n", table.concat(errs))
    assert.is_true(last - first > 0.5)
    assert.equal(6, r.stdout_bytes)
  end)

  it("an error in a callback ends the run and comes out of wait", function()
    assert.has_error(function()
      box:run {
        code = "import time\nprint(1, flush=True)\ntime.sleep(30)",
        on_stdout = function()
          error("mine", 0)
        end,
      }
    end, "mine")
  end)

  it("artefacts come out, hostile ones do not", function()
    local r = assert(box:run { code = [[
import os, json
out = os.environ["MOONSAND_OUTPUT"]
os.chdir(out)
os.mkdir("sub")
open("sub/equity.csv", "w").write("day,equity\n1,100\n")
open("empty", "w")
os.symlink("/etc/passwd", "link")
os.symlink("/proc/self", "dirlink")
import socket; socket.socket(socket.AF_UNIX).bind("socket")
open("bad\nname", "w").write("x")
json.dump({"sharpe": 1.5, "trades": 3}, open(os.environ["MOONSAND_RESULT"], "w"))
]] })
    assert.equal("ok", r.status, r.stderr)
    assert.equal("day,equity\n1,100\n", r:artefact("sub/equity.csv").data)
    assert.equal("", r:artefact("empty").data)
    assert.is_nil(r:artefact "link")
    local why = {}
    for _, x in ipairs(r.rejected_artefacts) do
      why[x.reason] = (why[x.reason] or 0) + 1
    end
    assert.equal(2, why.symlink)
    assert.equal(1, why.special)
    assert.equal(1, why.name)
    assert.equal(1.5, r.value.sharpe)

    local dir = os.tmpname()
    os.remove(dir)
    assert(r:save(dir))
    local f = assert(io.open(dir .. "/sub/equity.csv"))
    assert.equal("day,equity\n1,100\n", f:read "a")
    f:close()
    os.execute("rm -r " .. dir)
  end)

  it("an output directory swapped for a link gives nothing of the link's target", function()
    local r = assert(box:run { code = [[
import os, shutil
shutil.rmtree("/tmp/out", ignore_errors=True)
os.symlink("/etc", "/tmp/out")
]] })
    assert.equal("ok", r.status)
    assert.equal(0, #r.artefacts)
  end)

  it("variables take the place of ours, whoever reads them", function()
    local shell = assert(box:run { code = "echo $HOME $TMPDIR", language = "sh", env = { HOME = "/tmp/work" } })
    assert.equal("/tmp/work /tmp\n", shell.stdout)
    local r = assert(box:run {
      code = "print(open('/proc/self/environ', 'rb').read().count(b'HOME='))",
      env = { HOME = "/tmp/work" },
    })
    assert.equal("1\n", r.stdout)
  end)

  it("parameters stand in $MOONSAND_PARAMS", function()
    local r = assert(box:run {
      code = "import json, os\nprint(json.load(open(os.environ['MOONSAND_PARAMS']))['fast'])",
      params = { fast = 10 },
    })
    assert.equal("10", (r.stdout:gsub("%.0", ""):gsub("%s", "")))
  end)
end)
