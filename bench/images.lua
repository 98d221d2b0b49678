-- Images: found again, built for the first time, built with one more package, and a large context. The peer is
-- `docker build` of the same Dockerfile with the same files beside it, on the same engine and with the same builder.
-- Wants a package index; $PIP_CERT or $SSL_CERT_FILE is the CA bundle of both sides' builds.
local bench = require "bench.lib"
local command = require "moonsand.command"
local context = require "moonsand.image.context"
local declare = require "moonsand.image.declare"
local moonsand = require "moonsand"

local engine = bench.engine "docker"
local ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE"
local LONG = tonumber(os.getenv "MOONSAND_BENCH_BUILDS") or 3 -- samples of what takes a minute
local SHORT = math.max(bench.samples, 20)

-- ---- both sides ---------------------------------------------------------------------------------------------------

-- A base of the benchmark's own, so that nothing that others have built on the engine helps or is removed.
local base = assert(engine:image({ from = bench.image, labels = { bench = tostring(os.time()) } }))

local work = (assert(command.run { "mktemp", "-d", "/tmp/moonsand-bench.XXXXXX" }).stdout:gsub("\n", ""))

local function preset(more)
  return moonsand.images.backtesting {
    from = base.ref, backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6", pip = more,
  }
end

local function write(path, data)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(data))
end

--- The directory that `docker build` gets: our Dockerfile and what we send beside it.
local function context_of(image, declaration, name)
  local dir = work .. "/" .. name
  bench.sh("mkdir -p " .. dir .. "/moonsand")
  write(dir .. "/Dockerfile", assert(image:dockerfile()))
  for _, entry in ipairs(assert(context.packages(declare.read(declaration)))) do
    write(dir .. "/" .. entry.path, entry.data)
  end
  if ca then
    bench.sh(("cp '%s' %s/moonsand/ca.pem"):format(ca, dir))
  end
  return dir
end

local function docker_build(dir, tag, options)
  return ("%s build %s -t %s %s"):format(bench.cli.docker, options or "", tag, dir)
end

local function ids()
  local out = {}
  for _, item in ipairs(assert(engine:request { path = "/images/json?all=1" })) do
    out[item.Id] = true
  end
  return out
end

local before = ids()

--- Removes all that was built since `keep`: images, their steps, packages.
local function clear(keep)
  local removed
  repeat
    removed = false
    for id in pairs(ids()) do
      if not keep[id] and engine:request { method = "DELETE", path = "/images/" .. id .. "?force=1" } then
        removed = true
      end
    end
  until not removed
end

local _ <close> = setmetatable({}, { __close = function()
  clear(before)
  engine:remove(base.ref)
  bench.sh("rm -rf " .. work)
end })

local function build(declaration, how)
  how = how or {}
  how.ca = ca
  local image
  local seconds = bench.timed(function()
    image = assert(engine:image(declaration, how))
  end)
  return seconds, image
end

local function size(ref)
  return assert(engine:inspect(ref)).size / (1 << 20)
end

-- ---- the first build, then one more package -------------------------------------------------------------------------

local FIRST = ("first build of the preset, of %d"):format(LONG)
local plain = preset()
local sizes, image, dir = {}, nil, nil

local first = bench.race({
  { name = "moonsand, Docker", run = function()
    clear(before)
    local seconds
    seconds, image = build(plain)
    sizes.ours = size(image.id)
    dir = context_of(image, plain, "preset")
    return seconds
  end },
  { name = "docker build", run = function()
    clear(before)
    local seconds = bench.command(docker_build(dir, "moonsand-bench:preset"))()
    sizes.theirs = size "moonsand-bench:preset"
    return seconds
  end },
}, LONG, true)
bench.add_race(FIRST, first, { "moonsand, Docker", "docker build" }, { ["docker build"] = "1.15" })
bench.add_row(FIRST, "moonsand, size", ("%.1f"):format(sizes.ours), "MiB")
bench.add_row(FIRST, "docker build, size", ("%.1f"):format(sizes.theirs), "MiB", sizes.ours / sizes.theirs, "<= 1")

-- Each edit adds a package to the ones before: what a person does to a list.
local MORE = ("one more package, of %d"):format(LONG)
local names = {
  "tabulate==0.9.0", "toolz==1.0.0", "sortedcontainers==2.4.0", "more-itertools==10.5.0", "humanize==4.11.0",
}
local function edits()
  local list = {}
  return function()
    list[#list + 1] = names[#list + 1] or error("no more packages than " .. #names, 0)
    return preset(table.move(list, 1, #list, 1, {}))
  end
end

clear(before)
image = select(2, build(plain))
bench.sh(docker_build(dir, "moonsand-bench:preset"))
local our_edit, their_edit = edits(), edits()
local more = bench.race({
  { name = "moonsand, Docker", run = function()
    return (build(our_edit()))
  end },
  { name = "docker build", run = function()
    return bench.command(docker_build(context_of(image, their_edit(), "preset"), "moonsand-bench:more"))()
  end },
}, math.min(LONG, #names), true)
bench.add_race(MORE, more, { "moonsand, Docker", "docker build" }, { ["docker build"] = "0.5" })

-- ---- found again ----------------------------------------------------------------------------------------------------

local AGAIN = ("found again, of %d"):format(SHORT)
local _, same = build(plain)
assert(same.id == image.id and not same.built, "the image was not found again")
bench.sh(docker_build(context_of(image, plain, "preset"), "moonsand-bench:preset"))

--- A new process: how long the call takes in it, and how long it takes as a whole.
local program = ([[
  local moonsand = require "moonsand"
  local engine = assert(moonsand.connect %q)
  local preset = moonsand.images.backtesting {
    backtesting = "0.6.6", pandas = "2.2.3", numpy = "2.2.6", from = %q,
  }
  local began = moonsand.monotonic()
  assert(not assert(engine:image(preset)).built)
  print(moonsand.monotonic() - began)
]]):format(bench.url.docker, base.ref)

local function new_process()
  local r = assert(command.run { "lua5.4", "-e", program })
  return assert(tonumber(r.stdout), r.stderr)
end

local again = bench.race({
  { name = "moonsand, Docker", run = function()
    return bench.timed(function()
      assert(engine:image(plain))
    end)
  end },
  { name = "moonsand, first call of a process", run = new_process },
  { name = "moonsand, the process", run = function()
    return bench.timed(new_process)
  end },
  { name = "docker build, all cached", run = bench.command(docker_build(dir, "moonsand-bench:preset")) },
}, SHORT)
for _, name in ipairs { "moonsand, Docker", "moonsand, first call of a process", "moonsand, the process" } do
  local s = again[name]
  bench.add_row(AGAIN, name, ("%.1f [%.1f-%.1f]"):format(s.median * 1e3, s.low * 1e3, s.high * 1e3), "ms", nil,
    name ~= "moonsand, the process" and "<= 5" or nil)
end
bench.add_race(AGAIN, again, { "docker build, all cached" })
bench.add_row(AGAIN, "ratio of the calls", "", "",
  again["moonsand, Docker"].median / again["docker build, all cached"].median, "0.1")

-- ---- a large context ------------------------------------------------------------------------------------------------

-- Both send the whole context and then build nothing of it: until the engine begins with the first step.
local MIB, SENDS = 500, math.min(bench.samples, 10)
local SEND = ("sending a context of %d MiB, of %d"):format(MIB, SENDS)
local large = work .. "/large"
bench.sh(("mkdir %s; for i in $(seq 50); do head -c 10485760 /dev/urandom > %s/$i; done"):format(large, large))
write(large .. "/Dockerfile", ("FROM %s\nLABEL large=1\n"):format(bench.image))

local function peak_kib(reset)
  if reset then
    local file <close> = assert(io.open("/proc/self/clear_refs", "w"))
    file:write "5"
  end
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmHWM:%s+(%d+)"
    if kib then
      return math.tointeger(kib)
    end
  end
end

local grown, hashing = 0, {}

local function ours()
  collectgarbage()
  local rss, began, hashed, there = bench.rss_kib(), moonsand.monotonic(), nil, nil
  peak_kib(true)
  build({ dockerfile = large .. "/Dockerfile", context = large }, {
    no_cache = true,
    on_progress = function(event)
      local now = moonsand.monotonic()
      if event.phase == "hash" then
        hashed = now
      elseif event.phase == "build" then
        there = there or now
      end
    end,
  })
  grown = math.max(grown, peak_kib() - rss)
  hashing[#hashing + 1] = hashed - began
  return there - hashed
end

local function theirs()
  local began, there = moonsand.monotonic(), nil
  local line_of = "DOCKER_BUILDKIT=0 " .. docker_build(large, "moonsand-bench:large", "--no-cache") .. " 2>&1"
  local p = assert(io.popen(line_of))
  for line in p:lines() do
    there = there or line:find "^Step 1/" and moonsand.monotonic()
  end
  assert(p:close() and there, "docker build failed, or has no classic builder any more")
  return there - began
end

local send = bench.race({ { name = "moonsand, Docker", run = ours }, { name = "docker build", run = theirs } }, SENDS)
bench.add_race(SEND, send, { "moonsand, Docker", "docker build" }, { ["docker build"] = ">= 1" }, MIB, "MiB/s")
bench.add_race(SEND, { ["moonsand, hashing it before"] = bench.stats(hashing) },
  { "moonsand, hashing it before" }, nil, MIB, "MiB/s")
bench.add_row(SEND, "moonsand, controller's memory grew", ("%.1f"):format(grown / 1024), "MiB", nil, "< 32")
