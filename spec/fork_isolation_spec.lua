--- What one run could leave for the next: planted by run n, looked for by run n+1 in the same worker.
local engines = require "spec.support.engines"
local json = require "moonsand.json"
local plants = require "spec.support.plants"
local walls = require "spec.support.walls"

engines.each(describe, "in fork mode", function(kind)
  local box

  setup(function()
    box = engines.box(kind, {
      mode = "fork", preload = { "ctypes", "json", "decimal", "threading", "socket", "random", "resource" },
      timeout = 20, disk = "16m", shm = "16m", max_runs = 1000000,
    })
  end)

  teardown(function()
    box:close()
    assert.equal(0, engines.settle(kind))
  end)

  local function run(what)
    local r = assert(box:run(what))
    assert.equal("fork", r.isolation.mode)
    return r
  end

  local function said(r)
    assert.equal("ok", r.status, r.stderr .. r.reason)
    assert.equal("", r.stderr)
    return r.stdout
  end

  --- Both served by one worker, one right after the other. Where only Landlock keeps runs apart, a plant may cost the
  --- worker; that the next run is clean is then no less true.
  local function follows(before, after)
    if before.isolation.tier == "namespaces" then
      assert.equal(before.container, after.container, "the worker was retired")
      assert.equal(before.isolation.worker_runs + 1, after.isolation.worker_runs)
    end
  end

  describe("the next run does not see", function()
    for _, plant in ipairs(plants.list) do
      it(plant.name, function()
        local clean = run { code = plants.program(plant, "look") }
        local planted = run { code = plants.program(plant, "plant") }
        local after = run { code = plants.program(plant, "look") }
        if plant.refused then
          assert.equal("refused\n", said(planted))
        else
          assert.are_not.equal(said(clean), said(planted)) -- it did plant, and look() sees it where it is
          assert.are_not.equal("refused\n", planted.stdout)
        end
        assert.equal(said(clean), said(after))
        follows(planted, after)
      end)
    end

    it("the numbers that the one before drew", function()
      local seen = {}
      for _ = 1, 5 do
        local r = run { code = [[
import os, random, secrets, tempfile, uuid
print(random.random()); print(random.SystemRandom().random()); print(uuid.uuid4()); print(secrets.token_hex(8))
print(os.urandom(8).hex()); print(os.path.basename(tempfile.mktemp()))
random.seed(1)
]] }
        for line in said(r):gmatch "[^\n]+" do
          assert.is_nil(seen[line], "drawn twice: " .. line)
          seen[line] = true
        end
      end
    end)

    it("what the one before was given", function()
      local before = run { code = "import sys; print(sys.stdin.read())", stdin = "SECRET-stdin",
        env = { SECRET = "SECRET-env" }, args = { "SECRET-args" }, params = { secret = "SECRET-params" },
        files = { ["secret.txt"] = { data = "SECRET-file" } } }
      assert.equal("SECRET-stdin\n", said(before))
      local after = run { code = [[
import os, sys
word, found = b"SECRET-", set()
own = b"SEC" + b"RET-own" # the scan does find what is there
names = (b"stdin", b"env", b"args", b"params", b"file", b"own")
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as mem:
    for line in maps.read().splitlines():
        span, mode = line.split()[:2]
        if mode[0] != "r" or "[v" in line: continue
        a, b = (int(x, 16) for x in span.split("-"))
        try: mem.seek(a); data = mem.read(b - a)
        except (OSError, ValueError): continue
        at = data.find(word)
        while at >= 0:
            found.add(bytes(data[at + 7:at + 13])); at = data.find(word, at + 1)
print(sorted({n.decode() for n in names for x in found if x.startswith(n)}))
]] }
      assert.equal("['own']\n", said(after))
      follows(before, after)
    end)
  end)

  describe("a program does not reach", function()
    for _, attack in ipairs(walls.attacks) do
      it(attack.name, function()
        local r = run { code = walls.program(attack) }
        -- "own" is what the same attack does to a process of the program's own: it works where anything does.
        local own, others = said(r):match "^own ?(.-)\nothers (.-)\n$"
        assert.is_truthy(own, r.stdout)
        if attack.own then
          assert.matches(attack.own, own)
        end
        assert.equal("[]", others)
        local after = run { code = "print('alive')" }
        assert.equal("alive\n", said(after))
        follows(r, after)
      end)
    end

    it("what container mode keeps from it", function()
      local forked = assert(json.decode(said(run { code = walls.probe })))
      local fresh = assert(json.decode(said(assert(engines.box(kind, { timeout = 20, disk = "16m", shm = "16m" })
        :run { code = walls.probe }))))
      -- /tmp is a mount of the run's own here, with an inode limit on every engine.
      assert.is_true(forked.tmp_inodes > 0 and forked.tmp_inodes <= 8192)
      forked.tmp_inodes, fresh.tmp_inodes = nil, nil
      forked.uid, fresh.uid, forked.groups, fresh.groups = nil, nil, nil, nil -- each container has its own
      assert.same(fresh, forked)
    end)
  end)
end)
