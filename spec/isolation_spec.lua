-- The walls, tried from inside by a program that wants out.
local engines = require "spec.support.engines"
local walls = require "spec.support.walls"

engines.each(describe, "isolation", function(kind)
  it("holds from inside", function()
    local cjson = require "cjson"
    local r = assert(engines.box(kind, { timeout = 30 }):run { code = walls.probe })
    assert.equal("", r.stderr)
    assert.equal("ok", r.status)
    local p = cjson.decode(r.stdout)
    for _, set in ipairs { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" } do
      assert.equal(0, p[set], set)
    end
    assert.equal("1", p.nnp)
    assert.equal("2", p.seccomp)
    assert.is_true(p.uid >= 10000)
    assert.same({ "lo" }, p.ifaces)
    assert.same({}, p.writable)
    assert.is_true(p.tmp)
    assert.is_false(p.tmp_exec)
    assert.is_true(p.tmp_bytes <= 64 * 1024 * 1024)
    if kind == "docker" then -- Podman takes no inode limit for a tmpfs: the result says so
      assert.is_true(p.tmp_inodes <= 8192)
      assert.equal(8192, r.isolation.tmp.inodes)
    else
      assert.is_nil(tonumber(r.isolation.tmp.inodes))
    end
    for name, rc in pairs(p.calls) do
      assert.is_true(rc == -1 or rc == -38, name .. " gave " .. rc) -- EPERM or ENOSYS
    end
    for _, family in ipairs(p.sockets) do
      assert.is_true(family == 1 or family == 2 or family == 10, "socket family " .. family)
    end
    assert.same({}, p.secrets)
    assert.equal("sandbox", p.hostname)
    for _, name in ipairs(p.env) do
      assert.is_nil(name:match "DOCKER" or name:match "container" or name:match "PROXY", name)
    end
  end)

  it("gives each live container a uid of its own", function()
    local box = engines.box(kind)
    local a = assert(box:start { code = "import os, time; print(os.getuid(), flush=True); time.sleep(2)" })
    local b = assert(box:run { code = "import os; print(os.getuid())" })
    local ra = assert(a:wait())
    assert.are_not.equal(ra.stdout, b.stdout)
  end)

  it("reports what was applied", function()
    local r = assert(engines.box(kind):run { code = "pass" })
    local i = r.isolation
    assert.equal("none", i.network)
    assert.is_true(i.no_new_privileges)
    assert.is_true(i.self_check)
    assert.equal(512 * 1024 * 1024, i.memory)
    assert.equal(0.5, i.cpus)
    assert.same({}, i.exceptions)
  end)

  it("reports a read-only bind as an exception, and it is read-only", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -m 755 " .. dir .. " && echo 42 > " .. dir .. "/answer"))
    local r = assert(engines.box(kind, { binds = { [dir] = "/data" } }):run { code = [[
print(open("/data/answer").read().strip())
try:
    open("/data/new", "w")
    print("written")
except OSError as e:
    print("refused")
]] })
    os.execute("rm -r " .. dir)
    assert.equal("42\nrefused\n", r.stdout)
    assert.equal(1, #r.isolation.exceptions)
    assert.matches("/data", r.isolation.exceptions[1], 1, true)
  end)

  it("fills /tmp up to its limit and no further", function()
    local r = assert(engines.box(kind, { disk = "8m" }):run { code = [[
n = 0
try:
    with open("/tmp/a", "wb") as f, open("/tmp/b", "wb") as g:
        while True:
            f.write(b"x" * 65536); f.flush(); g.write(b"x" * 65536); g.flush(); n += 131072
except OSError as e:
    print(e.errno, n)
]] })
    assert.equal("ok", r.status)
    local errno, n = r.stdout:match "(%d+) (%d+)"
    assert.is_true(errno == "28" or errno == "27", r.stdout)
    assert.is_true(tonumber(n) <= 8 * 1024 * 1024)
  end)

  it("covers or ignores the volumes of an image: nothing below them can be written", function()
    local engine = engines.engine(kind)
    local name = "moonsand-spec-volumes"
    assert(engine:request {
      method = "POST",
      path = "/containers/create?name=" .. name,
      body = { Image = engines.image, Cmd = { "true" }, NetworkDisabled = true, HostConfig = { NetworkMode = "none" } },
    })
    assert(engine:request {
      method = "POST",
      path = "/commit?container=" .. name .. "&repo=localhost/moonsand/spec-volumes&tag=1&changes=VOLUME%20/data",
      body = {},
    })
    assert(engine:request { method = "DELETE", path = "/containers/" .. name .. "?force=1&v=1" })
    local box = engines.box(kind, { image = "localhost/moonsand/spec-volumes:1" })
    local r = assert(box:run { code = [[
for path in ("/data/x", "/x"):
    try:
        open(path, "w")
        print("wrote", path)
    except OSError:
        print("refused", path)
]] })
    assert.equal("refused /data/x\nrefused /x\n", r.stdout)
  end)

  it("finds the image with the agent by a name that only this machine can know", function()
    local engine = engines.engine(kind)
    assert(engines.box(kind):run { code = "pass" })
    local f = io.open "/etc/machine-id"
    if not f then
      pending "this machine has no /etc/machine-id"
      return
    end
    local machine = f:read "l"
    f:close()
    local id = assert(engine:request { path = "/images/" .. engines.image .. "/json" }).Id
    local agent = (os.getenv "MOONSAND_BUILD" or "build") .. "/agent/moonsand-agent"
    local p = assert(io.popen(("unset LD_PRELOAD; { printf '%%s%%s\\0' %s %s; cat %s %s; } | sha256sum")
      :format(machine, id, agent, "core/agent/python/moonsand.py")))
    local tag = p:read "l":sub(1, 32)
    p:close()
    assert.is_true(assert(engine:has("localhost/moonsand/run:" .. tag)))
  end)

  it("opens the network only as a named exception", function()
    local engine = engines.engine(kind)
    if not engine:facts().has_bridge then
      local box, err = engine:sandbox { image = engines.image, network = "bridge" }
      assert.is_nil(box)
      assert.equal("unsupported", err.code)
      return
    end
    local r, err = engines.box(kind, { network = "bridge" }):run { code = [[
print(sorted(l.split(":")[0].strip() for l in open("/proc/net/dev").readlines()[2:]))]] }
    if not r and err.code == "engine" then
      pending(kind .. " cannot set up its network here: " .. tostring(err):sub(1, 150))
      return
    end
    assert(r, tostring(err))
    assert.matches("eth0", r.stdout, 1, true)
    assert.same({ "network=bridge" }, r.isolation.exceptions)
  end)
end)
