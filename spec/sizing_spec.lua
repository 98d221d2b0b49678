-- How many workers fit a machine, and who gets them when several pools share it. No engine.
local budget = require "moonsand.budget"
local sizing = require "moonsand.sizing"

local gib = 1 << 30

local function want(cpus, memory, workers)
  return { cpus = cpus, memory = memory, workers = workers or "auto" }
end

local function one(cpus, memory_bytes, ...)
  return sizing.share({ cpus = cpus, memory_bytes = memory_bytes }, { want(...) })[1]
end

describe("a pool alone", function()
  it("has as many workers as keep the processors busy", function()
    assert.equal(4, one(2, 64 * gib, 0.5, gib))
    assert.equal(2, one(2, 64 * gib, 1, gib))
    assert.equal(7, one(2, 64 * gib, 0.3, gib)) -- rounded up: the last one gets what is left
    assert.equal(20, one(2, 64 * gib, 0.1, gib)) -- 0.1 is not quite a tenth
    assert.equal(2, one(3, 64 * gib, 2, gib))
  end)

  it("has no more than four fifths of the memory hold", function()
    assert.equal(4, one(16, 10 * gib, 1, 2 * gib))
    assert.equal(3, one(16, 10 * gib, 1, 2 * gib + 1))
    assert.equal(8, one(16, 10 * gib, 1, gib))
  end)

  it("has one at least", function()
    assert.equal(1, one(1, gib, 1, 4 * gib))
    assert.equal(1, one(1, 64 * gib, 4, gib))
    assert.equal(1, one(0, 0, 1, gib))
  end)

  it("has what it asks for when that is a number", function()
    assert.equal(9, one(2, gib, 1, 4 * gib, 9))
  end)
end)

describe("pools together", function()
  local machine = { cpus = 8, memory_bytes = 20 * gib }

  it("share the processors evenly", function()
    assert.same({ 4, 4 }, sizing.share(machine, { want(1, gib), want(1, gib) }))
    assert.same({ 2, 8 }, sizing.share(machine, { want(2, gib), want(0.5, gib) }))
    assert.same({ 3, 3, 2 }, sizing.share(machine, { want(1, gib), want(1, gib), want(1, gib) }))
  end)

  it("leave to others what they cannot use", function()
    assert.same({ 1, 7 }, sizing.share(machine, { want(1, 8 * gib), want(1, gib) }))
  end)

  it("take given numbers out first", function()
    assert.same({ 6, 2 }, sizing.share(machine, { want(1, gib, 6), want(1, gib) }))
    assert.same({ 1, 9 }, sizing.share(machine, { want(1, gib), want(1, gib, 9) }))
    assert.same({ 15, 1 }, sizing.share(machine, { want(0.1, gib, 15), want(0.1, gib) }))
  end)
end)

describe("the threads of a run", function()
  it("are as many as its processors, rounded up", function()
    for cpus, threads in pairs { [0.1] = "1", [0.5] = "1", [1] = "1", [1.5] = "2", [2] = "2", [7.01] = "8" } do
      local env = sizing.environment(cpus)
      assert.equal(threads, env.OMP_NUM_THREADS, cpus)
      assert.equal(threads, env.OPENBLAS_NUM_THREADS, cpus)
      assert.equal(threads, env.MKL_NUM_THREADS, cpus)
    end
  end)
end)

describe("the budget of a machine", function()
  local facts

  before_each(function()
    facts = {
      ["local"] = true, endpoint = "unix:///a", kernel = "spec " .. tostring({}), cpus = 8, memory_bytes = 20 * gib,
    }
  end)

  local function join(f, wish, alive)
    local told = {}
    local share = budget.join(f, wish, function(count)
      told[#told + 1] = count
    end, alive or function()
      return true
    end)
    return share, told
  end

  it("is shared anew when a pool comes, changes or goes", function()
    local a, told_a = join(facts, want(1, gib))
    assert.equal(8, a.count)
    assert.equal(4, budget.preview(facts, want(1, gib)))
    assert.equal(8, a.count)
    local b, told_b = join(facts, want(1, gib))
    assert.equal(4, b.count)
    assert.same({ 4 }, told_a)
    assert.same({}, told_b)
    b:change(6)
    assert.same({ 4, 2 }, told_a)
    assert.same({ 6 }, told_b)
    b:change "auto"
    assert.same({ 4, 2, 4 }, told_a)
    b:leave()
    b:leave()
    assert.same({ 4, 2, 4, 8 }, told_a)
    a:leave()
  end)

  it("is that of the machine, whatever engine it is reached by", function()
    local other = setmetatable({ endpoint = "unix:///b" }, { __index = facts })
    local far = setmetatable({ ["local"] = false, endpoint = "tcp://far:2376" }, { __index = facts })
    local a = join(facts, want(1, gib))
    local b = join(far, want(1, gib))
    assert.equal(8, b.count)
    local c = join(other, want(1, gib))
    assert.same({ 4, 8, 4 }, { a.count, b.count, c.count })
    for _, share in ipairs { a, b, c } do
      share:leave()
    end
  end)

  it("gets back what pools of a closed engine, and forgotten ones, had", function()
    local open = true
    local a = join(facts, want(1, gib))
    local b = join(facts, want(1, gib), function()
      return open
    end)
    assert.same({ 4, 4 }, { a.count, b.count })
    open = false
    budget.settle()
    assert.equal(8, a.count)
    join(facts, want(1, gib))
    assert.equal(4, a.count)
    collectgarbage()
    collectgarbage()
    budget.settle()
    assert.equal(8, a.count)
    a:leave()
  end)
end)
