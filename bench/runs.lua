-- Runs: one fresh container from the call to the result, and 200 of them, 4 at a time.
local moonsand = require "moonsand"
local bench = require "bench.lib"

local PROGRAM = "print(2+2)"
local command_line = ("%s python3 -c '%s'"):format(bench.image, PROGRAM)

local function check(result)
  assert(result.stdout == "4\n", result.status)
end

-- ---- one fresh container ----------------------------------------------------------------------------------------

local function fresh(kind)
  local box = assert(bench.engine(kind):sandbox { image = bench.image })
  return function()
    return bench.timed(function()
      check(assert(box:run { code = PROGRAM }))
    end)
  end
end

local function docker_py()
  local p = assert(io.popen(("python3 bench/docker_py.py %s %s"):format(bench.url.docker, bench.image)))
  local seconds = tonumber(p:read "l")
  assert(p:close() and seconds, "docker_py.py failed")
  return seconds
end

local one = bench.race {
  { name = "moonsand, Docker", run = fresh "docker" },
  { name = "docker run --rm", run = bench.command(bench.docker_run(command_line)) },
  { name = "docker-py", run = docker_py },
  { name = "podman run --rm", run = bench.command(bench.podman_run(command_line)) },
  { name = "moonsand, Podman", run = fresh "podman" },
}
local ONE = "fresh container, print(2+2)"
bench.add_race(ONE, one, { "moonsand, Docker", "docker run --rm", "docker-py", "podman run --rm" },
  { ["docker run --rm"] = "0.45", ["docker-py"] = "1", ["podman run --rm"] = "1" })
bench.add_race(ONE, one, { "moonsand, Podman", "podman run --rm" }, { ["podman run --rm"] = "0.60" })

-- ---- 200 runs, 4 at a time --------------------------------------------------------------------------------------

local COUNT, MANY = 200, "200 runs, 4 at a time"
local docker = bench.engine "docker"
local box = assert(docker:sandbox { image = bench.image })

local function four_at_a_time(count)
  local list = {}
  for i = 1, count do
    list[i] = i
  end
  moonsand.map(list, 4, function()
    check(assert(box:run { code = PROGRAM }))
  end)
end

local function settled()
  while docker:pending() > 0 do
    docker:wait(0.1)
    docker:step()
  end
  collectgarbage()
  return bench.descriptors(), bench.rss_kib()
end

-- Both sides of "flat" are measured with everything that is kept for reuse in place.
four_at_a_time(20)
local fds, rss = settled()
local ours = bench.timed(function()
  four_at_a_time(COUNT)
end)
local fds_after, rss_after = settled()
local theirs = bench.timed(function()
  bench.sh(("seq %d | xargs -P 4 -I{} %s"):format(COUNT, bench.docker_run(command_line)))
end)
bench.add_row(MANY, "moonsand, Docker", ("%.1f"):format(COUNT / ours), "runs/s")
bench.add_row(MANY, "4 parallel docker run", ("%.1f"):format(COUNT / theirs), "runs/s", theirs / ours, ">= 1.3")
bench.add_row(MANY, "descriptors before, after", fds .. ", " .. fds_after, "", nil, "flat")
bench.add_row(MANY, "RSS before, after", ("%.1f, %.1f"):format(rss / 1024, rss_after / 1024), "MiB", nil, "flat")
