-- Output: 1 GiB of stdout through the controller, whose memory has to stay flat.
local bench = require "bench.lib"

local FLOOD = "import os\nb = b'x' * 65536\nfor _ in range(16384): os.write(1, b)"
local MIB, SAMPLES = 1024, math.min(bench.samples, 10)
local WHAT = ("1 GiB of stdout, of %d"):format(SAMPLES)

local box = assert(bench.engine("docker"):sandbox { image = bench.image, cpus = 2, stdout = "2g" })

local function flood()
  local got = 0
  local seconds = bench.timed(function()
    local r = assert(box:run {
      code = FLOOD,
      on_stdout = function(piece)
        got = got + #piece
      end,
    })
    assert(r.status == "ok", r.status)
  end)
  assert(got == MIB << 20, got)
  return seconds
end

local program = ('%s python3 -c "%s"'):format(bench.image, FLOOD)
local result = bench.race({
  { name = "moonsand, Docker", run = flood },
  { name = "docker run > /dev/null", run = bench.command(bench.docker_run(program, 2)) },
}, SAMPLES)
bench.add_race(WHAT, result, { "moonsand, Docker", "docker run > /dev/null" },
  { ["docker run > /dev/null"] = ">= 1" }, MIB, "MiB/s")
bench.add_row(WHAT, "moonsand, controller's RSS", ("%.1f"):format(bench.rss_kib() / 1024), "MiB", nil, "< 32")
