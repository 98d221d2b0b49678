-- Warm: forks of an interpreter that waits, and containers made ahead of time, beside what else starts a program.
--
-- Wants a package index, or the preset image of an earlier run; and root, for the peers without a container.
-- The limits are moonsand's own but for the CPUs, of which each container has one: at half a one, a fork mode that is
-- kept busy measures the kernel's bandwidth control. The peers run in the same image: docker run, docker-py,
-- docker exec and podman run in containers with the same limits; bubblewrap and the bare interpreter in the image's
-- files, unpacked; the bare fork in a container with the same limits, where a fork costs what it costs in fork mode.
-- A bare fork's time is taken by the interpreter that forks, so that nobody's transport is in it.
local bench = require "bench.lib"
local moonsand = require "moonsand"

local N = tonumber(os.getenv "MOONSAND_BENCH_WARM") or 200 -- samples of all that takes less than a second
local SLOW = tonumber(os.getenv "MOONSAND_BENCH_SLOW") or 50 -- and of what takes more
local MODULES = { "pandas", "numpy", "backtesting" }
local PLAIN = "print(2+2)"
local LOADED = "import pandas, numpy, backtesting; " .. PLAIN

local docker, podman = bench.engine "docker", bench.engine "podman"
local ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE"

local function preset(engine)
  return assert(engine:image(moonsand.images.backtesting {
    backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6", from = bench.image,
  }, { ca = ca })).ref
end

local image = preset(docker)
assert(preset(podman) == image, "the engines name the image differently")

-- ---- our side -----------------------------------------------------------------------------------------------------

local function sandbox(engine, options)
  local o = { image = image, cpus = 1, max_runs = options.mode == "fork" and 10000 or nil }
  for k, v in pairs(options) do
    o[k] = v
  end
  local box = assert(engine:sandbox(o))
  assert(box.pool:wait_ready(120))
  return box
end

local steps = {} -- contender -> step -> seconds of each run

--- A contender: from the call to the complete result, in a worker that is ready.
local function ours(name, box, code)
  return { name = name, run = function()
    assert(box.pool:wait_ready(60))
    local r
    local seconds = bench.timed(function()
      r = assert(box:run { code = code })
    end)
    assert(r.stdout == "4\n", r.status .. r.stderr)
    local list = steps[name] or { wait = {}, start = {}, program = {}, ["end"] = {}, controller = {} }
    steps[name] = list
    table.insert(list.wait, r.queue_s)
    table.insert(list.start, r.create_s + r.start_s)
    table.insert(list.program, r.wall_s)
    table.insert(list["end"], r.finish_s)
    table.insert(list.controller, seconds - r.queue_s - r.create_s - r.start_s - r.wall_s - r.finish_s)
    return seconds
  end }
end

--- Where the time of a contender of ours went; what runs next under its name counts anew.
local function add_steps(what, name)
  local words = {}
  for _, step in ipairs { "wait", "start", "program", "end", "controller" } do
    words[#words + 1] = ("%s %.2f"):format(step, bench.stats(steps[name][step]).median * 1e3)
  end
  bench.add_row(what, name .. ", its steps", table.concat(words, ", "), "ms")
  steps[name] = nil
end

-- ---- peers --------------------------------------------------------------------------------------------------------

local closing = {}
local _ <close> = setmetatable({}, { __close = function()
  for i = #closing, 1, -1 do
    closing[i]()
  end
end })

local function read(path)
  local f <close> = assert(io.open(path))
  return f:read "a"
end

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function python(code)
  return "python3 -c " .. quoted(code)
end

-- The image's files, for those that need no container.
local work = io.popen("mktemp -d /tmp/moonsand-bench.XXXXXX"):read "l"
local root = work .. "/root"
closing[1] = function()
  bench.sh("rm -rf " .. work)
end
bench.sh(("mkdir %s; id=$(%s create %s true); %s export $id | tar -x -C %s; %s rm $id"):format(root, bench.cli.docker,
  image, bench.cli.docker, root, bench.cli.docker))
bench.sh(("cp bench/warm_peer.py bench/warm_strategy.py %s/"):format(root))

--- Without any isolation: the image's files, and this machine's /proc and /dev.
local bare = ("unshare -m sh -c 'mount --rbind /dev %s/dev; mount -t proc proc %s/proc; exec chroot %s %s'"):format(
  root, root, root, "python3 warm_peer.py %s")

local bwrap = ("bwrap --unshare-all --die-with-parent --new-session --cap-drop ALL --ro-bind %s / --proc /proc "
  .. "--dev /dev --tmpfs /tmp --clearenv --setenv PATH /usr/bin:/bin "):format(root)

--- An interpreter with these modules that forks as often as it is told.
local function bare_fork(modules)
  local command = bench.docker_run(("%s python3 -c %s fork %s"):format(image, quoted(read "bench/warm_peer.py"),
    table.concat(modules, " ")), 1)
  local fork = bench.coprocess((command:gsub(" run %-%-rm ", " run --rm -i ", 1)))
  closing[#closing + 1] = fork.close
  return fork
end

local function warm_container()
  local id = io.popen((bench.docker_run(image .. " sleep 100000", 1):gsub(" run %-%-rm ", " run --rm -d ", 1))):read "l"
  closing[#closing + 1] = function()
    bench.sh(bench.cli.docker .. " rm -f " .. id)
  end
  return id
end
local warm = warm_container()

local function docker_py(code)
  return function()
    local p = assert(io.popen(("python3 bench/docker_py.py %s %s %s"):format(bench.url.docker, image, quoted(code))))
    local seconds = tonumber(p:read "l")
    assert(p:close() and seconds, "docker_py.py failed")
    return seconds
  end
end

--- Those that start an interpreter, or a container and an interpreter.
local function starters(code)
  return {
    { name = "docker run --rm", run = bench.command(bench.docker_run(image .. " " .. python(code), 1)) },
    { name = "docker-py", run = docker_py(code) },
    { name = "podman run --rm", run = bench.command(bench.podman_run(image .. " " .. python(code), 1)) },
    { name = "docker exec", run = bench.command(("%s exec %s %s"):format(bench.cli.docker, warm, python(code))) },
    { name = "bubblewrap", run = bench.command(bwrap .. python(code)) },
    { name = "bare python3", run = bench.command(("chroot %s %s"):format(root, python(code))) },
  }
end

local starter_names = { "docker run --rm", "docker-py", "podman run --rm", "docker exec", "bubblewrap", "bare python3" }

-- ---- one fork -----------------------------------------------------------------------------------------------------

local FORK, FORK_PODMAN, BARE = "moonsand fork, Docker", "moonsand fork, Podman", "bare os.fork"

local function add_slow(what, n, result, first, wanted)
  for _, name in ipairs(starter_names) do
    local s = result[name]
    bench.add_row(("%s, of %d"):format(what, n), name, ("%.0f, p99 %.0f"):format(s.median * 1e3, s.p99 * 1e3), "ms",
      first.median / s.median, wanted[name])
  end
end

--- Those that take milliseconds meet only each other: what a container's end leaves the machine to do would be in
--- everybody's p99.
local function forks(what, code, modules, slow, wanted)
  local warm_docker = sandbox(docker, { mode = "fork", preload = modules })
  local warm_podman = sandbox(podman, { mode = "fork", preload = modules })
  local fork = bare_fork(modules)
  local result = bench.race({
    ours(FORK, warm_docker, code), ours(FORK_PODMAN, warm_podman, code),
    { name = BARE, run = function()
      fork.ask "1"
      return tonumber(fork.answer())
    end },
  }, N)
  warm_docker:close()
  warm_podman:close()
  bench.add_fast(("%s, of %d"):format(what, N), result, { FORK, FORK_PODMAN, BARE }, wanted)
  add_steps(what, FORK)
  add_slow(what, slow, bench.race(starters(code), slow), result[FORK], wanted)
end

forks("fork, pandas, numpy and backtesting loaded", LOADED, MODULES, SLOW,
  { [FORK] = "p50 <= 5, p99 <= 12", [BARE] = "<= 2.2", ["docker run --rm"] = "<= 0.01" })
forks("fork, nothing loaded", PLAIN, {}, N, { [FORK] = "p50 <= 3.5" })

-- ---- a fresh container that waits -----------------------------------------------------------------------------------

local POOL = ("fresh container from a pool, of %d"):format(N)
-- Each has to wait until another container has loaded its modules.
local PRELOADED = ("the same with pandas, numpy and backtesting loaded, of %d"):format(SLOW)

for _, one in ipairs {
  { POOL, PLAIN, {}, "p50 <= 20", N }, { PRELOADED, LOADED, MODULES, "p50 <= 6", SLOW },
} do
  local what, code, modules, wanted, count = table.unpack(one)
  local names = { "moonsand pool, Docker", "moonsand pool, Podman" }
  if modules[1] then
    names = { "moonsand pool, preloaded, Docker", "moonsand pool, preloaded, Podman" }
  end
  local boxes, contenders = {}, {}
  for i, engine in ipairs { docker, podman } do
    boxes[i] = sandbox(engine, { pool = 1, preload = modules })
    contenders[i] = ours(names[i], boxes[i], code)
  end
  local result = bench.race(contenders, count)
  for _, box in ipairs(boxes) do
    box:close()
  end
  bench.add_fast(what, result, { names[1] }, { [names[1]] = wanted })
  bench.add_fast(what, result, { names[2] })
  add_steps(what, names[1])
end

-- ---- throughput, and what is left of it -----------------------------------------------------------------------------

local COUNT, LONG = 10 * N, 100 * N
local FLAT = ("%d runs more"):format(LONG)

local function runs(box, count, code)
  local list = {}
  for i = 1, count do
    list[i] = i
  end
  return bench.timed(function()
    moonsand.map(list, 4, function()
      local r = assert(box:run { code = code })
      assert(r.stdout == "4\n", r.status .. r.stderr)
    end)
  end)
end

--- Two bare forks at a time, by two interpreters.
local function bare_runs(modules, count)
  local a, b = bare_fork(modules), bare_fork(modules)
  return bench.timed(function()
    a.ask(tostring(count // 2))
    b.ask(tostring(count // 2))
    a.answer()
    b.answer()
  end)
end

local function engine_pid(url)
  local f = io.open((url:gsub("^unix://", ""):gsub("docker%.sock$", "dockerd.start")))
  local pid = f and f:read "n"
  if f then
    f:close()
  end
  return pid and io.open("/proc/" .. pid .. "/status") and pid
end

--- Everything that could grow: this process, the workers, the engine.
local function sizes(box)
  local deadline = moonsand.monotonic() + 10
  while (docker:pending() > 0 or box.pool:stats().starting > 0) and moonsand.monotonic() < deadline do
    docker:wait(0.1)
    docker:step()
  end
  collectgarbage()
  local workers, memory = 0, 0
  for _, c in ipairs(assert(docker:request { path = "/containers/json" })) do
    if c.Labels.moonsand then
      workers = workers + 1
      local stats = docker:request { path = "/containers/" .. c.Id .. "/stats?stream=false&one-shot=true" }
      memory = memory + (stats and stats.memory_stats and stats.memory_stats.usage or 0)
    end
  end
  local pid = engine_pid(bench.url.docker)
  return {
    { "controller, descriptors", bench.descriptors() },
    { "controller, RSS, MiB", bench.rss_kib() / 1024 },
    { "containers", workers },
    { "workers, memory, MiB", memory / (1 << 20) },
    { "dockerd, descriptors", pid and bench.descriptors(pid) or -1 },
    { "dockerd, RSS, MiB", pid and bench.rss_kib(pid) / 1024 or -1 },
  }
end

for _, one in ipairs {
  { "nothing loaded", PLAIN, {}, ">= 350" },
  { "pandas and backtesting loaded", LOADED, MODULES, ">= 200" },
} do
  local loaded, code, modules, wanted = table.unpack(one)
  local what = ("%d runs, 2 workers, %s"):format(COUNT, loaded)
  local theirs = bare_runs(modules, COUNT)
  for _, kind in ipairs { "docker", "podman" } do
    local box = sandbox(bench.engine(kind), { mode = "fork", workers = 2, preload = modules })
    runs(box, N, code)
    local seconds = runs(box, COUNT, code)
    bench.add_row(what, "moonsand fork, " .. kind, ("%.0f"):format(COUNT / seconds), "runs/s", nil,
      kind == "docker" and wanted or nil)
    if kind == "docker" then
      bench.add_row(what, "2 bare os.fork", ("%.0f"):format(COUNT / theirs), "runs/s", theirs / seconds)
      if code == PLAIN then
        local before = sizes(box)
        local long = runs(box, LONG, code)
        local after = sizes(box)
        bench.add_row(FLAT, "moonsand fork, docker", ("%.0f"):format(LONG / long), "runs/s", nil, wanted)
        for i, row in ipairs(before) do
          bench.add_row(FLAT, row[1], ("%.1f, then %.1f"):format(row[2], after[i][2]), "", nil, "flat")
        end
        for reason, n in pairs(box.pool:stats().retired) do
          if n > 0 then
            bench.add_row(FLAT, "workers retired: " .. reason, tostring(n), "")
          end
        end
      end
    end
    box:close()
  end
end

-- ---- real work ------------------------------------------------------------------------------------------------------

local PAIRS = {}
for fast = 4, 30 do
  for slow = 35, 120, 5 do
    PAIRS[#PAIRS + 1] = { fast, slow }
  end
end
local WORK = ("%d backtests of GOOG"):format(#PAIRS)

-- The strategy is loaded ahead of time on both sides. What a first backtest makes once, the caches of pandas and of
-- warnings, each of the pool's two processes makes for itself; a fork has it from the preload script.
local PRELOAD = read "bench/warm_strategy.py" .. "\nbacktest([4, 35])\n"
local RUN = "import json, os, sys, __preload__\n"
  .. "json.dump(__preload__.backtest([int(x) for x in sys.argv[1:]]), open(os.environ['MOONSAND_RESULT'], 'w'))\n"

local function our_backtests(box)
  local total = 0
  local seconds = bench.timed(function()
    for _, value in ipairs(moonsand.map(PAIRS, 4, function(pair)
      local r = assert(box:run { code = RUN, args = pair })
      assert(r.value, r.status .. r.stderr)
      return r.value
    end)) do
      total = total + value
    end
  end)
  return seconds, total
end

local box = sandbox(docker, { mode = "fork", workers = 2, preload_script = { code = PRELOAD } })
local json = require "moonsand.json"
local OURS, THEIRS, FORKS = "moonsand fork, Docker", "multiprocessing.Pool(2)", "2 bare os.fork"
local sums = {}

--- The bare forks tell what of the difference any fork costs, and what the walls do.
local function peer_backtests(name, how)
  local peer = bench.coprocess(bare:format(how .. " warm_strategy.py"))
  closing[#closing + 1] = peer.close
  return { name = name, run = function()
    peer.ask(json.encode(PAIRS))
    local seconds, total = peer.answer():match "^(%S+) (%S+)$"
    sums[name] = tonumber(total)
    return tonumber(seconds)
  end }
end

local result = bench.race({
  { name = OURS, run = function()
    local seconds, total = our_backtests(box)
    sums[OURS] = total
    return seconds
  end },
  peer_backtests(THEIRS, "pool"),
  peer_backtests(FORKS, "forks"),
}, math.min(bench.samples, 10))
for _, name in ipairs { THEIRS, FORKS } do
  assert(math.abs(sums[OURS] - sums[name]) < 1e-3, "the results differ")
end
bench.add_race(WORK, result, { OURS, THEIRS, FORKS }, { [THEIRS] = ">= 0.9" }, #PAIRS, "runs/s")
box:close()
