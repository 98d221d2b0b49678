--- Pools and the memory of the machine: containers that live at once, those with a run too, get four fifths of it.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

engines.each(describe, "the memory of the machine", function(kind)
  local facts

  setup(function()
    facts = engines.engine(kind):facts()
  end)

  after_each(function()
    assert.equal(0, engines.settle(kind))
  end)

  --- So much that `most` containers fit, and not one more.
  local function box(most, options)
    local o = { image = engines.image, memory = facts.memory_bytes * 4 // 5 // most, disk = "8m", timeout = 30 }
    for k, v in pairs(options) do
      o[k] = v
    end
    return engines.engine(kind):sandbox(o)
  end

  local function most_alive(pool, f)
    local most, over = 0, false
    local watcher = moonsand.spawn(function()
      while not over do
        local s = pool:stats()
        most = math.max(most, s.ready + s.busy + s.starting)
        moonsand.sleep(0.02)
      end
    end)
    f()
    over = true
    watcher:wait()
    return most
  end

  it("bounds how many live, and what waits has its turn", function()
    for most, runs in pairs { [3] = 7, [1] = 3 } do
      local b <close> = assert(box(most, { pool = math.min(most, 2) }))
      local out
      local alive = most_alive(b.pool, function()
        out = moonsand.map({ 1, 2, 3, 4, 5, 6, 7 }, 7, function(i)
          return i <= runs and assert(b:run { code = "import time; time.sleep(0.7); print(" .. i .. ")" }).stdout or nil
        end)
      end)
      for i = 1, runs do
        assert.equal(i .. "\n", out[i])
      end
      assert.equal(most, alive)
    end
  end)

  it("is asked before a pool is made or made larger", function()
    local b, err = box(3, { pool = 4 })
    assert.is_nil(b)
    assert.equal("unsupported", err.code)
    assert.matches("4 containers with %d+ MiB of memory each do not fit .* give at most 3, or each of them less memory",
      err.message)
    b, err = box(1, { mode = "fork", workers = 2 })
    assert.is_nil(b)
    assert.equal("unsupported", err.code)
    local good <close> = assert(box(3, { pool = 1 }))
    local ok
    ok, err = good.pool:resize(4)
    assert.is_nil(ok)
    assert.equal("unsupported", err.code)
    assert.equal(1, good.pool:stats().workers)
    assert.is_true(good.pool:resize(3))
    assert.equal(3, good.pool:stats().workers)
  end)

  it("has room for one container always", function()
    local b <close> = assert(engines.engine(kind):sandbox {
      image = engines.image, memory = facts.memory_bytes, mode = "fork", timeout = 20,
    })
    for key in ("abc"):gmatch "." do
      assert.equal(key .. "\n", assert(b:run({ code = "print('" .. key .. "')", trust_key = key })).stdout)
    end
  end)
end)
