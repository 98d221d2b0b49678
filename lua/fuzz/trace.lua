-- BuildKit's records: refused, or vertices and logs within their bounds, all of them out of these bytes. Then
-- the same as the stream of a build: what is told of it can be shown, and is bounded.
local base64 = require "moonsand.base64"
local steps = require "moonsand.image.steps"
local trace = require "moonsand.image.trace"

local function text(s, max)
  return type(s) == "string" and #s <= max
end

return function(bytes)
  local record = trace.decode(bytes)
  if record then
    local size = 0
    for _, v in ipairs(record.vertices) do
      assert(text(v.digest, 4096) and (v.name == nil or text(v.name, 4096)) and (v.error == nil or text(v.error, 4096)))
      assert(type(v.cached) == "boolean")
      size = size + #v.digest
    end
    for _, l in ipairs(record.logs) do
      assert(text(l.digest, 4096) and math.type(l.stream) == "integer" and type(l.data) == "string")
      size = size + #l.data
    end
    assert(size <= #bytes, "more than there was")
  end
  local feed, finish = steps.reader { markers = true, on_event = function(e)
    for _, s in ipairs { e.name or "", e.line or "" } do
      assert(#s <= 1100 and utf8.len(s) and not s:find "%c", "cannot be shown")
    end
  end }
  feed(('{"id":"moby.buildkit.trace","aux":"%s"}\n'):format(base64.encode(bytes)))
  -- and as text of the other builders
  feed('{"stream":"' .. bytes:gsub('[%c"\\\127-\255]', "\\n") .. '"}\n')
  feed(bytes)
  local outcome = finish()
  assert(#outcome.log <= 40)
end
