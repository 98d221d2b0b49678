-- What is on an engine: names, facts, removal, history, prune; and that a sandbox keeps to one image.
local E = require "spec.support.engines"
local moonsand = require "moonsand"
local store = require "moonsand.image.store"
local used = require "moonsand.image.used"

local real_getenv = os.getenv
local dir, tar

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  assert(os.execute(("mkdir -m 700 '%s' && cd '%s' && mkdir root && head -c 20000 /dev/urandom >root/blob && "
    .. "tar -C root -cf t.tar ."):format(dir, dir)))
  tar = dir .. "/t.tar"
  os.getenv = function(name) -- luacheck: ignore 122
    return name == "XDG_STATE_HOME" and dir or real_getenv(name)
  end
end)

teardown(function()
  os.getenv = real_getenv -- luacheck: ignore 122
  os.execute(("rm -rf '%s'"):format(dir))
end)

local function container(engine, image, name)
  local made = assert(engine:request {
    method = "POST", path = "/containers/create?name=" .. name, body = { Image = image, Cmd = { "/nothing" } },
  })
  return function()
    engine:request { method = "DELETE", path = "/containers/" .. made.Id .. "?force=1" }
  end
end

E.each(describe, "images", function(kind)
  local engine, names

  local function make(ref, changes)
    names[#names + 1] = ref
    return assert(engine:import(tar, ref, { changes = changes or { "ENV N=" .. #names } }))
  end

  before_each(function()
    engine, names = E.engine(kind), {}
  end)

  after_each(function()
    for _, ref in ipairs(names) do
      engine:remove(ref, { force = true })
    end
  end)

  it("are told by name, digest and id", function()
    local ref = "localhost/specs/store:facts"
    local facts = make(ref, {
      'ENV A="b c"', 'LABEL l="x y"', 'CMD ["/run", "it"]', "WORKDIR /w", "USER 5", "VOLUME /v",
    })
    assert.matches("^sha256:%x+$", facts.id)
    assert.same({ ref }, facts.refs)
    assert.equal(store.engine_platform(engine), facts.platform)
    assert.equal("b c", facts.config.env[#facts.config.env]:match "^A=(.*)$")
    assert.equal("x y", facts.labels.l)
    assert.same({ "/run", "it" }, facts.config.cmd)
    assert.equal("/w", facts.config.workdir)
    assert.equal("5", facts.config.user)
    assert.same({ "/v" }, facts.config.volumes)
    assert.is_true(math.abs(os.time() - facts.created) < 60)
    assert.is_true(facts.size >= 20000 and facts.layers == 1)
    for _, way in ipairs { ref, facts.id, facts.id:sub(8), { id = facts.id } } do
      local there, again = engine:has(way)
      assert.is_true(there)
      assert.equal(facts.id, again.id)
    end
  end)

  it("that are not there are no error for has, and not_found for the others", function()
    local none = "localhost/specs/store:none"
    local there, err = engine:has(none)
    assert.is_false(there)
    assert.is_nil(err)
    local zeros = "sha256:" .. ("0"):rep(64)
    for _, way in ipairs { none, zeros, "specs-none", "a/b@" .. zeros } do
      for _, method in ipairs { "inspect", "history", "remove", "sandbox" } do
        local value
        value, err = engine[method](engine, method == "sandbox" and { image = way } or way)
        assert.is_nil(value)
        assert.equal("not_found", err.code, method .. " " .. way)
      end
      local ok
      ok, err = engine:tag(way, "localhost/specs/store:new")
      assert.is_nil(ok)
      assert.equal("not_found", err.code)
    end
  end)

  it("are listed with their names", function()
    local one = make "localhost/specs/store:one"
    assert(engine:tag(one.id, "localhost/specs/store:two"))
    names[#names + 1] = "localhost/specs/store:two"
    for _, item in ipairs(assert(engine:images())) do
      if item.id == one.id then
        table.sort(item.refs)
        assert.same({ "localhost/specs/store:one", "localhost/specs/store:two" }, item.refs)
        return
      end
    end
    error "it is not in the list"
  end)

  it("lose a name at a time, and go with the last one", function()
    local facts = make "localhost/specs/store:a"
    assert(engine:tag("localhost/specs/store:a", "localhost/specs/store:b"))
    names[#names + 1] = "localhost/specs/store:b"
    local ok, err = engine:remove(facts.id)
    assert.is_nil(ok)
    assert.equal("conflict", err.code)
    assert.matches("localhost/specs/store:a.*localhost/specs/store:b", err.message)
    local what = assert(engine:remove "localhost/specs/store:a")
    assert.same({ "localhost/specs/store:a" }, what.untagged)
    assert.same({}, what.deleted)
    assert.is_true(engine:has(facts.id))
    what = assert(engine:remove "localhost/specs/store:b")
    assert.truthy(table.concat(what.deleted, " "):find(facts.id, 1, true))
    assert.is_false(engine:has(facts.id))
  end)

  it("in use stay, and the container is named", function()
    local facts = make "localhost/specs/store:used"
    local name = "moonsand-specs-" .. kind
    local remove = container(engine, facts.id, name)
    finally(remove)
    for _, way in ipairs { "localhost/specs/store:used", facts.id } do
      local ok, err = engine:remove(way)
      assert.is_nil(ok)
      assert.equal("conflict", err.code)
      assert.truthy(err.message:find(name, 1, true), err.message)
      assert.equal(name, err.containers[1].name)
    end
    remove()
    assert(engine:remove "localhost/specs/store:used")
  end)

  it("have a history without what drives a terminal", function()
    make("localhost/specs/store:h", { "ENV A=b" })
    local steps = assert(engine:history "localhost/specs/store:h")
    assert.is_true(#steps >= 1)
    for _, step in ipairs(steps) do
      assert.is_true(step.created > 0)
      assert.is_nil((step.created_by .. (step.comment or "")):find "%c")
    end
  end)

  it("need a name that can be one", function()
    for _, bad in ipairs { "A:1", "", "a b", 5, {} } do
      for _, method in ipairs { "has", "inspect", "history", "remove", "tag", "pull", "push" } do
        assert.is_false(pcall(engine[method], engine, bad, "a:1"), method)
      end
    end
    assert.is_false(pcall(engine.tag, engine, "a:1", "a@sha256:" .. ("0"):rep(64)))
    local ok, err = pcall(function()
      engine:remove("a:1", { forc = true })
    end)
    assert.is_false(ok)
    assert.matches("did you mean 'force'", err)
    assert.matches("image_store_spec", err)
  end)

  it("with a name that moves stay the same for a sandbox, and a new sandbox takes the new one", function()
    local ref = "localhost/specs/store:moving"
    names[#names + 1] = ref
    local base = assert(engine:inspect(E.image))
    assert(engine:tag(E.image, ref))
    local old = assert(engine:sandbox { image = ref })
    assert.equal(base.id, old.image)
    assert.equal(ref, old.image_ref)
    -- Another image under the name: the same files, one more variable.
    local made = container(engine, E.image, "moonsand-specs-moving-" .. kind)
    local answer = assert(engine:request {
      method = "POST", body = {},
      path = "/commit?container=moonsand-specs-moving-" .. kind .. "&repo=localhost/specs/store&tag=moving",
    })
    made()
    assert.truthy(answer)
    local moved = assert(engine:inspect(ref))
    assert.not_equal(base.id, moved.id)
    local r = assert(old:run { code = "print(1)" })
    assert.equal("ok", r.status)
    assert.equal(base.id, r.image)
    assert.equal(ref, r.image_ref)
    local new = assert(engine:sandbox { image = ref })
    r = assert(new:run { code = "print(1)" })
    assert.equal(moved.id, r.image)
    assert.equal(base.id, assert(old:run { code = "print(1)" }).image)
    assert.equal(0, E.settle(kind))
    -- What our runs made of it goes with it.
    assert(engine:remove(ref))
    assert.is_false(engine:has(moved.id))
    for _, item in ipairs(assert(engine:images { all = true })) do
      assert.not_equal(moved.id, item.labels["moonsand.base"])
    end
    local gone, err = new:run { code = "print(1)" }
    assert.is_nil(gone)
    assert.equal("not_found", err.code)
    assert.truthy(err.message:find(moved.id, 1, true), err.message)
    r = assert(old:run { code = "print(1)" })
    assert.equal("ok", r.status)
  end)

  it("that runs were made of are made again when they were pruned meanwhile", function()
    local box = assert(engine:sandbox { image = E.image })
    assert(box:run { code = "print(1)" })
    assert.equal(0, E.settle(kind))
    local n = 0
    for _, item in ipairs(assert(engine:images { all = true })) do
      if item.kind == "run" and item.labels["moonsand.base"] == box.image then
        assert(engine:remove(item.id, { force = true }))
        n = n + 1
      end
    end
    assert.equal(1, n)
    local r = assert(box:run { code = "print(2)" })
    assert.equal("2\n", r.stdout)
    assert.equal("ok", r.status)
  end)

  it("for another platform make no sandbox, and both platforms are named", function()
    local ref = "localhost/specs/store:foreign"
    local script = ([[cd '%s' && mkdir -p foreign && cp t.tar foreign/layer.tar && cd foreign && cat >config.json <<END
{"architecture":"s390x","os":"linux","config":{},
 "rootfs":{"type":"layers","diff_ids":["sha256:$(sha256sum <layer.tar | cut -c1-64)"]}}
END
cat >manifest.json <<END
[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]
END
tar -cf ../foreign.tar config.json layer.tar manifest.json]]):format(dir, ref)
    assert(os.execute(script))
    names[#names + 1] = ref
    assert(engine:load(dir .. "/foreign.tar"))
    local box, err = engine:sandbox { image = ref }
    assert.is_nil(box)
    assert.equal("unsupported", err.code)
    local own = store.engine_platform(engine)
    for _, words in ipairs { ref, "linux/s390x", own, 'platform = "' .. own .. '"' } do
      assert.truthy(err.message:find(words, 1, true), err.message)
    end
    assert(engine:sandbox { image = ref, platform = "linux/s390x" }) -- an engine with emulation could run it
    box, err = engine:sandbox { image = E.image, platform = "linux/s390x" }
    assert.is_nil(box)
    assert.equal("unsupported", err.code)
  end)
end)

E.each(describe, "prune", function(kind)
  local engine, names, others
  local day = 86400

  local function make(ref, labels, changes)
    names[#names + 1] = ref
    local list = changes or { "ENV N=" .. #names }
    for name, value in pairs(labels) do
      list[#list + 1] = ("LABEL %s=%s"):format(name, value)
    end
    return assert(engine:import(tar, ref, { changes = list }))
  end

  local real_time = os.time

  -- As if it had been used so long ago.
  local function used_before(id, seconds)
    assert(used.touch(id))
    local f = assert(io.open(used.dir() .. "/" .. id:sub(8), "w"))
    f:write(("%d %d\n"):format(os.time() - seconds, real_time()))
    f:close()
  end

  -- What the other specs have built must outlive these, whatever the clock is made to say.
  local function at(seconds)
    os.time = function(t) -- luacheck: ignore 122
      return t and real_time(t) or real_time() + seconds
    end
    for _, id in ipairs(others) do
      used_before(id, 0)
    end
  end

  before_each(function()
    engine, names, others = E.engine(kind), {}, {}
    for _, item in ipairs(assert(engine:images { all = true, ours = true })) do
      others[#others + 1] = item.id
    end
    others[#others + 1] = assert(engine:inspect(E.image)).id
  end)

  after_each(function()
    os.time = real_time -- luacheck: ignore 122
    for _, ref in ipairs(names) do
      engine:remove(ref, { force = true })
    end
  end)

  local function entry(list, id)
    for _, item in ipairs(list) do
      if item.id == id then
        return item
      end
    end
    return nil
  end

  it("takes what is ours, old and unused, and says why the others stay", function()
    local ours = { ["moonsand.kind"] = "image", ["moonsand.image"] = "x" }
    local idle = make("localhost/moonsand/image:specs-idle", ours)
    local active = make("localhost/moonsand/image:specs-active", ours)
    local running = make("localhost/moonsand/image:specs-running", ours)
    local named = make("localhost/moonsand/image:specs-named", ours)
    local theirs = make("localhost/specs/store:theirs", {})
    local derived = make("localhost/specs/store:derived", ours)
    names[#names + 1] = "localhost/specs/store:mine"
    assert(engine:tag(named.id, "localhost/specs/store:mine"))
    local container_gone = container(engine, running.id, "moonsand-specs-prune-" .. kind)
    finally(container_gone)
    at(20 * day)
    used_before(idle.id, 8 * day)
    used_before(active.id, 6 * day)
    local dry = assert(engine:prune { dry_run = true, older_than = "15d" })
    assert.truthy(entry(dry.removed, idle.id))
    assert.is_true(engine:has(idle.id))
    local out = assert(engine:prune { older_than = "15d" })
    local gone = assert(entry(out.removed, idle.id))
    assert.same({ "localhost/moonsand/image:specs-idle" }, gone.refs)
    assert.equal("image", gone.kind)
    assert.is_true(out.bytes >= idle.size)
    assert.is_false(engine:has(idle.id))
    assert.is_nil(used.last(idle.id))
    for id, why in pairs { [active.id] = "used since", [running.id] = "moonsand-specs-prune-" .. kind,
      [named.id] = "localhost/specs/store:mine", [derived.id] = "localhost/specs/store:derived" } do
      local item = assert(entry(out.kept, id), why)
      assert.truthy(item.why:find(why, 1, true), item.why)
      assert.is_true(engine:has(id))
    end
    assert.is_nil(entry(out.kept, theirs.id) or entry(out.removed, theirs.id))
    assert.is_true(engine:has(theirs.id))
  end)

  it("keeps what is younger than it was told", function()
    local young = make("localhost/moonsand/packages:specs-young", { ["moonsand.kind"] = "packages" })
    at(5 * day)
    local out = assert(engine:prune { older_than = "6d", unused_for = "1d" })
    assert.equal("it is younger", assert(entry(out.kept, young.id)).why)
    out = assert(engine:prune { unused_for = "1h", older_than = "4d" })
    assert.truthy(entry(out.removed, young.id))
  end)

  it("takes the images that runs have made, by the use of what they were made of", function()
    local ref = "localhost/specs/store:ran"
    names[#names + 1] = ref
    assert(engine:tag(E.image, ref))
    local made = container(engine, E.image, "moonsand-specs-ran-" .. kind)
    assert(engine:request { method = "POST", body = {},
      path = "/commit?container=moonsand-specs-ran-" .. kind .. "&repo=localhost/specs/store&tag=ran" })
    made()
    local box = assert(engine:sandbox { image = ref })
    assert(box:run { code = "print(1)" })
    assert.equal(0, E.settle(kind))
    local function run_image(list)
      for _, item in ipairs(list) do
        if item.kind == "run" and item.refs[1]:find "^localhost/moonsand/run:" then
          local facts = engine:inspect(item.id)
          if not facts or facts.labels["moonsand.base"] == box.image then
            return item
          end
        end
      end
      return nil
    end
    local dry = assert(engine:prune { unused_for = "1d", dry_run = true })
    assert.equal("it was used since", assert(run_image(dry.kept)).why)
    at(2 * day)
    dry = assert(engine:prune { unused_for = "1d", dry_run = true })
    assert.truthy(run_image(dry.removed))
    used_before(box.image, 3600)
    dry = assert(engine:prune { unused_for = "1d", dry_run = true })
    assert.truthy(run_image(dry.kept))
  end)

  it("refuses what is no time", function()
    for _, bad in ipairs { "soon", -1, true } do
      assert.is_false(pcall(engine.prune, engine, { unused_for = bad }))
    end
  end)
end)

describe("the record of use", function()
  it("is written when a sandbox is made, below $XDG_STATE_HOME", function()
    local engine = E.engine "docker"
    used.forget(assert(engine:inspect(E.image)).id)
    local box = assert(engine:sandbox { image = E.image })
    assert.is_true(math.abs(os.time() - used.last(box.image)) <= 61)
    assert.equal(dir .. "/moonsand/used", used.dir())
    used.forget(box.image)
    assert.is_nil(used.last(box.image))
    moonsand.map({ 1, 2, 3 }, 3, function()
      return engine:sandbox { image = E.image }
    end)
    assert.truthy(used.last(box.image))
  end)

  it("may be impossible, which stops nothing", function()
    local inner = os.getenv
    finally(function()
      os.getenv = inner -- luacheck: ignore 122
    end)
    os.getenv = function(name) -- luacheck: ignore 122
      if name == "XDG_STATE_HOME" then
        return "/proc/no/such/place"
      end
      return inner(name)
    end
    assert.is_nil((used.touch("sha256:" .. ("1"):rep(64))))
    assert(E.engine("docker"):sandbox { image = E.image })
    os.getenv = function() -- luacheck: ignore 122
      return nil
    end
    assert.is_nil(used.dir())
    assert.is_nil((used.touch("sha256:" .. ("1"):rep(64))))
    assert.is_nil(used.last "../../etc/passwd")
  end)
end)
