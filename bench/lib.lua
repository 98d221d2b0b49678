--- What the benchmark's subjects share. A subject is one file here, bench/NAME.lua: it requires this module,
--- races its contenders and adds rows. bench.lua runs the subjects and prints one table at the end.
---
---   local bench = require "bench.lib"
---   local result = bench.race({
---     { name = "moonsand, Docker", run = function() return bench.timed(something) end },
---     { name = "docker run --rm", run = bench.command(bench.docker_run "... true") },
---   })
---   bench.add_race("a thing", result, { "moonsand, Docker", "docker run --rm" }, { ["docker run --rm"] = "0.45" })
---
--- All functions raise when something fails: half a table is no figure.
local moonsand = require "moonsand"

local M = {}

--- How often each contender runs; a subject that takes long may take fewer.
---@type integer
M.samples = tonumber(os.getenv "MOONSAND_BENCH_SAMPLES") or 20

local function need(name)
  return os.getenv(name) or error(name .. " is not set; run it with `make bench`", 0)
end

--- The image of all runs, with python3 in it.
---@type string
M.image = need "MOONSAND_TEST_IMAGE"

--- The endpoints of the private engines.
---@type table<"docker"|"podman", string>
M.url = { docker = need "MOONSAND_TEST_DOCKER", podman = need "MOONSAND_TEST_PODMAN" }

--- The command lines of the same engines, to be followed by a subcommand ("build .").
---@type table<"docker"|"podman", string>
M.cli = { docker = "docker -H " .. M.url.docker, podman = need "MOONSAND_TEST_PODMAN_COMMAND" }

local connected = {}

--- moonsand's connection to an engine, one for all subjects.
---@param kind "docker"|"podman"
---@return moonsand.Engine
function M.engine(kind)
  connected[kind] = connected[kind] or assert(moonsand.connect(M.url[kind]))
  return connected[kind]
end

--- Waits for what moonsand does in the background (removals), which would be in the way of whoever is next.
local function settle()
  for _, engine in pairs(connected) do
    while engine:pending() > 0 do
      engine:wait(0.05)
      engine:step()
    end
  end
end

-- ---- contenders -------------------------------------------------------------------------------------------------

-- moonsand's default limits, as far as the command line can say them.
local limits = table.concat({
  "--network none --read-only --cap-drop ALL --security-opt no-new-privileges",
  "--memory 512m --memory-swap 512m --pids-limit 128 --user 70000:70000",
  "--tmpfs /tmp:rw,nosuid,nodev,noexec,size=64m,nr_inodes=8192,mode=1777",
  "--ulimit nofile=512:512 --ulimit core=0:0 --log-driver none",
}, " ")

--- A command line: `docker run --rm` with moonsand's default limits.
---@param rest string image, program and arguments, quoted for a shell
---@param cpus number? default 0.5
---@return string
function M.docker_run(rest, cpus)
  return ("%s run --rm %s --cpus %g %s"):format(M.cli.docker, limits, cpus or 0.5, rest)
end

--- The same with Podman, which knows no nr_inodes, and whose default nproc needs a capability that root may lack.
---@param rest string
---@param cpus number?
---@return string
function M.podman_run(rest, cpus)
  local known = limits:gsub(",nr_inodes=%d+", "")
  return ("%s run --rm --ulimit nproc=4096:4096 %s --cpus %g %s"):format(M.cli.podman, known, cpus or 0.5, rest)
end

--- Runs a shell command and drops what it prints.
---@param line string
function M.sh(line)
  assert(os.execute(line .. " > /dev/null 2>&1"), "failed: " .. line)
end

--- How long a function takes.
---@param f fun()
---@return number seconds
function M.timed(f)
  local began = moonsand.monotonic()
  f()
  return moonsand.monotonic() - began
end

--- A contender's `run`: a shell command, with its start.
---@param line string
---@return fun(): number seconds
function M.command(line)
  return function()
    return M.timed(function()
      M.sh(line)
    end)
  end
end

--- A program that answers each line with a line. Its first line says that it is ready.
---@param line string a shell command
---@return { ask: fun(line: string), answer: fun(): string, close: fun() }
function M.coprocess(line)
  local p = assert(io.popen "mktemp -d")
  local dir = p:read "l"
  p:close()
  M.sh("mkfifo " .. dir .. "/answers")
  local to = assert(io.popen(("%s > %s/answers"):format(line, dir), "w"))
  local from = assert(io.open(dir .. "/answers"))
  local function answer()
    return from:read "l" or error("ended early: " .. line:sub(1, 200))
  end
  assert(answer() == "ready")
  return {
    ask = function(question)
      to:write(question, "\n"):flush()
    end,
    answer = answer,
    close = function()
      to:close()
      from:close()
      M.sh("rm -r " .. dir)
    end,
  }
end

-- ---- figures ----------------------------------------------------------------------------------------------------

---@class bench.Stats seconds
---@field median number
---@field low number
---@field high number
---@field p99 number

---@param samples number[] gets sorted
---@return bench.Stats
function M.stats(samples)
  table.sort(samples)
  local function quantile(q)
    return samples[math.max(1, math.ceil(q * #samples))]
  end
  return { median = quantile(0.5), low = samples[1], high = samples[#samples], p99 = quantile(0.99) }
end

--- Runs the contenders in turn, each round from another one on, so that the machine's moods and what the one before
--- left meet all of them. Each runs once before, unmeasured: the caches of all sides are warm alike.
---@param contenders { name: string, run: fun(): number }[] `run` does the thing once and returns the seconds it took
---@param n integer? samples of each; default `samples`
---@param cold boolean? without the unmeasured run, for what clears caches itself
---@return table<string, bench.Stats> by name
function M.race(contenders, n, cold)
  local samples, result = {}, {}
  for _, c in ipairs(contenders) do
    samples[c.name] = {}
    if not cold then
      c.run()
    end
  end
  settle()
  for round = 1, n or M.samples do
    for i = 1, #contenders do
      local c = contenders[(round + i) % #contenders + 1]
      table.insert(samples[c.name], c.run() or error(c.name .. " returned no time"))
      settle()
    end
  end
  for name, list in pairs(samples) do
    result[name] = M.stats(list)
  end
  return result
end

--- Resident memory of a process.
---@param pid integer? default: this process
---@return integer KiB
function M.rss_kib(pid)
  for line in io.lines(("/proc/%s/status"):format(pid or "self")) do
    local kib = line:match "^VmRSS:%s+(%d+)"
    if kib then
      return math.tointeger(kib)
    end
  end
  error "no VmRSS"
end

--- Open descriptors of a process; of this one with the one that is counting.
---@param pid integer? default: this process
---@return integer
function M.descriptors(pid)
  local p, n = assert(io.popen(("ls /proc/%s/fd"):format(pid or "$PPID"))), 0
  for _ in p:lines() do
    n = n + 1
  end
  p:close()
  return n
end

-- ---- the table --------------------------------------------------------------------------------------------------

local rows = {}

--- One row of the table, which is told at once as well: all of it may take half an hour.
---@param what string the subject, as in its other rows
---@param contender string
---@param figure string
---@param unit string
---@param ratio number? moonsand's figure through this one's
---@param wanted string? what the ratio or the figure should be
function M.add_row(what, contender, figure, unit, ratio, wanted)
  local row = { what, contender, figure, unit, ratio and ("%.2f"):format(ratio) or "", wanted or "" }
  rows[#rows + 1] = row
  io.stderr:write("bench: ", table.concat(row, " | "), "\n")
end

--- A row for each contender of a race, with the ratio of the first one's median to its own.
---@param what string
---@param result table<string, bench.Stats> of `race`
---@param order string[] names; moonsand's first
---@param wanted table<string, string>? by name
---@param amount number? what a run moves, for "per second"; without it the rows are times in ms
---@param unit string? with amount: "MiB/s"
function M.add_race(what, result, order, wanted, amount, unit)
  local first = result[order[1]].median
  for i, name in ipairs(order) do
    local s = result[name]
    local figure, ratio
    if amount then
      figure = ("%.0f [%.0f-%.0f]"):format(amount / s.median, amount / s.high, amount / s.low)
      ratio = s.median / first
    else
      figure = ("%.0f [%.0f-%.0f]"):format(s.median * 1e3, s.low * 1e3, s.high * 1e3)
      ratio = first / s.median
    end
    M.add_row(what, name, figure, unit or "ms", i > 1 and ratio or nil, wanted and wanted[name])
  end
end

--- A row for each contender of a race in which milliseconds count: p50 and p99.
---@param what string
---@param result table<string, bench.Stats> of `race`
---@param order string[] names; moonsand's first, whose ratio to the others is given
---@param wanted table<string, string>? by name
function M.add_fast(what, result, order, wanted)
  for i, name in ipairs(order) do
    local s = result[name]
    local digits = s.median < 0.1 and 2 or 0
    M.add_row(what, name, ("%.*f, p99 %.*f"):gsub("%*", digits):format(s.median * 1e3, s.p99 * 1e3), "ms",
      i > 1 and result[order[1]].median / s.median or nil, wanted and wanted[name])
  end
end

local function first_line(command)
  local p = assert(io.popen(command))
  local line = p:read "l"
  p:close()
  return line or "?"
end

--- Day, machine and engines, in one line.
---@return string
function M.facts()
  local docker, podman = M.engine("docker"):facts(), M.engine("podman"):facts()
  return ("%s, %s CPUs, Linux %s, cgroup v%d; Docker %s, Podman %s; medians of %d [lowest-highest]"):format(
    os.date "!%Y-%m-%d", first_line "nproc", first_line "uname -r", docker.cgroup_version, docker.engine_version,
    podman.engine_version, M.samples)
end

--- Prints facts and rows as Markdown.
function M.print()
  print(M.facts())
  print()
  print("| what | contender | figure | unit | moonsand / it | wanted |")
  print("| --- | --- | --- | --- | --- | --- |")
  for _, row in ipairs(rows) do
    print("| " .. table.concat(row, " | ") .. " |")
  end
end

return M
