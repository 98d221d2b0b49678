--- The image that tests and benchmark run on: gives both private engines the bootstrapped base and prints its name.
--- Their endpoints stand in the environment, see tools/engines.sh.
local base = require "moonsand.image.base"
local images = require "moonsand.images"
local moonsand = require "moonsand"

local ref
for _, name in ipairs { "MOONSAND_TEST_DOCKER", "MOONSAND_TEST_PODMAN" } do
  local engine <close> = assert(moonsand.connect(os.getenv(name)))
  local found = assert(base.resolve(engine, images.bootstrap {}, {
    on_progress = function(event)
      if event.step then
        io.stderr:write(("base: %d/%d %s\n"):format(event.step, event.steps, event.status))
      end
    end,
  }))
  ref = found.ref
end
print(ref)
