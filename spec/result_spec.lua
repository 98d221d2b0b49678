-- Results made of what the core gives, hostile bytes included.
local json = require "moonsand.json"
local moonsand = require "moonsand"
local result = require "moonsand.result"

local function fields(more)
  local f = {
    status = "ok", reason = "", exit_code = 0, signal = 0, stdout = "out", stdout_bytes = 3, stdout_truncated = false,
    stderr_bytes = 0, stderr_truncated = false, wall_s = 1.25, cpu_s = 0.5, overhead_s = 0.1, create_s = 0.01,
    start_s = 0.02, finish_s = 0.03, memory_peak = 1 << 40, oom_kills = 0, stragglers_killed = 0, pids_refused = 0,
    artefacts = {}, rejected = {}, isolation = '{"network":"none","memory":536870912,"exceptions":[]}',
    image = "sha256:1", container = "moonsand-1",
  }
  for k, v in pairs(more or {}) do
    f[k] = v
  end
  return f
end

describe("a result", function()
  it("has every field, and text where a callback took the stream", function()
    local r = result.new(fields())
    assert.is_true(r.ok)
    assert.equal("out", r.stdout)
    assert.equal("", r.stderr)
    assert.equal("none", r.isolation.network)
    assert.equal("integer", math.type(r.isolation.memory))
    assert.same({}, r.artefacts)
    assert.same({}, r.rejected_artefacts)
    assert.is_nil(r.rejected)
  end)

  it("is not ok unless its status is", function()
    for _, status in ipairs { "exit", "signal", "timeout", "oom", "output_limit", "cancelled", "tampered", "lost" } do
      assert.is_false(result.new(fields { status = status }).ok)
    end
  end)

  it("decodes the value", function()
    local r = result.new(fields { value = '{"sharpe":1.5,"trades":3,"none":null,"list":[1,2]}' })
    assert.equal(1.5, r.value.sharpe)
    assert.equal("integer", math.type(r.value.trades))
    assert.equal(moonsand.null, r.value.none)
    assert.same({ 1, 2 }, r.value.list)
    assert.is_nil(r.value_error)
  end)

  it("says why there is no value", function()
    for _, text in ipairs {
      "", "{", "nope", "[1,]", "0x10", "\0", '"\xff', "1 2", "nan", "inf", "-NaN", "+Infinity", "--Infinity",
      "[NaN 1]",
      "1-Infinity", "[NaN,0x10]", "[NaN,01]", "[NaN,+1]", "[Infinity,1e999]", "1e999", "NaNs", "_NaN", '{NaN:1}',
      '"NaN',
      '[NaN,"\\"]', "[NaN", '{"a":Infinity,}', "Infinity()",
    } do
      local r = result.new(fields { value = text })
      assert.is_nil(r.value, text)
      assert.is_string(r.value_error, text)
      assert.is_nil(r.value_error:find "%c")
    end
  end)

  it("takes NaN and infinities as Python writes them, and keeps texts that look like them", function()
    local r = result.new(fields {
      value = '{"sharpe":NaN,"best": Infinity ,"worst":-Infinity,"list":[NaN,1,-Infinity],"trades":3,'
        .. '"text":"NaN, -Infinity \\" NaN","NaN":"Infinity","x":{"y":NaN},"none":null}',
    })
    assert.is_nil(r.value_error)
    local v = r.value
    assert.is_true(v.sharpe ~= v.sharpe)
    assert.equal(math.huge, v.best)
    assert.equal(-math.huge, v.worst)
    assert.is_true(v.list[1] ~= v.list[1])
    assert.equal("integer", math.type(v.list[2]))
    assert.equal(-math.huge, v.list[3])
    assert.equal("integer", math.type(v.trades))
    assert.equal('NaN, -Infinity " NaN', v.text)
    assert.equal("Infinity", v.NaN)
    assert.is_true(v.x.y ~= v.x.y)
    assert.equal(moonsand.null, v.none)
    v = result.new(fields { value = " NaN\n" }).value
    assert.is_true(v ~= v)
    assert.equal(-math.huge, result.new(fields { value = "-Infinity" }).value)
  end)

  it("decodes a megabyte of them, and of quotes, without going back and forth", function()
    local r = result.new(fields { value = "[" .. ("NaN,"):rep(100000) .. "-Infinity]" })
    assert.equal(100001, #r.value)
    r = result.new(fields { value = "[NaN," .. ('"\\"",'):rep(100000) .. "1]" })
    assert.equal(100002, #r.value)
  end)

  it("writes them as null in the summary, and says which they were", function()
    local r = result.new(fields { value = '{"a":NaN,"b":{"c":[1,Infinity]},"d":2}' })
    local again = json.decode(json.encode(r:summary()))
    assert.equal(json.null, again.value.a)
    assert.equal(json.null, again.value.b.c[2])
    assert.equal(2, again.value.d)
    assert.same({ a = "nan", ["b.c.2"] = "inf" }, again.value_nonfinite)
    assert.is_true(r.value.a ~= r.value.a)
    assert.is_nil(result.new(fields { value = '{"a":1}' }):summary().value_nonfinite)
    again = json.decode(json.encode(result.new(fields { value = "-Infinity" }):summary()))
    assert.equal(json.null, again.value)
    assert.same({ [""] = "-inf" }, again.value_nonfinite)
  end)

  it("refuses a value that is nested deeply, and survives it", function()
    local r = result.new(fields { value = ("["):rep(100000) .. ("]"):rep(100000) })
    assert.is_nil(r.value)
    assert.is_string(r.value_error)
    r = result.new(fields { value = ("["):rep(60) .. ("]"):rep(60) })
    assert.is_table(r.value)
  end)

  it("finds artefacts by path", function()
    local r = result.new(fields { artefacts = { { path = "a/b", data = "\0x", mode = 420 } } })
    assert.equal("\0x", r:artefact("a/b").data)
    assert.is_nil(r:artefact "a")
    local ok, err = r:save "/tmp"
    assert.is_nil(ok)
    assert.equal("invalid", err.code)
    assert.has_error(function()
      r:save(5)
    end)
    assert.is_true(result.new(fields()):save "/nowhere/at/all")
  end)

  it("prints as one line", function()
    assert.equal("ok (1.25 s)", tostring(result.new(fields())))
    assert.equal("exit 137 (1.25 s)", tostring(result.new(fields { status = "exit", exit_code = 137 })))
    assert.equal("signal 9 (1.25 s)", tostring(result.new(fields { status = "signal", signal = 9 })))
    assert.equal("timeout (1.25 s): too long",
      tostring(result.new(fields { status = "timeout", reason = "too long" })))
  end)

  it("goes through JSON, with arrays as arrays and bytes as text", function()
    local r = result.new(fields { stdout = "\xff\0\27[31m", artefacts = { { path = "a", data = "xyz", mode = 420 } } })
    local text = json.encode(r:summary())
    assert.is_truthy(utf8.len(text))
    assert.is_nil(text:find "%c")
    assert.truthy(text:find('"rejected_artefacts":[]', 1, true))
    assert.truthy(text:find('"exceptions":[]', 1, true))
    assert.truthy(text:find('"memory_peak":1099511627776', 1, true))
    local back = json.decode(text)
    assert.equal(3, back.artefacts[1].bytes)
    assert.equal("\u{FFFD}\0\27[31m", back.stdout)
  end)
end)

describe("json.encode", function()
  it("keeps numbers exactly", function()
    assert.equal("9007199254740993", json.encode(9007199254740993))
    assert.equal("0.1", json.encode(0.1))
    assert.equal(0.1 + 0.2, tonumber(json.encode(0.1 + 0.2)))
    assert.equal("3", json.encode(3.0))
  end)

  it("raises for what JSON cannot hold", function()
    local loop = {}
    loop[1] = loop
    for _, value in ipairs { 0 / 0, math.huge, print, loop, { [print] = 1 } } do
      assert.has_error(function()
        json.encode(value)
      end)
    end
  end)

  it("sorts keys and escapes", function()
    assert.equal('{"a":"\\"\\\\\\n\\u0001","b":[1,true,null],"c":{}}',
      json.encode { c = {}, b = { 1, true, json.null }, a = '"\\\n\1' })
  end)
end)
