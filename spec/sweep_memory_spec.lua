--- What a sweep keeps of trials that are not kept: each sweep in a process of its own, whose memory is nobody else's.
-- Plain build only: with a sanitizer the memory of a process is mostly that of the sanitizer
local moonsand = require "moonsand"

local PROGRAM = [[
local moonsand = require "moonsand"
local kind, count, journal = arg[1], tonumber(arg[2]), arg[3]

local function resident()
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmRSS:%s+(%d+)"
    if kib then
      return tonumber(kib)
    end
  end
end

local asked = 0
local samplers = {
  latin = { name = "latin", points = count },
  own = { ask = function()
    asked = asked + 1
    return { n = asked, x = 0.5 }
  end },
}
local heap, rss, heap_end, most = nil, nil, nil, 0
local sweep = moonsand.sweep {
  space = kind == "grid" and { n = moonsand.range(1, count), x = 0.5 }
    or { n = moonsand.integers(1, 1 << 40), x = moonsand.uniform(0, 1) },
  sampler = samplers[kind] or kind, objective = "v", max_trials = count, keep = false, journal = journal,
  on_trial = function(trial)
    assert(trial.state == "complete" and #trial.series.equity == 100, trial.message)
    if trial.number % 1000 == 0 then
      collectgarbage()
      collectgarbage()
      heap_end = collectgarbage "count"
      heap, rss = heap or heap_end, rss or resident()
      most = math.max(most, resident())
    end
  end,
}
assert(sweep:run(moonsand.executors.noop { f = function(p)
  local equity = {}
  for i = 1, 100 do
    equity[i] = i * p.x
  end
  return { v = p.x * p.n, text = ("x"):rep(200) .. p.n, equity = equity }
end }))
print(("%.0f %d %d"):format(heap_end - heap, most - rss, most))
]]

describe("a sweep that does not keep its trials", function()
  local dir

  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -m 700 " .. dir))
    assert(io.open(dir .. "/p.lua", "w")):write(PROGRAM):close()
  end)

  teardown(function()
    os.execute("rm -rf " .. dir)
  end)

  -- KiB that Lua's heap, and the process, may grow by from the 1000th trial on. tpe learns from all of its trials, and
  -- of an own sampler's, which may ask for the same again, some results are remembered: a few MiB.
  for kind, case in pairs {
    grid = { 3000, 64, 4096 }, random = { 3000, 64, 4096 }, sobol = { 6000, 6144, 12288 },
    latin = { 3000, 4096, 12288 }, own = { 3000, 4096, 12288 }, tpe = { 2000, 1024, 6144 },
  } do
    it("does not grow by them: " .. kind, function()
      local p = assert(io.popen(("lua5.4 %s/p.lua %s %d %s/%s.jsonl"):format(dir, kind, case[1], dir, kind)))
      local heap, grown, most = p:read("a"):match "^(%-?%d+) (%-?%d+) (%d+)"
      assert.is_true(p:close())
      assert.is_true(tonumber(heap) < case[2], ("Lua's heap is %s KiB larger"):format(heap))
      assert.is_true(tonumber(grown) < case[3], ("the process is %s KiB larger"):format(grown))
      assert.is_true(tonumber(most) < 64 * 1024, ("the process has %s KiB"):format(most))
    end)
  end

  it("takes over a result without its series, and the value that came of them", function()
    local ran, ended = 0, {}
    local asked = 0
    assert(moonsand.sweep { space = { n = { 1, 2 } }, keep = false, sampler = { ask = function()
      asked = asked + 1
      return asked <= 3 and { n = 1 } or nil
    end }, objective = function(_, trial)
      return trial.series.equity[2]
    end, on_trial = function(trial)
      ended[#ended + 1] = { trial.value, trial.metrics.m, trial.cached, trial.series and #trial.series.equity }
    end }:run(moonsand.executors.noop { f = function(p)
      ran = ran + 1
      return { m = "x" .. p.n, equity = { 5, 7 } }
    end }))
    assert.same({ 1, { 7, "x1", nil, 2 }, { 7, "x1", true }, { 7, "x1", true } }, { ran, table.unpack(ended) })
  end)

  it("remembers no more of what programs say than it should", function()
    local ran, asked = 0, 0
    local text = ("x"):rep(1000)
    assert(moonsand.sweep { space = { n = moonsand.range(1, 100) }, keep = false, sampler = { ask = function()
      asked = asked + 1
      return asked <= 42 and { n = asked <= 40 and asked or asked == 41 and 40 or 1 } or nil
    end }, objective = "v" }:run(moonsand.executors.noop { f = function(p)
      ran = ran + 1
      local result = { v = p.n }
      for i = 1, 200 do
        result["m" .. i] = text
      end
      return result
    end }))
    assert.equal(41, ran) -- the 40th is known when it is asked for again, the first is forgotten
  end)
end)
