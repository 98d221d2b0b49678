-- Options as people write them, and what they are told when it makes no sense.
local options = require "moonsand.options"

local function raises(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "nothing was raised")
  return tostring(err)
end

local function says(text, ...)
  for _, word in ipairs { ... } do
    assert.truthy(text:find(word, 1, true), ("%q does not say %q"):format(text, word))
  end
end

describe("sizes", function()
  it("are powers of 1024, in every spelling", function()
    local cases = {
      ["512m"] = 512 << 20, ["512M"] = 512 << 20, ["512mb"] = 512 << 20, ["512MiB"] = 512 << 20, ["1g"] = 1 << 30,
      ["1.5g"] = 3 << 29, ["64k"] = 65536, [" 2 k "] = 2048, ["7"] = 7, ["7b"] = 7, ["1t"] = 1 << 40, [".5k"] = 512,
    }
    for text, bytes in pairs(cases) do
      assert.equal(bytes, options.size("memory", text), text)
      assert.equal("integer", math.type(options.size("memory", text)))
    end
    assert.equal(300, options.size("memory", 300))
    assert.equal(300, options.size("memory", 300.0))
  end)

  it("that make no sense are named with option, value and example", function()
    for _, value in ipairs { "12 potatoes", "", "m", "-5m", "1e3", "1..5g", "0x10", "5 m m", 0, -1, 1.5, 0 / 0,
      math.huge, "99999999t", "1\0m", "0.0000001k", ("1"):rep(100) } do
      says(raises(options.size, "memory", value), "'memory'", "512m")
    end
    says(raises(options.size, "memory", "12 potatoes"), "12 potatoes")
    says(raises(options.size, "memory", true), "true")
    says(raises(options.size, "memory", {}), "table")
    assert.falsy(raises(options.size, "memory", "5\27[2Jm\n\u{9b}"):find "[%c\x9b]")
  end)
end)

describe("durations", function()
  it("are seconds", function()
    local cases = {
      ["5m"] = 300, ["30s"] = 30, ["500ms"] = 0.5, ["300"] = 300, ["1h30m"] = 5400, ["1.5h"] = 5400, ["0.5"] = 0.5,
      ["1 m"] = 60,
    }
    for text, seconds in pairs(cases) do
      assert.equal(seconds, options.duration("timeout", text), text)
    end
    assert.equal(0.25, options.duration("timeout", 0.25))
  end)

  it("that make no sense are refused", function()
    for _, value in ipairs { "soon", "", "5 parsecs", "5mm", "m5", "5m3", "-1s", "0s", 0, -5, 0 / 0, math.huge, "s" } do
      says(raises(options.duration, "timeout", value), "'timeout'", "30s")
    end
  end)
end)

describe("counts, processors, words", function()
  it("are checked", function()
    assert.equal(5, options.count("pids", 5))
    assert.equal(5, options.count("pids", "5"))
    assert.equal(5, options.count("pids", 5.0))
    for _, value in ipairs { 0, -1, 1.5, "many", 1 << 33, 0 / 0 } do
      says(raises(options.count, "pids", value), "'pids'", "whole number")
    end
    assert.equal(0.5, options.cpus("cpus", "0.5"))
    for _, value in ipairs { 0, -1, "two", 0 / 0, math.huge } do
      says(raises(options.cpus, "cpus", value), "'cpus'", "0.5")
    end
    says(raises(options.one_of { "none", "bridge" }, "network", "host"), "'network'", '"none"', '"bridge"', '"host"')
    says(raises(options.text, "image", "a\0b"), "NUL")
    says(raises(options.text, "image", ""), "'image'")
    says(raises(options.flag, "exec_tmp", "yes"), "'exec_tmp'", "true or false")
  end)
end)

describe("tables of options", function()
  local schema = { memory = options.size, timeout = options.duration, cpus = options.cpus }

  it("come out as plain numbers, in a new table", function()
    local given = { memory = "1m", timeout = "1m" }
    assert.same({ memory = 1 << 20, timeout = 60 }, options.check("x", given, schema))
    assert.equal("1m", given.memory)
  end)

  it("with unknown names get the nearest and the list", function()
    says(raises(options.check, "engine:sandbox", { memroy = 1 }, schema), "engine:sandbox", "'memroy'",
      "did you mean 'memory'", "cpus, memory, timeout")
    local text = raises(options.check, "x", { zzzzzzzz = 1 }, schema)
    says(text, "'zzzzzzzz'", "cpus, memory, timeout")
    assert.is_nil(text:find "did you mean")
    says(raises(options.check, "x", { 5 }, schema), "'1'")
    says(raises(options.check, "x", 5, schema), "table")
  end)

  it("blame the caller's line", function()
    local function user()
      options.check("x", { memory = 0 }, schema, 2)
    end
    local function outer()
      user()
    end
    local ok, err = pcall(outer)
    assert.is_false(ok)
    assert.matches("options_spec.lua:%d+:", err)
  end)
end)
