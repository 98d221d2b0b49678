-- Docker's config file and what credential helpers print: refused without telling what stands in it, or
-- credentials of exactly one kind that can be sent.
local auth = require "moonsand.image.auth"
local base64 = require "moonsand.base64"
local json = require "moonsand.json"

local function check(found)
  local ways = (found.password and 1 or 0) + (found.identity_token and 1 or 0) + (found.registry_token and 1 or 0)
  assert(ways == 1 and (not found.password or found.username), "not one way")
  for name, value in pairs(found) do
    assert(type(name) == "string" and type(value) == "string" and value ~= "" and not value:find "%z", "not a text")
  end
  local header = auth.header(found, "host:5000")
  assert(header:find "^[%w_=-]+$", "not a header's value")
  assert(type(json.decode(base64.decode(header))) == "table")
end

return function(bytes)
  local config, why = auth.parse(bytes)
  if config then
    assert(config.store == nil or type(config.store) == "string")
    for _, helper in pairs(config.helpers) do
      assert(type(helper) == "string")
    end
    for _, entry in pairs(config.auths) do
      local found, wrong = auth.from_entry(entry)
      assert(not (found and wrong))
      if found then
        check(found)
      end
    end
  else
    assert(why == "is no JSON object", "tells what it read")
  end
  local found = auth.from_helper(bytes)
  if found then
    check(found)
  end
  local plain = base64.decode(bytes)
  if plain then
    assert(base64.encode(plain):gsub("=", "") == bytes:gsub("%s", ""):gsub("=", ""):gsub("-", "+"):gsub("_", "/")
      or base64.decode(base64.encode(plain)) == plain, "base64 reads otherwise")
  end
end
