-- `make bench`: moonsand beside its peers, in one run, interleaved. Prints a table with ratios.
-- Usage: lua5.4 bench/bench.lua [N] (samples of each, default 20)
local moonsand = require "moonsand"

local N = tonumber(arg[1]) or 20
local image = os.getenv "MOONSAND_TEST_IMAGE"
local docker_url, podman_url = os.getenv "MOONSAND_TEST_DOCKER", os.getenv "MOONSAND_TEST_PODMAN"
local podman_command = os.getenv "MOONSAND_TEST_PODMAN_COMMAND" -- "podman --root ... --runroot ..."
assert(image and docker_url and podman_url and podman_command, "run it with `make bench`")

local PROGRAM = "print(2+2)"

-- The same limits as moonsand's defaults, as far as the command line can say them.
local LIMITS = table.concat({
  "--network none --read-only --cap-drop ALL --security-opt no-new-privileges",
  "--memory 512m --memory-swap 512m --cpus 0.5 --pids-limit 128 --user 70000:70000",
  "--tmpfs /tmp:rw,nosuid,nodev,noexec,size=64m,nr_inodes=8192,mode=1777",
  "--ulimit nofile=512:512 --ulimit core=0:0 --log-driver none",
}, " ")

local function docker(rest)
  return ("docker -H %s run --rm %s %s"):format(docker_url, LIMITS, rest)
end

local function podman(rest)
  -- Podman knows no nr_inodes, and its default nproc needs a capability that root may lack.
  local limits = LIMITS:gsub(",nr_inodes=%d+", "")
  return ("%s run --rm --ulimit nproc=4096:4096 %s %s"):format(podman_command, limits, rest)
end

local function sh(command, quiet)
  local ok = os.execute(command .. (quiet and " > /dev/null 2>&1" or ""))
  assert(ok, "failed: " .. command)
end

local function timed(f)
  local began = moonsand.monotonic()
  f()
  return moonsand.monotonic() - began
end

local function stats(samples)
  table.sort(samples)
  local function at(q)
    return samples[math.max(1, math.ceil(q * #samples))]
  end
  return { median = at(0.5), low = samples[1], high = samples[#samples], p90 = at(0.9) }
end

--- Runs the contenders in turn, so that the machine's moods meet all of them.
local function race(contenders, n)
  local samples = {}
  for _, c in ipairs(contenders) do
    samples[c.name] = {}
    c.run() -- warm caches of both sides alike
  end
  for _ = 1, n do
    for _, c in ipairs(contenders) do
      local list = samples[c.name]
      list[#list + 1] = c.run() or error "no time"
    end
  end
  local result = {}
  for _, c in ipairs(contenders) do
    result[c.name] = stats(samples[c.name])
  end
  return result
end

local rows = {}
local function row(what, name, s, unit, ratio, bound)
  rows[#rows + 1] = { what, name, s, unit, ratio, bound }
end

local function report_race(what, result, order, bounds)
  local ours = result[order[1]].median
  for i, name in ipairs(order) do
    local s = result[name]
    row(what, name,
      ("%.0f [%.0f-%.0f]"):format(s.median * 1e3, s.low * 1e3, s.high * 1e3), "ms",
      i == 1 and "" or ("%.2f"):format(ours / s.median), bounds[name] or "")
  end
end

local engines = {
  docker = assert(moonsand.connect(docker_url)),
  podman = assert(moonsand.connect(podman_url)),
}

local function rss_kib()
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmRSS:%s+(%d+)"
    if kib then
      return tonumber(kib)
    end
  end
end

local function descriptors()
  local p, n = assert(io.popen "ls /proc/$PPID/fd"), 0
  for _ in p:lines() do
    n = n + 1
  end
  p:close()
  return n
end

-- 1 and 2: one fresh container

local function moonsand_run(kind)
  local box = assert(engines[kind]:sandbox { image = image })
  return function()
    local r
    local t = timed(function()
      r = assert(box:run { code = PROGRAM })
    end)
    assert(r.stdout == "4\n", r.status)
    return t
  end
end

local function command(line)
  return function()
    return timed(function()
      sh(line, true)
    end)
  end
end

local function docker_py()
  local p = assert(io.popen(("python3 bench/docker_py.py %s %s"):format(docker_url, image)))
  local seconds = tonumber(p:read "l")
  assert(p:close() and seconds, "docker_py.py failed")
  return seconds
end

local program = ("%s python3 -c '%s'"):format(image, PROGRAM)
local fresh = race({
  { name = "moonsand, Docker", run = moonsand_run "docker" },
  { name = "docker run --rm", run = command(docker(program)) },
  { name = "docker-py", run = docker_py },
  { name = "podman run --rm", run = command(podman(program)) },
  { name = "moonsand, Podman", run = moonsand_run "podman" },
}, N)
report_race("fresh container, print(2+2)", fresh,
  { "moonsand, Docker", "docker run --rm", "docker-py", "podman run --rm" },
  { ["docker run --rm"] = "0.45", ["docker-py"] = "1", ["podman run --rm"] = "1" })
report_race("fresh container, print(2+2)", fresh, { "moonsand, Podman", "podman run --rm" },
  { ["podman run --rm"] = "0.60" })

-- 3: 1 GiB of stdout

local FLOOD = "import os\nb = b'x' * 65536\nfor _ in range(16384): os.write(1, b)"
local flood_samples = math.min(N, 10)
local grown = 0
local flood = race({
  {
    name = "moonsand, Docker",
    run = function()
      local box = assert(engines.docker:sandbox { image = image, cpus = 2, stdout = "2g" })
      local got, before = 0, rss_kib()
      local t = timed(function()
        local r = assert(box:run {
          code = FLOOD,
          on_stdout = function(piece)
            got = got + #piece
          end,
        })
        assert(r.status == "ok", r.status)
      end)
      assert(got == 1 << 30, got)
      grown = math.max(grown, rss_kib() - before)
      return t
    end,
  },
  {
    name = "docker run > /dev/null",
    run = command((docker(("%s python3 -c \"%s\""):format(image, FLOOD:gsub("\n", "\n"))):gsub("%-%-cpus 0%.5", "--cpus 2"))),
  },
}, flood_samples)
for _, name in ipairs { "moonsand, Docker", "docker run > /dev/null" } do
  local s = flood[name]
  row("1 GiB of stdout", name, ("%.0f [%.0f-%.0f]"):format(1024 / s.median, 1024 / s.high, 1024 / s.low), "MiB/s",
    name:match "^moonsand" and "" or ("%.2f"):format(s.median / flood["moonsand, Docker"].median), name:match "^moonsand" and "" or ">= 1")
end
row("1 GiB of stdout", "moonsand, controller's RSS", ("%.1f"):format(rss_kib() / 1024), "MiB", "", "< 32")

-- 4: 200 runs, 4 at a time

local COUNT = 200
local box = assert(engines.docker:sandbox { image = image })
local list = {}
for i = 1, COUNT do
  list[i] = i
end
-- Both sides of "flat" are measured with everything that is kept for reuse in place.
local function four_at_a_time(count)
  moonsand.map(table.move(list, 1, count, 1, {}), 4, function()
    local r = assert(box:run { code = PROGRAM })
    assert(r.stdout == "4\n", r.status)
  end)
end
local function settled()
  while engines.docker:pending() > 0 do
    engines.docker:wait(0.1)
    engines.docker:step()
  end
  collectgarbage()
  return descriptors(), rss_kib()
end
four_at_a_time(20)
local fds, rss = settled()
local many = timed(function()
  four_at_a_time(COUNT)
end)
local fds_after, rss_after = settled()
local shell = timed(function()
  sh(("seq %d | xargs -P 4 -I{} %s"):format(COUNT, docker(program)), true)
end)
row("200 runs, 4 at a time", "moonsand, Docker", ("%.1f"):format(COUNT / many), "runs/s", "", "")
row("200 runs, 4 at a time", "4 parallel docker run", ("%.1f"):format(COUNT / shell), "runs/s",
  ("%.2f"):format(shell / many), ">= 1.3")
row("200 runs, 4 at a time", "descriptors before, after", fds .. ", " .. fds_after, "", "", "flat")
row("200 runs, 4 at a time", "RSS before, after", ("%.1f, %.1f"):format(rss / 1024, rss_after / 1024), "MiB", "", "flat")

local function first_line(cmd)
  local p = io.popen(cmd)
  local line = p and p:read "l" or "?"
  if p then
    p:close()
  end
  return line
end

local f, g = engines.docker:facts(), engines.podman:facts()
print(("%s, %s CPUs, Linux %s, cgroup v%d; Docker %s, Podman %s; medians of %d [lowest-highest], 1 GiB: of %d"):format(
  os.date "!%Y-%m-%d", first_line "nproc", first_line "uname -r", f.cgroup_version, f.engine_version, g.engine_version, N, flood_samples))
print()
print("| what | contender | figure | unit | moonsand / it | wanted |")
print("| --- | --- | --- | --- | --- | --- |")
for _, r in ipairs(rows) do
  print(("| %s | %s | %s | %s | %s | %s |"):format(table.unpack(r)))
end
