-- The seven tests of the Python orchestrator that moonsand replaces, by name.
local engines = require "spec.support.engines"

engines.each(describe, "predecessor", function(kind)
  it("Simple execution", function()
    local r = assert(engines.box(kind):run { code = "print('Hello from Docker')\nprint(f'2+2 = {2+2}')" })
    assert.equal("ok", r.status)
    assert.equal(0, r.exit_code)
    assert.equal("Hello from Docker\n2+2 = 4\n", r.stdout)
    assert.equal("", r.stderr)
  end)

  it("Error handling", function()
    local r = assert(engines.box(kind):run { code = "raise ValueError('This is a test error')" })
    assert.equal("exit", r.status)
    assert.equal(1, r.exit_code)
    assert.matches("ValueError: This is a test error", r.stderr, 1, true)
  end)

  it("Resource limits: 0.5 CPU is what a busy program gets", function()
    local r = assert(engines.box(kind, { timeout = 20 }):run { code = [[
import time
wall, cpu = time.monotonic(), time.process_time()
while time.monotonic() - wall < 2.5:
    pass
print((time.process_time() - cpu) / (time.monotonic() - wall))
]] })
    assert.equal("ok", r.status)
    local share = tonumber(r.stdout)
    assert.is_true(share > 0.35 and share < 0.6, "CPU share was " .. r.stdout)
  end)

  it("Resource limits: an allocation of 600 MB ends as oom", function()
    local r = assert(engines.box(kind):run { code = [[
print('before')
block = bytearray(600 * 1024 * 1024)
for i in range(0, len(block), 4096):
    block[i] = 1
print('after')
]] })
    assert.equal("oom", r.status)
    assert.equal(9, r.signal)
    assert.is_true(r.oom_kills >= 1)
    assert.equal("before\n", r.stdout)
  end)

  it("Network isolation", function()
    local r = assert(engines.box(kind):run { code = [[
import socket
try:
    socket.create_connection(("8.8.8.8", 53), timeout=3)
    print("connected")
except OSError as e:
    print("OSError", e.errno)
]] })
    assert.equal("ok", r.status)
    assert.matches("^OSError", r.stdout)
  end)

  it("Mini strategy", function()
    local r = assert(engines.box(kind):run { code = [[
class Strategy:
    def __init__(self, prices, period):
        self.prices, self.period = prices, period
    def sma(self):
        return sum(self.prices[-self.period:]) / self.period
    def signal(self):
        last = self.prices[-1]
        return f"Signal: {'BUY' if last > self.sma() else 'SELL'} at {last}"
print(Strategy([100, 102, 101, 105, 107, 110], 5).signal())
]] })
    assert.equal("ok", r.status)
    assert.equal("Signal: BUY at 110\n", r.stdout)
  end)

  it("Timeout", function()
    local r = assert(engines.box(kind, { timeout = 5 }):run { code = [[
import time
print("begun", flush=True)
time.sleep(60)
]] })
    assert.equal("timeout", r.status)
    assert.equal("begun\n", r.stdout)
    assert.is_true(r.wall_s >= 5 and r.wall_s < 5.3, "ended after " .. r.wall_s)
    assert.is_true(r.finish_s < engines.patience(0.3), "told after " .. r.finish_s)
  end)

  it("Multiple runs leave nothing behind", function()
    local box = engines.box(kind)
    assert(box:run { code = "print(0)" })
    engines.settle(kind)
    collectgarbage()
    local containers, descriptors = #engines.containers(kind), engines.open_descriptors()
    for i = 1, 5 do
      local r = assert(box:run { code = "print(" .. i .. ")" })
      assert.equal(i .. "\n", r.stdout)
    end
    assert.equal(0, engines.settle(kind))
    collectgarbage()
    assert.is_true(#engines.containers(kind) <= containers)
    local after = engines.open_descriptors()
    -- curl keeps a few idle connections for reuse; they do not add up
    assert.is_true(after <= descriptors + 2, descriptors .. " descriptors became " .. after)
    local volumes = assert(engines.engine(kind):request { method = "GET", path = "/volumes" })
    assert.equal(0, type(volumes.Volumes) == "table" and #volumes.Volumes or 0)
  end)
end)
