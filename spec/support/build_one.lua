-- Builds one image in a process of its own: build_one.lua ENDPOINT BUILDER BASE UNIQUE [SECONDS].
-- Prints its name and id.
local moonsand = require "moonsand"
local engine = assert(moonsand.connect(arg[1]))
local image = assert(engine:image({
  from = arg[3], env = { UNIQUE = arg[4] }, run = ("sleep %d; date +%%N >/when"):format(arg[5] or 1),
}, { builder = arg[2], network = "none" }))
print(image.ref, image.id)
