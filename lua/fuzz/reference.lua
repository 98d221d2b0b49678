-- Image references, from people and from engines: refused with a reason, or read into parts that make the
-- same reference again and that can stand in a URL's path and query as they are.
local reference = require "moonsand.image.reference"
local stretch = require "lua.fuzz.support.stretch"

local function one(text)
  local ref, why = reference.parse(text)
  if not ref then
    assert(type(why) == "string" and not why:find "%c", "refused without a reason")
    return
  end
  for _, s in ipairs { ref.text, reference.path(ref), reference.short(ref), (reference.name_tag(ref)) } do
    assert(#s <= 700 and s:find "^[%w%[][%w%[%]._:/@+-]*$" and not s:find("//", 1, true), "not fit for a URL: " .. s)
    assert(not ("/" .. s .. "/"):find("/../", 1, true), "leads upwards: " .. s)
  end
  assert(ref.tag or ref.digest, "neither tag nor digest")
  local again = assert(reference.parse(ref.text))
  assert(again.text == ref.text and again.tag == ref.tag and again.digest == ref.digest, "reads otherwise")
  assert(reference.parse(reference.short(ref)).text == ref.text, "is written otherwise")
end

return function(bytes)
  one(bytes)
  for text in stretch.each(bytes) do
    one(text)
  end
end
