--- Fork mode: the same results as a container of its own gives, from a fork of an interpreter that waits.
local builders = require "spec.support.builders"
local engines = require "spec.support.engines"
local moonsand = require "moonsand"
local same = require "spec.support.same"

local script_dir

--- What box:run takes, of an entry: { "name.py", text } is a script on this machine.
local function what(entry)
  local given = entry[2]
  if given[1] then
    builders.write(script_dir .. "/" .. given[1], given[2])
    return script_dir .. "/" .. given[1]
  end
  return given
end

--- The part of a result that has to be the same. The machine's own texts about itself are not compared.
local function told(entry, r, err)
  if not r then
    return { code = err.code, message = err.message:gsub("moonsand%-%x+", "CONTAINER") }
  end
  local t = {}
  for _, name in ipairs { "status", "exit_code", "signal", "stderr", "stdout_truncated", "artefacts",
    "rejected_artefacts", "value", "stragglers_killed", "oom_kills", "pids_refused" } do
    t[name] = r[name]
  end
  t.stdout, t.stdout_bytes = r.stdout, r.stdout_bytes
  if entry.but then -- of that stream only what the entry says; where an endless output is cut off is chance
    t[entry.but], t[entry.but .. "_bytes"] = nil, nil
  end
  return t
end

engines.each(describe, "fork mode", function(kind)
  local opened = {}

  --- A sandbox that the test's end closes.
  local function fork(options)
    local o = { mode = "fork", timeout = 20 }
    for k, v in pairs(options or {}) do
      o[k] = v
    end
    local box = engines.box(kind, o)
    opened[#opened + 1] = box
    return box
  end

  local function run(box, given, how)
    local r = assert(box:run(given, how))
    return r
  end

  setup(function()
    script_dir = builders.directory()
  end)

  teardown(function()
    builders.remove(script_dir)
  end)

  after_each(function()
    for _, box in ipairs(opened) do
      box:close()
    end
    opened = {}
    assert.equal(0, engines.settle(kind))
  end)

  describe("gives what a container of its own gives:", function()
    local warm, fresh

    setup(function()
      local box <close> = engines.box(kind, { timeout = 20, stdout = "2m" })
      -- Two at a time: these are what takes long here.
      fresh = moonsand.map(same, 2, function(entry)
        return { box:run(what(entry)) }
      end)
      warm = engines.box(kind, { mode = "fork", preload = { "json", "inspect" }, timeout = 20, stdout = "2m" })
    end)

    teardown(function()
      warm:close()
    end)

    for i, entry in ipairs(same) do
      it(entry[1], function()
        local r, err = warm:run(what(entry))
        assert.same(told(entry, fresh[i][1], fresh[i][2]), told(entry, r, err))
        if r then
          assert.equal("fork", r.isolation.mode)
          assert.equal(entry.status or r.status, r.status)
          assert.equal(entry.code or r.exit_code, r.exit_code)
          assert.equal(entry.stragglers or 0, r.stragglers_killed)
          assert.equal(entry.artefacts or 0, #r.artefacts)
          assert.equal(entry.rejected or 0, #r.rejected_artefacts)
          assert.matches(entry.out or "", r.stdout)
          assert.matches(entry.err or "", r.stderr)
        end
      end)
    end
  end)

  it("serves run after run from one container, and says how", function()
    local box = fork {}
    local first = run(box, { code = "print(1)" })
    engines.settle(kind)
    local before = #engines.containers(kind)
    for i = 1, 20 do
      local r = run(box, { code = "print(1)" })
      assert.equal(first.container, r.container)
      assert.equal(i, r.isolation.worker_runs)
    end
    assert.is_true(#engines.containers(kind) <= before)
    local i = first.isolation
    assert.equal("fork", i.mode)
    assert.is_true(i.tier == "namespaces" or i.tier == "landlock")
    assert.equal(21, box.pool:stats().runs)
  end)

  it("counts what the run used, not what the container has used", function()
    local box = fork { memory = "256m" }
    local large = run(box, { code = "import time\nx = bytearray(b'1' * (100 << 20))\ne = time.process_time() + 0.4\n"
      .. "while time.process_time() < e: pass" })
    local small = run(box, { code = "pass" })
    assert.equal(large.container, small.container)
    assert.is_true(large.memory_peak > 100 << 20, large.memory_peak)
    assert.is_true(small.memory_peak < 60 << 20, small.memory_peak)
    assert.is_true(large.cpu_s >= 0.4 and large.cpu_s < 2, large.cpu_s)
    assert.is_true(small.cpu_s < 0.2, small.cpu_s)
  end)

  it("has done the imports before", function()
    local code = "import sys; print([n in sys.modules for n in ('decimal', 'xml.dom.minidom', 'sqlite3')])"
    local r = run(fork { preload = { "decimal", "xml.dom.minidom" } }, { code = code })
    assert.equal("[True, True, False]\n", r.stdout)
  end)

  it("has run a script before, whose modules are there", function()
    local box = fork { preload_script = { code = "import decimal, random\ndecimal.loaded = random.random()" } }
    local code = "import decimal; print(decimal.loaded)"
    local a, b = run(box, { code = code }), run(box, { code = code })
    assert.matches("^0%.%d+\n$", a.stdout)
    assert.equal(a.stdout, b.stdout)
  end)

  it("keeps what was loaded in huge pages, so that a fork copies less", function()
    -- Before 6.1 there is no call for it.
    local version = io.open("/proc/sys/kernel/osrelease"):read "a"
    local major, minor = version:match "^(%d+)%.(%d+)"
    if tonumber(major) * 100 + tonumber(minor) < 601 or not io.open "/sys/kernel/mm/transparent_hugepage/enabled" then
      pending("Linux " .. version .. " makes no huge pages when it is asked to")
    end
    local box = fork { preload_script = { code = "import builtins\nbuiltins.much = b'x' * (16 << 20)" } }
    local code = "print(sum(int(l.split()[1]) for l in open('/proc/self/smaps') if l.startswith('AnonHuge')))"
    for _ = 1, 3 do
      assert.is_true(tonumber(run(box, { code = code }).stdout) >= 8 << 10)
    end
  end)

  it("says what cannot be preloaded", function()
    local r, err = fork({ preload = { "json", "not_there" } }):run { code = "print(1)" }
    assert.is_nil(r)
    assert.matches("No module named 'not_there'", tostring(err), 1, true)
    r, err = fork({ preload_script = { code = "import threading, time\n"
      .. "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()" } }):run { code = "print(1)" }
    assert.is_nil(r)
    assert.matches("thread", tostring(err), 1, true)
    r, err = fork({ preload_script = { code = "1/0" } }):run { code = "print(1)" }
    assert.is_nil(r)
    assert.matches("ZeroDivisionError", tostring(err), 1, true)
    r, err = fork({ memory = "64m", preload_script = { code = "x = bytearray(256 << 20)" } }):run { code = "print(1)" }
    assert.is_nil(r)
    assert.matches("memory ended while the interpreter loaded; raise memory", tostring(err), 1, true)
  end)

  it("hands out what comes while the program runs", function()
    local box, pieces = fork {}, {}
    local fed = { "one\n", "two\n" }
    local r = run(box, {
      code = "import sys\nfor line in sys.stdin: print(line.upper(), end='', flush=True)",
      stdin = function()
        return table.remove(fed, 1)
      end,
      on_stdout = function(piece)
        pieces[#pieces + 1] = piece
      end,
    })
    assert.equal("ok", r.status)
    assert.equal("ONE\nTWO\n", table.concat(pieces))
    local early
    local h = assert(box:start { code = "import time; print('early', flush=True); time.sleep(1)",
      on_stdout = function()
        early = early or moonsand.monotonic()
      end })
    assert(h:wait())
    assert.is_true(moonsand.monotonic() - early > 0.8)
  end)

  it("ends a run that is cancelled, and serves the next", function()
    local box = fork {}
    run(box, { code = "pass" })
    local h = assert(box:start { code = "import time; print('up', flush=True); time.sleep(60)",
      on_stdout = function() end })
    while h:phase() ~= "running" do
      engines.engine(kind):wait(0.1)
      engines.engine(kind):step()
    end
    h:cancel()
    assert.equal("cancelled", assert(h:wait(5)).status)
    assert.equal("on\n", run(box, { code = "print('on')" }).stdout)
  end)

  it("survives a fork bomb and a run out of memory, each told for what it is", function()
    local box = fork { memory = "96m", disk = "16m", pids = 32, max_runs = 1000 }
    local first = run(box, { code = "pass" })
    local bomb = run(box, { code = "import os\ntry:\n    while True: os.fork()\nexcept OSError: pass\n" })
    assert.equal("ok", bomb.status)
    assert.is_true(bomb.pids_refused > 0 or kind == "podman")
    assert.equal(first.container, run(box, { code = "pass" }).container)
    local oom = run(box, { code = "x = bytearray(b'1' * (300 << 20))" })
    assert.equal("oom", oom.status)
    assert.equal(first.container, oom.container)
    local after = run(box, { code = "print('on')" })
    assert.equal("on\n", after.stdout)
    assert.are_not.equal(first.container, after.container)
    assert.equal(1, box.pool:stats().retired.oom)
  end)

  it("keeps a worker whose run read large files, which stay in memory until somebody needs it", function()
    local box = fork { memory = "256m", data = { big = { data = ("0123456789abcdef"):rep(6 << 20) } } }
    local code = [[
import os
fd = os.open("/data/big", os.O_RDONLY)
os.fsync(fd)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED) # so that it is this container that reads it
n = 0
while chunk := os.read(fd, 1 << 20): n += len(chunk)
print(n)
]]
    local first = run(box, { code = "pass" })
    for i = 1, 3 do
      local r = run(box, { code = code })
      assert.equal("100663296\n", r.stdout, r.stderr)
      assert.equal(first.container, r.container)
      assert.equal(i, r.isolation.worker_runs)
    end
    run(box, { code = "pass" })
    assert.equal(0, box.pool:stats().retired.memory or 0)
  end)

  it("has what a sandbox allows: the container's network, and programs of its own in /tmp", function()
    local code = [[
import subprocess
print(sorted(line.split(":")[0].strip() for line in open("/proc/self/net/dev") if "eth0:" in line or "lo:" in line))
try: print(subprocess.call(["bin/python3", "x"]))
except OSError as e: print(e.strerror)
]]
    local mine = { ["bin/python3"] = { data = "#!/bin/sh\necho mine $1\n", mode = 493 } }
    local function two(options)
      local box = fork(options)
      local a = run(box, { code = code, files = mine })
      local b = run(box, { argv = { "python3", "-c", "print('found')" }, files = mine,
        env = { PATH = "/tmp/work/bin:/usr/local/bin:/usr/bin:/bin" } })
      assert.equal("fork", a.isolation.mode)
      return a, b
    end
    local a, b = two {}
    assert.equal("['lo']\nPermission denied\n", a.stdout, a.stderr)
    assert.equal("found\n", b.stdout, b.stderr)
    assert.same({}, a.isolation.exceptions)
    a, b = two { network = "bridge", exec_tmp = true }
    assert.matches("^%['eth0', 'lo'%]\nmine x\n0\n$", a.stdout)
    assert.equal("mine -c\n", b.stdout, b.stderr) -- and the run's own PATH is the one that counts
    assert.same({ "network=bridge", "exec_tmp" }, a.isolation.exceptions)
  end)

  it("never gives two keys one worker, and one key the same", function()
    local box, of = fork { workers = 2 }, {}
    for i, key in ipairs { "a", "b", "a", "c", "a", "b", "c", "c" } do
      local r = run(box, { code = "print(1)", trust_key = key })
      assert.equal("1\n", r.stdout)
      assert.equal(of[r.container] or key, key, "run " .. i)
      of[r.container] = key
      assert.equal(key, r.isolation.trust_key)
    end
    assert.is_true(box.pool:stats().retired.key >= 1)
  end)

  it("lets runs wait for a worker, whose time is not theirs", function()
    local box = fork { workers = 2 }
    assert(box.pool:wait_ready(60))
    local began, longest = moonsand.monotonic(), 0
    local list = moonsand.map({ 1, 2, 3, 4, 5, 6 }, 6, function(i)
      local r = run(box, { code = "import time; time.sleep(0.4); print(" .. i .. ")", timeout = 0.9 })
      longest = math.max(longest, r.queue_s)
      return r
    end)
    local took = moonsand.monotonic() - began
    local containers, n = {}, 0
    for i, r in ipairs(list) do
      assert.equal("ok", r.status)
      assert.equal(i .. "\n", r.stdout)
      n = n + (containers[r.container] and 0 or 1)
      containers[r.container] = true
    end
    assert.equal(2, n)
    assert.is_true(took > 1.2 and took < engines.patience(2.2), took)
    assert.is_true(longest > 0.7, longest)
  end)

  it("replaces a worker after max_runs", function()
    local box, of = fork { max_runs = 3 }, {}
    for _ = 1, 7 do
      local r = run(box, { code = "pass" })
      of[r.container] = (of[r.container] or 0) + 1
    end
    for _, n in pairs(of) do
      assert.is_true(n <= 3)
    end
    assert.equal(2, box.pool:stats().retired.runs)
  end)

  it("tells of a worker that dies, and goes on with another", function()
    local box, engine = fork {}, engines.engine(kind)
    local first = run(box, { code = "pass" })
    local function kill(name)
      assert(engine:request { method = "POST", path = "/containers/" .. name .. "/kill" })
    end
    kill(first.container)
    assert.equal("on\n", run(box, { code = "print('on')" }).stdout) -- idle: nobody's run was lost
    local h = assert(box:start { code = "import time; time.sleep(60)" })
    while h:phase() ~= "running" do
      engine:wait(0.1)
      engine:step()
    end
    for _, c in ipairs(engines.containers(kind)) do
      if c.state == "running" then
        kill(c.name)
      end
    end
    assert.equal("lost", assert(h:wait(10)).status)
    assert.equal("on\n", run(box, { code = "print('on')" }).stdout)
  end)

  it("has no less than was required", function()
    local r, err = fork({ require = "namespaces" }):run { code = "print(1)" }
    if r then
      assert.equal("namespaces", r.isolation.tier)
      local words = type(r.isolation.namespaces) == "table" and table.concat(r.isolation.namespaces, ",")
        or r.isolation.namespaces
      for _, name in ipairs { "user", "mnt", "pid", "ipc", "uts", "net" } do
        assert.matches(name, words, 1, true)
      end
    else
      assert.equal("isolation", err.code) -- where the machine has none, it refuses
    end
  end)

  it("serves Lua from a fork server of its own", function()
    local lua = assert(engines.engine(kind):image({ from = engines.image, files = {
      ["/usr/bin/lua5.4"] = "/usr/bin/lua5.4", ["/usr/lib/libreadline.so.8"] = builders.library "libreadline.so.8",
    } }))
    local box = fork { image = lua, language = "lua", preload_script = { code = "loaded = {}" } }
    local first
    for i = 1, 3 do
      local r = run(box, { language = "lua", code = [[
        print(type(loaded), loaded[1], arg[1], io.read "a") loaded[1] = true
        os.exit(tonumber(arg[1]))]], args = { i }, stdin = "in" })
      assert.equal("table\tnil\t" .. i .. "\tin\n", r.stdout, r.stderr)
      assert.equal(i, r.exit_code)
      assert.equal("fork", r.isolation.mode)
      first = first or r
      assert.equal(first.container, r.container)
    end
    local failed = run(box, { language = "lua", code = "error 'no'" })
    assert.equal("exit", failed.status)
    assert.matches("no", failed.stderr, 1, true)
  end)
end)
