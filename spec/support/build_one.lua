-- Builds one image in a process of its own: build_one.lua ENDPOINT BUILDER BASE UNIQUE. Prints its name and id.
local moonsand = require "moonsand"
local engine = assert(moonsand.connect(arg[1]))
local image = assert(engine:image({ from = arg[3], env = { UNIQUE = arg[4] }, run = "sleep 1; date +%N >/when" },
  { builder = arg[2], network = "none" }))
print(image.ref, image.id)
