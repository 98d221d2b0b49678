--- `make demo`: a real strategy in a sandbox, from nothing.
---
--- Finds an engine or starts one of its own, finds or makes an image with Python, runs the SMA crossover
--- over the S&P 500, and prints the result, the isolation, and how long each part took.
---
---     lua5.4 examples/demo.lua [ENDPOINT]
local core = require "moonsand.core"
local moonsand = require "moonsand"
local start_engine = require("moonsand.cli.engine").start

local root = (arg[0]:match "^(.*)/examples/[^/]*$" or (arg[0]:find "/" and "." or ".."))
local wanted, own_image = "python:3.10-slim", "localhost/moonsand/base:bookworm"
local parts = {}

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
  io.stderr:write("demo: ", tostring(type(err) == "table" and err.message or err), "\n")
  os.exit(1, true)
end

local function check(value, err)
  return value or die(err)
end

local function find_engine()
  local engine, err = moonsand.connect { endpoint = arg[1], timeout = 15 }
  if engine or arg[1] then
    return check(engine, err)
  end
  say("demo: no engine answers; starting one of our own")
  local last
  return check(start_engine(nil, nil, 60, function(text)
    if text ~= last then
      say("demo: %s", text)
      last = text
    end
  end))
end

--- The tar is kept below build/, so that a second demo takes seconds.
local function bootstrap(engine)
  local tar = root .. "/build/base.tar"
  say("demo: bootstrapping %s from Debian packages (some minutes, once)", own_image)
  local quoted = "'" .. tar:gsub("'", "'\\''") .. "'"
  if not os.execute(("'%s/tools/base-image.sh' %s"):format(root:gsub("'", "'\\''"), quoted)) then
    die "tools/base-image.sh failed; see above"
  end
  say("demo: importing it into the engine")
  check(engine:import(tar, own_image, {
    changes = {
      "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "ENV LANG=C.UTF-8",
      'CMD ["python3"]',
    },
  }))
  return own_image
end

local function find_image(engine)
  for _, ref in ipairs { os.getenv "MOONSAND_IMAGE" or wanted, own_image } do
    local there, err = engine:has(ref)
    if there then
      return ref
    elseif there == nil then
      die(err)
    end
  end
  say("demo: pulling %s", wanted)
  local last = 0
  local facts, err = engine:pull(wanted, function(object)
    local now = moonsand.monotonic()
    if type(object.status) == "string" and now - last > 2 then
      last = now
      say("demo:   %s %s", object.id or "", object.status)
    end
  end, { timeout = 120 })
  if facts then
    return wanted
  end
  say("demo: %s", err.message)
  return bootstrap(engine)
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

local function main()
  local engine <close> = timed("engine", find_engine)
  local facts = engine:facts()
  say("demo: %s %s at %s", facts.kind, facts.engine_version, facts.endpoint)
  local ref = timed("image", find_image, engine)
  say("demo: image %s", ref)

  local box = check(engine:sandbox { image = ref, cpus = 0.5, memory = "512m", timeout = 300 })
  local function run()
    return box:run(root .. "/examples/strategies/sma_cross.py", {
      args = { "--fast", "50", "--slow", "200" },
      files = { root .. "/examples/data/sp500.csv" },
    })
  end
  -- The first run puts the agent on the image and tries the walls; what a user then waits for is the second.
  check(timed("first run (prepares the image, checks the walls)", run))
  local r = check(timed("run", run))

  say("\nresult: %s", tostring(r))
  io.stdout:write(r.stdout, r.stderr)
  say("\nprogram %.3f s wall, %.3f s CPU, %.1f MiB at its peak; overhead %.3f s (create %.3f, start %.3f, end %.3f)",
    r.wall_s, r.cpu_s, r.memory_peak / (1 << 20), r.overhead_s, r.create_s, r.start_s, r.finish_s)

  say("\nisolation, as applied:")
  isolation_lines(r.isolation)

  if r.ok then
    local dir = root .. "/build/demo"
    if not core.stat(root .. "/build") then
      os.execute(("mkdir -p '%s/build'"):format(root:gsub("'", "'\\''")))
    end
    os.remove(dir .. "/equity.csv") -- of the last time: saving never overwrites
    check(r:save(dir))
    say("\nequity curve: %s/equity.csv (%d bytes)", dir, #r:artefact("equity.csv").data)
  end

  say("\ntook:")
  for _, part in ipairs(parts) do
    say("  %-50s %7.2f s", part[1], part[2])
  end
  return r.ok and 0 or 1
end

os.exit(main(), true)
