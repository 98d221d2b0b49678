-- core.d.lua says exactly what the C module has.
local core = require "moonsand.core"

local function read(path)
  local f = assert(io.open(path))
  local text = f:read "a"
  f:close()
  return text
end

local text = read "lua/moonsand/core.d.lua"

local function sorted(set)
  local list = {}
  for name in pairs(set) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

describe("core.d.lua", function()
  it("has the module's functions and fields", function()
    local said, real = {}, {}
    for name in text:gmatch "\nfunction core%.([%w_]+)" do
      said[name] = true
    end
    for name in text:match("%-%-%-@class moonsand%.core\n(.-)local core"):gmatch "%-%-%-@field ([%w_]+)" do
      said[name] = true
    end
    for name in pairs(core) do
      real[name] = true
    end
    assert.same(sorted(real), sorted(said))
  end)

  it("has each class's methods", function()
    local registry = debug.getregistry()
    for _, class in ipairs { "Loop", "Engine", "Request", "Sandbox", "Run", "Command", "Pack", "Journal" } do
      local said, real = {}, {}
      for name in text:gmatch("\nfunction " .. class .. ":([%w_]+)") do
        said[name] = true
      end
      for name in pairs(registry["moonsand.core." .. class].__index) do
        real[name] = true
      end
      assert.same(sorted(real), sorted(said), class)
    end
  end)

  it("each class closes in one way", function()
    for _, class in ipairs { "Loop", "Request", "Sandbox", "Run", "Command", "Pack", "Journal" } do
      local meta = debug.getregistry()["moonsand.core." .. class]
      assert.equal(meta.__index.close, meta.__gc)
      assert.equal(meta.__index.close, meta.__close)
      assert.equal("moonsand.core." .. class, meta.__name)
      assert.is_function(meta.__tostring)
    end
  end)

  it("lists the error codes of the header", function()
    local codes = {}
    for name in read("core/include/moonsand.h"):match("MOONSAND_ERROR_CODES%(X%)(.-)\n\n"):gmatch '"([a-z_]+)",' do
      codes[#codes + 1] = name
    end
    assert.is_true(#codes > 10)
    assert.truthy(text:find(table.concat(codes, " "), 1, true), table.concat(codes, " "))
  end)
end)
