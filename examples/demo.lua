--- `make demo`: real strategies in sandboxes, from nothing.
---
--- Finds an engine or starts one of its own; finds, builds or makes do without the backtesting image; runs an SMA
--- crossover over the S&P 500 and, where the image has backtesting.py, the one of examples/backtest; prints the
--- results, the isolation, and how long each part took.
---
---     lua5.4 examples/demo.lua [ENDPOINT] [--offline]
---
--- --offline does as if no package index could be reached: the image is built anew, without a network.
---
--- $MOONSAND_IMAGE names another image to run in. CA bundle and proxies of the build are those of pip:
--- $PIP_CERT or $SSL_CERT_FILE, $http_proxy, $https_proxy, $no_proxy.
local core = require "moonsand.core"
local moonsand = require "moonsand"
local start_engine = require("moonsand.cli.engine").start

local root = (arg[0]:match "^(.*)/examples/[^/]*$" or (arg[0]:find "/" and "." or ".."))
local parts = {}
local endpoint, offline
for _, word in ipairs(arg) do
  if word == "--offline" then
    offline = true
  else
    endpoint = word
  end
end

-- python:3.10-slim, or a Debian base made here, with pip's packages; last a base with Debian's pandas alone.
local images = moonsand.images
local wanted = {
  images.backtesting { backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6" },
  images.backtesting.debian,
}

local function say(...)
  io.stdout:write(string.format(...), "\n")
  io.stdout:flush()
end

local function timed(name, f, ...)
  local began = moonsand.monotonic()
  local values = table.pack(f(...))
  parts[#parts + 1] = { name, moonsand.monotonic() - began }
  return table.unpack(values, 1, values.n)
end

local function die(err)
  local known = type(err) == "table"
  for _, line in ipairs(known and err.log or {}) do
    io.stderr:write("demo:   ", line, "\n")
  end
  io.stderr:write("demo: ", tostring(known and err.message or err), "\n")
  os.exit(1, true)
end

local function check(value, err)
  return value or die(err)
end

--- Prints a text when it is another one than the last; bytes only from time to time.
local function teller()
  local last, shown = nil, 0
  return function(text, seconds)
    local now = moonsand.monotonic()
    if text ~= last and now - shown >= (seconds or 0) then
      last, shown = text, now
      say("demo:   %s", text)
    end
  end
end

local function find_engine()
  local engine, err = moonsand.connect { endpoint = endpoint, timeout = 15 }
  if engine or endpoint then
    return check(engine, err)
  end
  say("demo: no engine answers; starting one of our own")
  return check(start_engine(nil, nil, 60, teller()))
end

local function find_image(engine)
  local tell = teller()
  return check(engine:image(os.getenv "MOONSAND_IMAGE" or wanted, {
    ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE",
    proxy = { http = os.getenv "http_proxy", https = os.getenv "https_proxy", no = os.getenv "no_proxy" },
    network = offline and "none" or "on",
    no_cache = offline,
    on_progress = function(event)
      if event.line then
        tell(event.line:sub(1, 100), 5)
      elseif event.name then
        tell(("step %d/%d: %s"):format(event.step, event.steps, event.name:sub(1, 90)))
      elseif event.phase == "bootstrap" then
        tell(("bootstrap %d/%d: %s"):format(event.step, event.steps, event.status))
      elseif event.status then
        tell(("%s: %s %s"):format(event.phase, event.id or "", event.status), 2)
      end
    end,
  }))
end

local function isolation_lines(i)
  local names = {}
  for name in pairs(i) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = i[name]
    if type(value) == "table" then
      local words = {}
      for k, v in pairs(value) do
        words[#words + 1] = type(k) == "string" and ("%s %s"):format(k, tostring(v)) or tostring(v)
      end
      table.sort(words)
      value = #words > 0 and table.concat(words, ", ") or "none"
    end
    say("  %-20s %s", name, tostring(value))
  end
end

local function show(r)
  say("\nresult: %s", tostring(r))
  io.stdout:write(r.stdout, r.stderr)
  say("\nprogram %.3f s wall, %.3f s CPU, %.1f MiB at its peak; overhead %.3f s (create %.3f, start %.3f, end %.3f)",
    r.wall_s, r.cpu_s, r.memory_peak / (1 << 20), r.overhead_s, r.create_s, r.start_s, r.finish_s)
end

local function keep_equity(r)
  local dir = root .. "/build/demo"
  if not core.stat(root .. "/build") then
    os.execute(("mkdir -p '%s/build'"):format(root:gsub("'", "'\\''")))
  end
  os.remove(dir .. "/equity.csv") -- of the last time: saving never overwrites
  check(r:save(dir))
  say("\nequity curve: %s/equity.csv (%d bytes)", dir, #r:artefact("equity.csv").data)
end

local function main()
  local engine <close> = timed("engine", find_engine)
  local facts = engine:facts()
  say("demo: %s %s at %s", facts.kind, facts.engine_version, facts.endpoint)
  local image = timed("image", find_image, engine)
  say("demo: %s", image.base and image.base.line or "image " .. tostring(image.ref))
  say("demo: image %s, %s", image.ref or image.id, image.built and "built" or "there already")

  local box = check(engine:sandbox { image = image, cpus = 0.5, memory = "512m", timeout = 300 })
  -- The first run puts the agent on the image and tries the walls; what a user then waits for are the others.
  local has = check(timed("first run (prepares the image, checks the walls)", box.run, box, {
    code = "import importlib.util; print(importlib.util.find_spec('backtesting') is not None)",
  }))
  local r = check(timed("run: SMA crossover, S&P 500", box.run, box, root .. "/examples/strategies/sma_cross.py", {
    args = { "--fast", "50", "--slow", "200" },
    files = { root .. "/examples/data/sp500.csv" },
  }))
  show(r)
  say("\nisolation, as applied:")
  isolation_lines(r.isolation)
  if r.ok then
    keep_equity(r)
  end

  local ok = r.ok
  if has.stdout == "True\n" then
    local b = check(timed("run: backtesting.py, GOOG", box.run, box, root .. "/examples/backtest/sma_cross.py"))
    show(b)
    ok = ok and b.ok
  else
    say("\nThis image has no backtesting.py, so the strategy above ran without it: examples/backtest is left out.")
  end

  say("\ntook:")
  for _, part in ipairs(parts) do
    say("  %-50s %7.2f s", part[1], part[2])
  end
  return ok and 0 or 1
end

os.exit(main(), true)
