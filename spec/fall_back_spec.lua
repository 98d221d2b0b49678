--- Fork mode where forks cannot be kept apart: each run gets a container, and whoever waits for the pool is not told
--- of a failure. The real agent on a real engine is brought to it from inside: the preload script forbids the process
--- that forks both of its ways, namespaces and Landlock, by a seccomp filter, as a strict kernel would.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"
local sweep_box = require "moonsand.cli.sweep_box"

local forbid = { code = [[
import ctypes, os, struct
CALLS = { "x86_64": (435, 272, 444), "aarch64": (435, 97, 444) }[os.uname().machine] # clone3 unshare landlock
code = [struct.pack("HBBI", 0x20, 0, 0, 0)]                              # the call's number
for at, nr in enumerate(CALLS):
    code.append(struct.pack("HBBI", 0x15, len(CALLS) - at, 0, nr))
code += [struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000), struct.pack("HBBI", 0x06, 0, 0, 0x00050001)] # or EPERM
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
text = b"".join(code)
program = Program(len(code), text)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program)) == 0, os.strerror(ctypes.get_errno())
]] }

engines.each(describe, "fork mode that is not possible", function(kind)
  local events

  before_each(function()
    events = {}
  end)

  after_each(function()
    assert.equal(0, engines.settle(kind))
  end)

  local function options(more)
    local o = {
      image = engines.image, mode = "fork", workers = 2, preload_script = forbid, memory = "128m", disk = "16m",
      timeout = 20, on_pool = function(event)
        events[#events + 1] = event
      end,
    }
    for k, v in pairs(more or {}) do
      o[k] = v
    end
    return o
  end

  local function seen(type)
    local n = 0
    for _, event in ipairs(events) do
      n = n + (event.type == type and 1 or 0)
    end
    return n
  end

  it("gives each run a container, and to those that wait a pool that is ready", function()
    local box <close> = engines.box(kind, options())
    assert(box.pool:wait_ready(engines.patience(60)))
    local s = box.pool:stats()
    assert.same({ "container", "none", true, 2, 0 }, { s.mode, s.tier, s.fell_back, s.ready, s.failed })
    assert.same({ 1, 0 }, { seen "fell_back", seen "failed" })
    for _, event in ipairs(events) do
      if event.type == "fell_back" then
        assert.equal("isolation", event.error.code)
        assert.matches("fork mode is not possible here", event.error.message, 1, true)
      end
    end
    local first, second = assert(box:run { code = "print(1)" }), assert(box:run { code = "print(2)" })
    assert.same({ "1\n", "2\n" }, { first.stdout, second.stdout })
    assert.are_not.equal(first.container, second.container)
    assert.equal("container", first.isolation.mode)
    assert.matches("fork mode is not possible", first.isolation.fell_back, 1, true)
  end)

  it("is refused, to runs and to those that wait, where something is required", function()
    local box <close> = engines.box(kind, options { require = "landlock" })
    local ok, err = box.pool:wait_ready(engines.patience(60))
    assert.is_nil(ok)
    assert.equal("isolation", err.code)
    ok, err = box:run { code = "print(1)" }
    assert.is_nil(ok)
    assert.equal("isolation", err.code)
    assert.is_true(seen "fell_back" == 0 and seen "failed" >= 1)
  end)

  it("lets a sweep of the command line go on, with a note", function()
    local notes = {}
    local o = options()
    o.workers, o.on_pool = nil, nil
    local box <close> = sweep_box.open(engines.engine(kind), { jobs = 2, quiet = true, preload = {} },
      { code = "pass" }, o, function(line)
        notes[#notes + 1] = line
      end)
    assert.equal(1, #notes)
    assert.matches("each trial gets a container of its own", notes[1], 1, true)
    local study = assert(moonsand.sweep {
      code = "import moonsand\nmoonsand.result({'v': moonsand.params()['a']})", objective = "v",
      space = { a = { 1, 2, 3 } },
    }:run(box))
    assert.equal(3, #study)
    assert.equal(3, study:best().value)
  end)
end)

engines.each(describe, "waiting for containers that are used once", function(kind)
  it("counts those that wait for a run, not those that have one", function()
    local box <close> = engines.box(kind, { pool = 2, memory = "64m", disk = "8m", shm = "1m", timeout = 30 })
    assert(box.pool:wait_ready(engines.patience(60)))
    local handles = {}
    for i = 1, 2 do
      handles[i] = assert(box:start { code = "import time; time.sleep(20)" })
    end
    while box.pool:stats().busy < 2 do
      assert(box.engine:wait(1))
      assert(box.engine:step())
    end
    assert(box.pool:wait_ready(engines.patience(60)))
    local s = box.pool:stats()
    assert.same({ 2, 2 }, { s.ready, s.busy })
    for _, handle in ipairs(handles) do
      handle:cancel()
      assert.equal("cancelled", assert(handle:wait()).status)
    end
    assert.equal(0, engines.settle(kind))
  end)
end)
