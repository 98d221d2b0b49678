-- Sweeps: what a trial costs that does nothing, beside Optuna; fifty backtests from the command line, beside fifty
-- interpreters without a sandbox; and what a hundred thousand trials need of memory and time.
--
-- Wants a package index, or the preset image of an earlier run; and root, for the bare interpreters. Optuna is
-- Debian's, with its random sampler and its journal file; both sides draw three parameters and keep one metric besides
-- the value. The bare interpreters run the same script with the same parameters in the image's files, unpacked, one
-- after the other.
local bench = require "bench.lib"
local json = require "moonsand.json"
local moonsand = require "moonsand"

local N = tonumber(os.getenv "MOONSAND_BENCH_TRIALS") or 2000 -- trials of each sample that do nothing
local MANY = tonumber(os.getenv "MOONSAND_BENCH_MANY") or 100000 -- trials that are streamed, and read again
local SLOW = tonumber(os.getenv "MOONSAND_BENCH_BUILDS") or 3 -- samples of what takes a minute
local SAMPLES = math.min(bench.samples, 10)

local work = io.popen("mktemp -d /tmp/moonsand-bench.XXXXXX"):read "l"
local _ <close> = setmetatable({}, { __close = function()
  bench.sh("rm -rf " .. work)
end })

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- What a program prints, as numbers.
local function numbers(line)
  local p = assert(io.popen(line))
  local out = {}
  for word in p:read("a"):gmatch "%S+" do
    out[#out + 1] = tonumber(word) or error(("%s printed %s"):format(line:sub(1, 100), word), 0)
  end
  assert(p:close(), "failed: " .. line:sub(1, 200))
  return table.unpack(out)
end

-- ---- a trial that does nothing ------------------------------------------------------------------------------------

local OURS, TASKS, OPTUNA =
  "moonsand, random, journal", "moonsand, the same, two at a time", "Optuna, random, journal file"

-- The result comes as what a program prints, to be parsed. With two jobs trials run in tasks, as those in boxes do.
local function our_trials(jobs)
  local path = work .. "/ours.jsonl"
  local sweep = moonsand.sweep {
    space = { x = moonsand.uniform(0, 1), n = moonsand.integers(1, 1000), kind = { "a", "b", "c" } },
    objective = "value", sampler = "random", seed = 1, max_trials = N, journal = path,
  }
  local executor = moonsand.executors.noop { jobs = jobs, f = function(p)
    return nil, { stdout = ('{"value": %.17g, "trades": %d}\n'):format(p.x * p.n, p.n) }
  end }
  local study
  local seconds = bench.timed(function()
    study = assert(sweep:run(executor))
  end)
  assert(#study == N and study:best().value > 900, "the trials are not what they should be")
  os.remove(path)
  return seconds / N
end

local one = bench.race({
  { name = OURS, run = function()
    return our_trials(1)
  end },
  { name = TASKS, run = function()
    return our_trials(2)
  end },
  { name = OPTUNA, run = function()
    return numbers(("/usr/bin/python3 -W ignore bench/optuna_peer.py %d %s/optuna.log"):format(N, work)) / N
  end },
}, SAMPLES)
local TRIAL = ("overhead of a trial, of %d, %d times"):format(N, SAMPLES)
for _, name in ipairs { OURS, TASKS, OPTUNA } do
  local s = one[name]
  bench.add_row(TRIAL, name, ("%.3f [%.3f-%.3f]"):format(s.median * 1e3, s.low * 1e3, s.high * 1e3), "ms",
    name == OPTUNA and one[OURS].median / s.median or nil, "<= 0.2")
end

-- ---- fifty backtests from the command line ------------------------------------------------------------------------

local docker = bench.engine "docker"
local image = assert(docker:image(moonsand.images.backtesting {
  backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6", from = bench.image,
}, { ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE" })).ref

local root = work .. "/root"
bench.sh(("mkdir -p %s; id=$(%s create %s true); %s export $id | tar -x -C %s; %s rm $id"):format(root,
  bench.cli.docker, image, bench.cli.docker, root, bench.cli.docker))
bench.sh(("mkdir -p %s/sweep/params %s/sweep/results"):format(root, root))
bench.sh(("cp examples/sweeps/sma_cross.py core/agent/python/moonsand.py %s/sweep/"):format(root))
for n1 = 5, 25, 5 do
  for n2 = 10, 65, 5 do
    if n1 < n2 then
      local f <close> = assert(io.open(("%s/sweep/params/%d-%d.json"):format(root, n1, n2), "w"))
      f:write(json.encode { n1 = n1, n2 = n2 })
    end
  end
end

--- Fifty interpreters, one after the other.
local bare = ("unshare -m sh -c 'mount --rbind /dev %s/dev; mount -t proc proc %s/proc; exec chroot %s /bin/sh "
  .. "/sweep/all.sh'"):format(root, root, root)
do
  local f <close> = assert(io.open(root .. "/sweep/all.sh", "w"))
  f:write [[
set -e
cd /sweep
export PYTHONDONTWRITEBYTECODE=1
for f in params/*.json; do
    MOONSAND_PARAMS=/sweep/$f MOONSAND_RESULT=/sweep/results/${f##*/} python3 sma_cross.py
done
]]
end

local function best_of_bare()
  local best, count = -math.huge, 0
  local p = assert(io.popen(("cat %s/sweep/results/*.json"):format(root)))
  for value in p:read("a"):gmatch '"Equity Final %[%$%]": *([%d.]+)' do
    best, count = math.max(best, tonumber(value)), count + 1
  end
  p:close()
  assert(count == 50, count .. " of 50 programs left a result")
  return best
end

local FIFTY = ("50 backtests of GOOG, of %d"):format(SLOW)
local words = ("lua5.4 bin/moonsand sweep examples/sweeps/sma_cross.py --param n1=5:25:5 --param n2=10:65:5 "
  .. "--where 'n1<n2' --objective 'Equity Final [$]' --engine %s --image %s -q"):format(bench.url.docker, image)
local bests = {}
local fifty = bench.race({
  { name = "moonsand sweep, with report", run = function()
    bench.sh(("rm -f %s/j.jsonl %s/j.html"):format(work, work))
    local seconds = bench.timed(function()
      bench.sh(("%s --journal %s/j.jsonl --report %s/j.html"):format(words, work, work))
    end)
    assert(io.open(work .. "/j.html")):close()
    local study = assert(moonsand.study(work .. "/j.jsonl"))
    assert(#study == 50)
    bests.ours = study:best().value
    return seconds
  end },
  { name = "bare python3, one by one", run = function()
    bench.sh(("rm -f %s/sweep/results/*"):format(root))
    local seconds = bench.timed(function()
      bench.sh(bare)
    end)
    bests.theirs = best_of_bare()
    return seconds
  end },
}, SLOW)
assert(math.abs(bests.ours - bests.theirs) < 1e-6 and math.abs(bests.ours - 77829.05462) < 1e-5, "the results differ")
bench.add_race(FIFTY, fifty, { "moonsand sweep, with report", "bare python3, one by one" },
  { ["bare python3, one by one"] = "<= 0.2" })

-- ---- a hundred thousand -------------------------------------------------------------------------------------------

-- In a process of its own, whose memory is nobody else's.
local streamed = [[
local bench_rss = function()
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmRSS:%s+(%d+)"
    if kib then return kib / 1024 end
  end
end
local moonsand = require "moonsand"
local count, path = tonumber(arg[1]), arg[2]
local begun, seen, most = 0, 0, 0
local sweep = moonsand.sweep {
  space = { x = moonsand.range(1, count), kind = "a" }, objective = "value", journal = path, keep = false,
  on_trial = function()
    seen = seen + 1
    if seen == 1000 then
      begun = bench_rss()
    elseif seen % 1000 == 0 then
      most = math.max(most, bench_rss())
    end
  end,
}
local began = moonsand.monotonic()
assert(sweep:run(moonsand.executors.noop { f = function(p)
  return { value = (p.x * 7919) % 104729, trades = p.x, ["Sharpe Ratio"] = p.x / 7 }
end }))
assert(seen == count, seen)
print(moonsand.monotonic() - began, begun, most)
]]

local read = [[
local moonsand = require "moonsand"
local count, path = tonumber(arg[1]), arg[2]
local began = moonsand.monotonic()
local study = assert(moonsand.study(path))
local loaded = moonsand.monotonic()
local top = study:top(100)
assert(#study == count and #top == 100 and top[1].value >= top[100].value)
print(loaded - began, moonsand.monotonic() - began)
]]

local function child(code)
  local f <close> = assert(io.open(work .. "/child.lua", "w"))
  f:write(code)
  f:close()
  return ("lua5.4 %s/child.lua %d %s"):format(work, MANY, quoted(work .. "/many.jsonl"))
end

local seconds, begun, most = numbers(child(streamed))
local MANY_ROW = ("%d trials, streamed"):format(MANY)
bench.add_row(MANY_ROW, "moonsand, a trial", ("%.3f"):format(seconds / MANY * 1e3), "ms", nil, "<= 0.2")
bench.add_row(MANY_ROW, "moonsand, RSS after 1000, at most after", ("%.1f, %.1f"):format(begun, most), "MiB", nil,
  "flat, < 64")

local loads, ranks = {}, {}
for i = 1, SLOW do
  loads[i], ranks[i] = numbers(child(read))
end
local READ = ("%d trials read from the journal, of %d"):format(MANY, SLOW)
bench.add_row(READ, "moonsand", ("%.2f"):format(bench.stats(loads).median), "s", nil, "< 2")
bench.add_row(READ, "moonsand, and ranked", ("%.2f"):format(bench.stats(ranks).median), "s", nil, "< 1")
