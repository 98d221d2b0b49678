-- A build that fills the engine's disk: an error with its reason, and nothing half-built.
-- Plain build only: builds images, with the C of image_build_spec
local builders = require "spec.support.builders"
local core = require "moonsand.core"
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

local base = engines.image

-- An engine of our own on a file system of 400 MB, where a build runs out of room.
for _, kind in ipairs { "docker", "podman" } do
  describe("a full disk under " .. kind, function()
    local dir, mounted, endpoint

    setup(function()
      dir = builders.directory()
      mounted = os.execute(([[
cd '%s' && truncate -s 450M disk && mkfs.ext4 -q disk && mkdir m && mount -o loop disk m >/dev/null 2>&1]]
      ):format(dir)) == true
      endpoint = mounted and core.embedded_start(dir .. "/m", kind) or nil
    end)

    teardown(function()
      if endpoint then
        core.embedded_stop(dir .. "/m")
      end
      if mounted then
        os.execute(("umount '%s/m' 2>/dev/null || umount -l '%s/m'"):format(dir, dir))
      end
      builders.remove(dir)
    end)

    it("is an error with its reason, and no image", function()
      if not endpoint then
        pending "needs a loop device and an engine of our own on it"
        return
      end
      local engine, err
      local due = moonsand.monotonic() + 30
      repeat
        engine, err = moonsand.connect { endpoint = "unix://" .. endpoint, timeout = 5 }
      until engine or moonsand.monotonic() > due
      assert(engine, err)
      local tar = dir .. "/base.tar"
      assert(engines.engine(kind):save(base, tar))
      assert(engine:load(tar))
      os.remove(tar)
      local before = #assert(engine:images())
      local image
      image, err = engine:image({ from = base, run = { "head -c 600000000 /dev/zero >/big" } }, { network = "none" })
      assert.is_nil(image)
      assert.equal("build", err.code)
      assert.matches("[Nn]o space left", err.message .. table.concat(err.log or {}))
      assert.equal(before, #assert(engine:images()))
      assert.same({}, builders.leftovers(engine))
      -- and afterwards there is room again
      assert(engine:image({ from = base, env = { AFTER = "1" } }, { network = "none" }))
      engine:close()
    end)
  end)
end
