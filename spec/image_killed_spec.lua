-- What a controller that is killed in the middle of a build leaves: engine:prune takes its names, moonsand clean its
-- containers, and neither anything of those who live.
-- Plain build only: builds images, with the C of image_build_spec
local builders = require "spec.support.builders"
local clean = require "moonsand.cli.clean"
local core = require "moonsand.core"
local engines = require "spec.support.engines"
local hold = require "moonsand.image.hold"
local moonsand = require "moonsand"

local function names_of(engine)
  local out = {}
  for _, item in ipairs(assert(engine:images { all = true })) do
    for _, ref in ipairs(item.refs) do
      if hold.state(ref) then
        out[#out + 1] = ref
      end
    end
  end
  return out
end

local function has(list, ref)
  for _, item in ipairs(list) do
    if (item.ref or item) == ref then
      return true
    end
  end
  return false
end

builders.each(describe, "a killed build", function(b)
  it("leaves names and containers that are taken, and those of the living are not", function()
    local engine = b.engine()
    assert.same({}, names_of(engine))
    -- one that is built with
    local living <close> = assert(hold.take(engine, assert(engine:inspect(engines.image)).id))
    local child = assert(io.popen(("echo $$; exec lua5.4 spec/support/build_one.lua %s %s %s %s 30 2>&1"):format(
      engines.url[b.kind], b.builder, engines.image, builders.unique())))
    local pid, left = assert(tonumber(child:read "l")), nil
    local due = moonsand.monotonic() + engines.patience(30)
    repeat
      moonsand.sleep(0.05)
      for _, ref in ipairs(names_of(engine)) do
        left = ref ~= living.ref and ref or left
      end
    until left or moonsand.monotonic() > due
    moonsand.sleep(0.3) -- into the build
    os.execute(("kill -9 %d"):format(pid))
    child:close()
    assert.is_string(left)

    local dry = assert(engine:prune { dry_run = true })
    assert.is_true(has(dry.names, left))
    assert.is_true(has(names_of(engine), left))
    local out = assert(engine:prune())
    assert.is_true(has(out.names, left))
    assert.is_false(has(out.names, living.ref))
    assert.same({ living.ref }, names_of(engine))
    assert.is_true((engine:has(engines.image)))

    for _, c in ipairs(clean.find(engine, false)) do
      assert(engine:request { method = "DELETE", path = "/containers/" .. c.id .. "?force=1&v=1" })
    end
    due = moonsand.monotonic() + 15
    local function containers()
      local rest = builders.leftovers(engine)
      while rest[1] and rest[1]:find "moonsand/work:" do
        table.remove(rest, 1)
      end
      return rest
    end
    while #containers() > 0 and moonsand.monotonic() < due do
      moonsand.sleep(0.2)
    end
    assert.same({}, containers())
  end)
end)

describe("a name for a build", function()
  local owner = assert(core.owner_label()):match "/(.*)$":gsub("/", ".")

  local function name(since, of)
    return ("localhost/moonsand/work:%d.0123456789ab.%s"):format(since, of)
  end

  it("says whether somebody builds with it", function()
    local now = os.time()
    assert.equal("used", hold.state(name(now, owner)))
    assert.equal("used", hold.state(name(now - 30 * 86400, owner))) -- it is known to live
    assert.equal("abandoned", hold.state(name(now, owner .. "9"))) -- begun at another time
    assert.equal("used", hold.state(name(now - 3600, "-.0.1.1")))
    assert.equal("abandoned", hold.state(name(now - 2 * 86400, "-.0.1.1")))
    for _, other in ipairs { "localhost/moonsand/image:1.0123456789ab.x", "localhost/moonsand/work:latest",
      "localhost/moonsand/work:99999999999999999999.0a.x", "docker.io/moonsand/work:1.0a.x" } do
      assert.is_nil(hold.state(other))
    end
  end)

  it("keeps its image from being pruned, though it is old", function()
    local engine = engines.engine "docker"
    local image = assert(engine:image({ from = engines.image, env = { U = builders.unique() } }, { network = "none" }))
    local function kept()
      for _, item in ipairs(assert(engine:prune { unused_for = 0, dry_run = true }).kept) do
        if item.id == image.id then
          return item.why
        end
      end
    end
    do
      local _ <close> = assert(hold.take(engine, image.id))
      assert.equal("a build is at work on it", kept())
    end
    assert(engine:remove(image.ref))
  end)
end)
