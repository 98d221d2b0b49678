--- examples/sweeps as they stand, and the figures that others have published for one of them.
-- Plain build only: builds the preset, with the C of image_build_spec
local E = require "spec.support.engines"
local command = require "moonsand.command"
local json = require "moonsand.json"
local moonsand = require "moonsand"

local declaration = moonsand.images.backtesting { backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6" }
local dir

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  assert(os.execute("mkdir " .. dir))
end)

teardown(function()
  os.execute("rm -rf " .. dir)
end)

local function run(words, more, cwd)
  local env = { LUA_PATH = package.path, LUA_CPATH = package.cpath }
  for k, v in pairs(more or {}) do
    env[k] = v
  end
  local r = assert(command.run(words, { timeout = E.patience(280), env = env, cwd = cwd }))
  return r.exit_code, r.stdout, r.stderr
end

local function sweep(kind, what, ...)
  return run({ "lua5.4", "bin/moonsand", "sweep", "examples/sweeps/" .. what, "--engine", E.url[kind], ... },
    { MOONSAND_IMAGE = E.image })
end

--- Every point once, and what is known of the best; the same in every version 0.6 of the package.
local function check_grid(journal)
  local study = assert(moonsand.study(journal))
  local seen, count = {}, 0
  for _, trial in ipairs(study) do
    local name = trial.params.n1 .. "," .. trial.params.n2
    assert.equal("complete", trial.state, trial.message)
    assert.is_nil(seen[name], name .. " ran twice")
    assert.is_true(trial.params.n1 < trial.params.n2)
    seen[name], count = true, count + 1
  end
  assert.equal(50, count)
  local best = study:best()
  assert.same({ n1 = 10, n2 = 15 }, best.params)
  assert.is_true(math.abs(best.value - 77829.05462) < 1e-5, best.value)
  assert.equal(152, best.metrics["# Trades"])
  assert.is_true(math.abs(best.metrics["Return [%]"] - 678.2905462) < 1e-6)
  assert.is_true(math.abs(best.metrics["Max. Drawdown [%]"] + 44.55387069) < 1e-7)
  assert.equal(2148, #best.series.equity)
  assert.is_true(math.abs(best.series.equity[2148] - best.value) < 1e-6)
end

-- What the plugin csv has written: the trials in the order in which they ended.
local function check_csv(path)
  local file = assert(io.open(path))
  assert.equal("number,state,reason,attempts,wall_s,value,message,n1,n2,# Trades,Max. Drawdown [%]", file:read "l")
  local seen, count = {}, 0
  for line in file:lines() do
    local number, attempts, value, n1, n2, trades, drawdown =
      line:match "^(%d+),complete,,(%d+),[%d.]+,([%d.]+),,(%d+),(%d+),(%d+),(%-[%d.]+)$"
    assert.truthy(number, line)
    assert.is_true(tonumber(attempts) <= 3, line)
    assert.is_nil(seen[number], line)
    seen[number], count = true, count + 1
    if n1 == "10" and n2 == "15" then
      assert.is_true(math.abs(tonumber(value) - 77829.05462) < 1e-5, line)
      assert.equal("152", trades)
      assert.is_true(math.abs(tonumber(drawdown) + 44.55387069) < 1e-7, line)
    end
  end
  file:close()
  assert.equal(50, count)
end

local function no_index(err)
  return err:find("the package index cannot be reached", 1, true) ~= nil
end

describe("the sweep of a moving average crossover on GOOG", function()
  it("has the known best of 50, from a file, with a report and a CSV file", function()
    local journal, report, root = dir .. "/grid.jsonl", dir .. "/grid.html", os.getenv "PWD"
    -- From a directory of its own, where its files go.
    local status, out, err = run({ "lua5.4", root .. "/bin/moonsand", "sweep", root .. "/examples/sweeps/grid.lua",
      "--engine", E.url.docker, "--journal", journal },
      { MOONSAND_IMAGE = E.image, LUA_PATH = (package.path:gsub("%./", root .. "/")) }, dir)
    if no_index(err) then
      return pending "no package index can be reached"
    end
    assert.equal(0, status, err)
    assert.matches("\n +%d+ +complete +77829%.05 +10 +15 ", out)
    check_grid(journal)
    check_csv(dir .. "/grid.csv")
    local page = assert(io.open(report))
    assert.is_true(#page:read "a" > 100000)
    page:close()
  end)

  it("has it from the command line alone", function()
    local image, err = E.engine("podman"):image(declaration, { ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE" })
    if not image and err.code == "unreachable" then
      return pending("no package index can be reached: " .. err.message)
    end
    assert(image, err)
    local journal = dir .. "/words.jsonl"
    local status, out, errors = sweep("podman", "sma_cross.py", "--image", image.ref, "--param", "n1=5:25:5", "--param",
      "n2=10:65:5", "--where", "n1<n2", "--objective", "Equity Final [$]", "--journal", journal, "--json")
    assert.equal(0, status, errors)
    local answer = json.decode(out)
    assert.equal(50, answer.complete)
    assert.equal(50, answer.total)
    assert.is_false(answer.interrupted)
    check_grid(journal)
  end)
end)

describe("the examples of sweeps", function()
  it("prune what does badly", function()
    local journal = dir .. "/pruning.jsonl"
    local status, out, err = sweep("docker", "pruning.lua", "--image", E.image, "--journal", journal, "--json")
    assert.equal(0, status, err)
    local answer = json.decode(out)
    assert.equal(60, answer.done)
    assert.equal(0, answer.failed)
    assert.is_true(answer.pruned >= 10, answer.pruned)
    assert.is_true(answer.complete >= 10, answer.complete)
    local seen, whole = {}, 0
    for _, trial in ipairs(assert(moonsand.study(journal))) do
      local name = json.encode(trial.params)
      assert.is_nil(seen[name])
      seen[name] = true
      assert.is_true(trial.params.fast < trial.params.slow)
      -- One that was quicker than its end is complete, with the reports until then.
      assert.is_true(#trial.reports >= 5 and #trial.reports <= 20, #trial.reports)
      assert.equal(2000, trial.reports[1].step)
      whole = whole + (#trial.reports == 20 and 1 or 0)
      assert.equal(trial.state == "complete", trial.value ~= nil)
    end
    assert.is_true(whole >= 10, whole) -- the first ten have nobody to be compared with
  end)

  it("have a sampler and a policy of their own", function()
    local journal = dir .. "/own.jsonl"
    local status, out, err = sweep("docker", "own.lua", "--image", E.image, "--journal", journal, "--json")
    assert.equal(0, status, err)
    local answer = json.decode(out)
    assert.equal(40, answer.complete, out)
    assert.is_true(answer.best.value > 80, answer.best.value)
    local attempts = 0
    for _, trial in ipairs(assert(moonsand.study(journal))) do
      attempts = attempts + trial.attempts
    end
    assert.is_true(attempts > 40, "none was tried again")
  end)

  it("have an image of their own", function()
    local status, out, err = sweep("docker", "own_image.lua", "--no-journal", "--json")
    assert.equal(0, status, err)
    local answer = json.decode(out)
    assert.equal(answer.done, answer.complete)
    assert.is_true(answer.best.value < -1.5, answer.best.value)
    assert.is_true(answer.best.value >= -1.8996)
    assert.is_true(answer.done == 50 or answer.ended_by == "target")
  end)

  it("walk forward", function()
    local report = dir .. "/walk.html"
    local status, out, err = run({ "lua5.4", "examples/sweeps/walkforward.lua", E.url.docker, report })
    if no_index(err) then
      return pending "no package index can be reached"
    end
    assert.equal(0, status, err)
    for i, window in ipairs {
      "rows 0 to 1000 choose n1=10, n2=30 with 327.8 %; on rows 1000 to 1250 these earn -23.1 %",
      "rows 250 to 1250 choose n1=5, n2=30 with 173.9 %; on rows 1250 to 1500 these earn 4.0 %",
      "rows 500 to 1500 choose n1=5, n2=30 with 121.6 %; on rows 1500 to 1750 these earn 22.5 %",
      "rows 750 to 1750 choose n1=5, n2=30 with 151.1 %; on rows 1750 to 2000 these earn -24.1 %",
    } do
      assert.truthy(out:find(("window %d: %s\n"):format(i, window), 1, true), out)
    end
    assert.truthy(out:find("28 trials; mean in-sample 193.6 %, out-of-sample -5.2 %", 1, true), out)
    assert(io.open(report)):close()
  end)

  it("are a guest in luv's loop", function()
    local status, out, err = run({ "lua5.4", "examples/sweeps/luv.lua", E.url.docker }, { MOONSAND_IMAGE = E.image })
    assert.equal(0, status, err)
    local ticks = out:match "15 trials, (%d+) ticks meanwhile; best 24675%.30 with fast=20, slow=200\n"
    assert.truthy(ticks, out)
    assert.is_true(tonumber(ticks) >= 5, ticks)
  end)
end)
