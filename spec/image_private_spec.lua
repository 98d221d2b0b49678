-- Dockerfiles that build on images of a private registry: with the credentials of Docker's config file, as
-- `docker build` has them.
-- Plain build only: builds images, with the C of image_build_spec
local R = require "spec.support.registry"
local base64 = require "moonsand.base64"
local builders = require "spec.support.builders"
local engines = require "spec.support.engines"
local json = require "moonsand.json"
local moonsand = require "moonsand"

local real_getenv = os.getenv
local dir, able

setup(function()
  able = R.start()
  dir = builders.directory()
  os.getenv = function(name) -- luacheck: ignore 122
    return name == "DOCKER_CONFIG" and dir or real_getenv(name)
  end
end)

teardown(function()
  os.getenv = real_getenv -- luacheck: ignore 122
  R.stop()
  builders.remove(dir)
end)

local function login(password)
  builders.write(dir .. "/config.json", json.encode { auths = {
    [R.host] = { auth = base64.encode(R.user .. ":" .. password) },
  } })
end

builders.each(describe, "a Dockerfile on a private registry", function(b)
  local engine, ref

  before_each(function()
    if not able then
      pending "this machine lets us have no address for a registry"
    end
    login(R.password)
    -- of its own, so that it remembers nothing
    engine = assert(moonsand.connect(engines.url[b.kind]))
    ref = ("%s/specs/private-%s:1"):format(R.host, b.builder)
    assert(engine:tag(engines.image, ref))
    assert(engine:push(ref))
    assert(engine:remove(ref))
  end)

  after_each(function()
    if engine then
      engine:remove(ref)
      engine:close()
    end
  end)

  local function make(text)
    return engine:image({ dockerfile = { data = text .. "\nENV U=" .. builders.unique() .. "\n" } },
      { builder = b.builder, network = "none" })
  end

  it("is built: FROM and COPY", function()
    local image = assert(make("FROM " .. ref))
    assert.equal(ref, image.base.ref)
    assert.matches("pulled", image.base.line)
    assert(engine:remove(ref))
    image = assert(make(("FROM %s\nCOPY --from=%s /etc/os-release /copied"):format(engines.image, ref)))
    assert.equal(engines.image, image.base.ref)
    assert.matches("Debian", builders.python(engine, image, "print(json.dumps(open('/copied').read()))"))
  end)

  it("is built: RUN --mount", function()
    if b.builder == "classic" then
      return pending "the classic builder has no such mounts"
    end
    local image = assert(make(("FROM %s\nRUN --mount=type=bind,from=%s,source=/usr,target=/mnt ls /mnt >/listed"):
      format(engines.image, ref)))
    assert.equal(engines.image, image.base.ref)
    assert.matches("bin\n", builders.python(engine, image, "print(json.dumps(open('/listed').read()))"))
  end)

  it("is built when a trigger of its base names the image", function()
    if b.builder == "buildkit" then
      return pending "BuildKit knows no --from in ONBUILD"
    end
    local parent = assert(make(("FROM %s\nONBUILD COPY --from=%s /etc/os-release /copied"):format(engines.image, ref)))
    assert.is_false((engine:has(ref)))
    local image = assert(make("FROM " .. parent.ref))
    assert.matches("Debian", builders.python(engine, image, "print(json.dumps(open('/copied').read()))"))
  end)

  it("is built again when somebody has removed the image meanwhile", function()
    assert(make("FROM " .. ref))
    local other <close> = assert(moonsand.connect(engines.url[b.kind]))
    assert(other:remove(ref))
    assert.matches("pulled", assert(make("FROM " .. ref)).base.line)
  end)

  it("is refused with the wrong password", function()
    login "wrong"
    local image, err = make("FROM " .. ref)
    assert.is_nil(image)
    assert.equal("denied", err.code)
    assert.matches(ref, err.message, 1, true)
    assert.is_nil(err.message:find("wrong", 1, true))
  end)
end)
