--- Warm runs: twenty programs that import pandas, each a fork of an interpreter that has it loaded already.
---
---     lua5.4 examples/warm.lua [ENDPOINT]
---
--- Finds an engine or starts one of its own, and takes the image of `make demo`, or $MOONSAND_IMAGE.
local moonsand = require "moonsand"
local start_engine = require("moonsand.cli.engine").start

local code = "import numpy, pandas\nprint(2 + 2)"

local function check(value, err)
  if not value then
    io.stderr:write("warm: ", type(err) == "table" and err.message or tostring(err), "\n")
    os.exit(1, true)
  end
  return value
end

local function find_engine()
  local engine, err = moonsand.connect { endpoint = arg[1], timeout = 15 }
  if engine or arg[1] then
    return check(engine, err)
  end
  return check(start_engine(nil, nil, 60, function() end))
end

local function find_image(engine)
  local images, last = moonsand.images, nil
  local wanted = { images.backtesting { backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6" },
    images.backtesting.debian }
  return check(engine:image(os.getenv "MOONSAND_IMAGE" or wanted, {
    ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE",
    proxy = { http = os.getenv "http_proxy", https = os.getenv "https_proxy", no = os.getenv "no_proxy" },
    on_progress = function(event)
      if event.name and event.name ~= last then
        last = event.name
        print(("image, step %d of %d: %s"):format(event.step, event.steps, event.name:sub(1, 90)))
      end
    end,
  }))
end

local engine <close> = find_engine()
local box <close> = check(engine:sandbox {
  image = find_image(engine), mode = "fork", preload = { "numpy", "pandas" }, cpus = 1, memory = "512m",
  on_pool = function(event)
    if event.type == "failed" or event.type == "fell_back" then
      io.stderr:write("warm: ", event.type, ": ", event.error.message, "\n")
    end
  end,
})

-- Not needed: a run waits for a worker by itself. Here it keeps the start out of the first run's time.
local began = moonsand.monotonic()
check(box.pool:wait_ready(120))
print(("ready after %.2f s"):format(moonsand.monotonic() - began))

local took, last = {}, nil
for i = 1, 20 do
  began = moonsand.monotonic()
  last = check(box:run { code = code })
  took[i] = 1000 * (moonsand.monotonic() - began)
  if not last.ok then
    check(nil, tostring(last) .. "\n" .. last.stderr)
  end
end
table.sort(took)
print(("20 runs: median %.1f ms, fastest %.1f ms, slowest %.1f ms"):format(took[10], took[1], took[20]))
print(("mode %s, kept apart by %s"):format(last.isolation.mode, last.isolation.tier or "containers of their own"))

local stats = box.pool:stats()
print(("workers: %d ready, %d busy; %d runs"):format(stats.ready, stats.busy, stats.runs))
