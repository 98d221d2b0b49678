-- What is wrong with builds in the world: each ends in a clear error or the right image, nothing half-built has the
-- good name, and nothing is left behind.
-- Plain build only: builds images, with the C of image_build_spec
local builders = require "spec.support.builders"
local engines = require "spec.support.engines"
local json = require "moonsand.json"

local base = engines.image

builders.each(describe, "a bad build", function(b)
  local function fails(what, code, pattern, step)
    local names = #assert(b.engine():images())
    local image, err = b.image(what)
    assert.is_nil(image)
    assert.equal(code, err.code)
    assert.matches(pattern, err.message)
    if step then
      assert.matches(step, err.step)
    end
    assert.same({}, builders.leftovers(b.engine()))
    assert.equal(names, #assert(b.engine():images()))
  end

  it("with a mistake in the Dockerfile names the line", function()
    fails({ dockerfile = { data = "FROM " .. base .. "\nFOO bar\nRUN true\n" } }, "build", "FOO", "^FOO bar")
  end)

  it("that copies what is not there names the step", function()
    fails({ dockerfile = { data = "FROM " .. base .. "\nCOPY nosuch.txt /x\n" } }, "build", "nosuch", "COPY nosuch")
  end)

  it("on a base that is not there says so", function()
    fails({ from = "localhost/spec/nosuch:1", run = "true" }, "not_found", "localhost/spec/nosuch:1")
    fails({ dockerfile = { data = "FROM localhost/spec/nosuch:1\nRUN true\n" } }, "not_found",
      "localhost/spec/nosuch:1")
  end)

  it("with files that are not there is no build", function()
    fails({ from = base, files = { ["/x"] = "/nonexistent/file" } }, "io", "nonexistent")
    fails({ dockerfile = "/nonexistent/Dockerfile" }, "io", "nonexistent")
    fails({ dockerfile = { data = "FROM " .. base .. "\n" }, context = "/nonexistent" }, "io", "nonexistent")
  end)

  it("with links out of the context sends no byte from outside", function()
    local dir = builders.directory()
    os.execute(("mkdir '%s/ctx' && echo secret >'%s/secret' && ln -s '%s/secret' '%s/ctx/link'"):format(dir, dir, dir,
      dir))
    local what = { dockerfile = { data = "FROM " .. base .. "\nCOPY . /ctx/\nENV U=" .. builders.unique() .. "\n" },
      context = dir .. "/ctx" }
    local image = assert(b.image(what))
    assert.same({ true, false }, builders.python(b.engine(), image,
      "print(json.dumps([os.path.islink('/ctx/link'), os.path.exists('/ctx/link')]))"))
    os.execute(("ln -s ../secret '%s/ctx/up'"):format(dir))
    image = b.image(what)
    if b.kind == "podman" then
      fails(what, "build", "symbolic link out of it")
    else
      assert.same({ "../secret", false }, builders.python(b.engine(), image,
        "print(json.dumps([os.readlink('/ctx/up'), os.path.exists('/ctx/up')]))"))
    end
    builders.remove(dir)
  end)

  it("of which a file changes while it is sent fails", function()
    local dir = builders.directory()
    os.execute(("head -c 30000000 /dev/zero >'%s/big'"):format(dir))
    local image, err = b.image({ from = base, files = { ["/big"] = dir .. "/big" }, env = { U = builders.unique() } }, {
      on_progress = function(e)
        if e.phase == "context" then
          os.execute(("head -c 100 /dev/zero >'%s/big'"):format(dir))
        end
      end })
    builders.remove(dir)
    assert.is_nil(image)
    assert.equal("conflict", err.code)
    assert.same({}, builders.leftovers(b.engine()))
  end)

  it("made twice at once by two processes ends well in both", function()
    local unique = builders.unique()
    local command = ("lua5.4 spec/support/build_one.lua %s %s %s %s 2>&1"):format(
      engines.url[b.kind], b.builder, base, unique)
    local one, two = io.popen(command), io.popen(command)
    local ref1, id1 = one:read("a"):match "(%S+)\t(%S+)"
    local ref2, id2 = two:read("a"):match "(%S+)\t(%S+)"
    one:close()
    two:close()
    assert.matches("^localhost/moonsand/image:", ref1)
    assert.equal(ref1, ref2)
    local named = assert(b.engine():inspect(ref1)).id
    assert.is_true(named == id1 or named == id2)
    assert.is_true((b.engine():has(id1)) and (b.engine():has(id2)))
    assert.same({}, builders.leftovers(b.engine()))
  end)

  it("on a base with VOLUME and ONBUILD is the right image", function()
    local parent = assert(b.image { dockerfile = { data = "FROM " .. base
      .. "\nRUN mkdir /data && echo old >/data/old\nVOLUME /data\n"
      .. "ONBUILD RUN echo triggered >/onbuild\nONBUILD ENV TRIGGERED=1\n" } })
    local image = assert(b.image { from = parent.ref, files = { ["/data/new"] = { data = "new" },
      ["/opt/x"] = { data = "x" } },
      env = { U = builders.unique() } })
    local config = assert(b.engine():request { path = "/images/" .. image.id .. "/json" }).Config
    assert.is_truthy(json.encode(config.Env):find("TRIGGERED=1", 1, true))
    local seen = builders.python(b.engine(), image, [[
def read(p):
    return open(p).read().strip() if os.path.exists(p) else None
print(json.dumps([read("/onbuild"), read("/opt/x")]))]])
    assert.same({ "triggered", "x" }, seen)
  end)

  it("with many files needs little memory", function()
    local dir = builders.directory()
    assert(os.execute(([[python3 -c '
import os
for d in range(200):
    os.mkdir("%s/%%d" %% d)
    for i in range(100):
        os.close(os.open("%s/%%d/%%d" %% (d, i), os.O_CREAT | os.O_WRONLY))
']]):format(dir, dir)))
    collectgarbage()
    local image = assert(b.image { from = base, files = { ["/many"] = dir }, env = { U = builders.unique() } })
    builders.remove(dir)
    assert.same({ 20000 }, builders.python(b.engine(), image,
      "print(json.dumps([sum(len(f) for _, _, f in os.walk('/many'))]))"))
  end)
end)
