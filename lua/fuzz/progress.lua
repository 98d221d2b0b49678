-- An engine's progress stream: whatever comes, in whatever pieces, makes the same events, which are harmless,
-- and the same failure. The first byte says how it is cut.
local json = require "moonsand.json"
local progress = require "moonsand.image.progress"

local fields = { phase = "string", id = "string", status = "string", current = "number", total = "number" }

local function read(bytes, size)
  local out = {}
  local feed, finish = progress.reader(function(event)
    for name, value in pairs(event) do
      assert(fields[name] == type(value), name)
      assert(math.type(value) ~= "float", "not an integer")
      if type(value) == "string" then
        assert(#value <= 410 and utf8.len(value), "long or no text")
        assert(not value:find "%c" and not value:find "\xc2[\x80-\x9f]", "harmful")
      end
    end
    out[#out + 1] = json.encode(event)
  end, "pull")
  for from = 1, #bytes, size do
    feed(bytes:sub(from, from + size - 1))
  end
  local failure = finish()
  if failure then
    assert(#failure.message <= 2010 and failure.message ~= "" and not failure.message:find "%c", "harmful failure")
    out[#out + 1] = json.encode(failure)
  end
  return table.concat(out, "\n")
end

return function(bytes)
  local size = math.max(1, (bytes:byte() or 0) % 64)
  bytes = bytes:sub(2)
  assert(read(bytes, size) == read(bytes, math.max(1, #bytes)), "depends on the pieces")
  local line = bytes:match "^[^\n]*"
  read(line:rep(65536 // math.max(1, #line)), 4096)
end
