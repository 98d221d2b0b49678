--- What the lines of a sweep's journal can say: what programs write is hostile, and reading is fast.
local J = require "spec.support.journals"
local core = require "moonsand.core"
local journal = require "moonsand.sweep.journal"
local lines = require "moonsand.sweep.line"
local json = require "moonsand.json"

local path, fails, open, read, text, trial, write = J.path, J.fails, J.open, J.read, J.text, J.trial, J.write
local nan = 0 / 0

setup(J.begin)

teardown(J.finish)

describe("what a program says", function()
  local harmful = "\27[2J\u{202e}evil\u{200b} \u{200b} x\u{9b}1m\xff\0\n"

  local function check(t)
    for name, v in pairs(t.metrics) do
      for _, s in ipairs { name, type(v) == "string" and v or "" } do
        assert.is_true(utf8.len(s) ~= nil and #s <= 1000 and not s:find "[%c\127]" and not s:find "\u{202e}", s)
      end
      assert.is_true(#name <= 200)
    end
    assert.is_true(#t.message <= 500 and utf8.len(t.message) ~= nil and not t.message:find "%c")
    for name, list in pairs(t.series) do
      assert.is_true(#name <= 200 and #list <= 4096)
    end
  end

  it("is made harmless and bounded on both ways", function()
    local function raw()
      local t = trial(1, "failed", {
        reason = "error",
        message = harmful .. ("é"):rep(5000),
        metrics = { [harmful] = harmful, [("n"):rep(100000)] = ("v"):rep(100000), [5] = 1, t = {}, ok = 1 },
        series = { [harmful] = { harmful }, long = {}, odd = 5 },
      })
      for i = 1, 10000 do
        t.series.long[i] = i
      end
      for i = 1, 5000 do
        t.metrics["m" .. i] = i
      end
      return t
    end
    local j <close> = open()
    assert(j:append(raw()))
    local clean = assert(journal.load(path)).trials[1]
    check(clean)
    local count = 0
    for _ in pairs(clean.metrics) do
      count = count + 1
    end
    assert.equal(4096, count)
    assert.is_nil(clean.series.odd)
    assert.equal(1, clean.series.long[1])
    assert.equal(10000, clean.series.long[4096])
    assert(j:append(clean))
    local all = assert(journal.load(path))
    assert.equal(text(clean), text(all.trials[1]), "what was clean comes back as it was")
    -- and a journal that was written by somebody else
    write('{"type":"sweep","version":1,"script":"\\u001b[2J"}\n{"type":"trial","number":1,"state":"failed",' ..
      '"params":{"\\u001b":1},"message":"\\u001b[2J\\u202e","metrics":{"\\u001b[0m":"\\u0007"},' ..
      '"series":{"\\u001b":["\\u001b"]}}\n')
    all = assert(journal.load(path))
    check(all.trials[1])
    assert.is_nil(text(all):find "[%c]")
  end)

  it("is nothing beside what a trial has", function()
    local j <close> = open()
    assert(j:append(trial(1, "complete", { tags = { a = 1 }, other = 5 })))
    assert.is_nil(read():find "tags")
    write((read():gsub('"params"', '"tags":{"a":1},"other":5,"params"')))
    assert.equal(text(trial(1, "complete")), text(assert(journal.load(path)).trials[1]))
  end)

  it("is kept without its series when it is too long otherwise", function()
    local j <close> = open()
    local t = trial(1, "complete", { series = {}, metrics = { x = 1 } })
    for i = 1, 64 do
      local list = {}
      for k = 1, 4096 do
        list[k] = ('"'):rep(64)
      end
      t.series["s" .. i] = list
    end
    assert(j:append(t))
    local all = assert(journal.load(path))
    assert.equal(1, all.trials[1].metrics.x)
    assert.is_nil(all.trials[1].series)
  end)
end)

describe("core.Journal:record", function()
  local function records(list)
    write(table.concat(list, "\n") .. "\n")
    return assert(core.journal(path, { mode = "read" }))
  end

  it("reads every number as what it says", function()
    local said = {
      "0", "-0", "0.0", "-0.0", "1.5", "-1.5", "0.1", "1e3", "1E-3", "5e-324", "1.7976931348623157e308", "1234567.125",
      "9223372036854775807", "-9223372036854775808", "9223372036854775808", "0.30000000000000004",
      "9007199254740993.0", "9007199254740992.5", "9007199254740993.5", "4503599627370497.5", "4503599627370496.5",
      "0.9999999999999999999", "9999999999999999999.5", "0.000000000000000001", "1.0000000000000000001",
      "1234567890123456789.0", "0.5000000000000000000", "100000000000000000000",
    }
    math.randomseed(7)
    for i = 1, 3000 do
      local x = (math.random() - 0.5) * 10 ^ math.random(-8, 18)
      said[#said + 1] = ("%.17g"):format(x)
      said[#said + 1] = ("%." .. i % 20 .. "f"):format(x)
    end
    local file <close> = records(said)
    for _, s in ipairs(said) do
      local want = tonumber(s)
      local got = file:record()
      assert.is_true(got == want and math.type(got) == math.type(want) and tostring(got) == tostring(want), s)
    end
  end)

  it("takes JSON and nothing else", function()
    for _, bad in ipairs {
      "", " ", "01", "1.", ".5", "+1", "1e", "1e+", "--1", "0x10", "NaN", "Infinity", "nul", "nulll", "True", "1 2",
      "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "{,}", "{1:2}", "{null:1}", "\"", "\"\\\"",
      "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\t\"", "[", "{", "]", "}",
      ("["):rep(33) .. ("]"):rep(33), "1e999", ("1"):rep(70), "'a'", "/**/1",
    } do
      local file <close> = records { bad }
      fails("protocol", "line 1 %(byte 0%) is not JSON %([%w ]+, byte %d+ of the line%)", file:record())
    end
    local file <close> = records {
      '  [ null , { "a" : null , "b" : [ ] } ,\ttrue,"\\u00e9\\ud83d\\ude00\\/\\b\\u0000" ]\r',
    }
    assert.same({ json.null, { b = {} }, true, "é😀/\b\0" }, (file:record()))
    assert.is_nil(file:record())
  end)

  it("knows what is simple", function()
    local long = ("x"):rep(64)
    for line, simple in pairs {
      ['{"a":1,"b":{"c d":"e f","g":null}}'] = true, ["{}"] = true, ['{"a":"' .. long .. '"}'] = true,
      ['{"a":{"b":{}}}'] = false, ['{"a":[]}'] = false, ["[]"] = false, ['{"a":"' .. long .. 'x"}'] = false,
      ['{"a":" b"}'] = false, ['{"a":"b "}'] = false, ['{"a":"b  c"}'] = false, ['{"a":"é"}'] = false,
      ['{"a":"\127"}'] = false, ['{"a":"\\n"}'] = false, ['{" ":1}'] = false, ['{"":1}'] = true,
    } do
      local file <close> = records { line }
      local _, got = file:record()
      assert.equal(simple, got, line)
    end
    local many = {}
    for i = 1, 5000 do
      many[i] = ('"%d":1'):format(i)
    end
    local file <close> = records { "{" .. table.concat(many, ",") .. "}" }
    assert.is_false(select(2, file:record()))
  end)

  it("knows what is of a shape", function()
    local shape = {
      n = "number", c = "count", p = "positive", t = "text", y = "true", s = "scalars", one = { a = true, [2] = true },
    }
    for line, fit in pairs {
      ['{"n":1.5,"c":0,"p":1,"t":"","y":true,"s":{"x":1},"one":"a"}'] = true, ['{"one":2}'] = true, ["{}"] = true,
      ['{"n":null}'] = true, ['{"s":{"n":"other"}}'] = true, ['{"n":"1"}'] = false, ['{"c":-1}'] = false,
      ['{"p":1099511627776,"c":9007199254740992}'] = true, ['{"p":1099511627777}'] = false,
      ['{"c":9007199254740993}'] = false,
      ['{"c":1.0}'] = false, ['{"p":0}'] = false, ['{"p":true}'] = false, ['{"t":1}'] = false, ['{"y":false}'] = false,
      ['{"y":1}'] = false, ['{"s":1}'] = false, ['{"s":{"x":{}}}'] = false, ['{"one":"b"}'] = false,
      ['{"other":1}'] = false, ["5"] = false, ['{"n":1,"t":1,"c":1}'] = false,
      ['{"t":"' .. ("x"):rep(65) .. '"}'] = false,
    } do
      local file <close> = records { line }
      local value, got = file:record(shape)
      assert.equal(fit, got, line)
      assert.same({ value, got }, { core.json_value(line, shape) })
    end
    assert.same({ nil, "no value", n = 2 }, table.pack(core.json_value "nul"))
    assert.has_error(function()
      core.json_value("1", "shape")
    end)
  end)

  it("makes nothing of a trial that begins", function()
    local codec = lines.codec()
    local begun = {
      number = 7, state = "running", attempts = 1, key = ("a1"):rep(32), started = 1795880709.0012703,
      params = { fast = 10, slow = 20.5, kind = "a b", flag = true, off = false, low = -1 },
    }
    local usual = codec:trial(begun)
    local file <close> = records { usual }
    assert.same({ 7, usual, n = 2 }, table.pack(file:record(lines.shape)))
    local record = codec:record(core.json_value(usual, lines.shape))
    record.type = nil
    assert.same(begun, record)
    for from, to in pairs {
      ['"number":7'] = '"number":0', ['":7'] = '":1099511627777', ['s":1'] = 's":9007199254740993',
      ["running"] = "complete", ['"attempts":1'] = '"attempts":-1', ["10"] = "1e1",
      ["20.5"] = "20.", ["true"] = "tru", ["false"] = "null", ["a b"] = "a  b", ["flag"] = "fl\\u0061g", ["low"] = "é",
      ["}}$"] = "}", ["5}}$"] = "5,}}", ["a1a1"] = "\\na1", ["-1"] = "-01", ["1795880709.00"] = "01795880709.00",
      ['"kind":"a b",'] = '"kind":"a b"', ['"type"'] = ' "type"', ['"started":%d+.%d+,'] = "",
    } do
      local line, count = usual:gsub(from, to, 1)
      assert.equal(1, count)
      local other <close> = records { line }
      assert.not_equal("string", type(select(2, other:record(lines.shape))), line)
    end
  end)
end)

describe("core.json_scalars", function()
  it("writes the usual, and leaves the rest to others", function()
    local function one(v)
      return core.json_scalars("{", { a = v }, { "a" }, { '"a":' }, 10)
    end
    for value, want in pairs {
      [5] = "5", [math.mininteger] = "-9223372036854775808", [0.1] = "0.1", [2.5] = "2.5", [true] = "true",
      [1 / 3] = "0.33333333333333331", [1e300] = "1.0000000000000001e+300",
      x = '"x"', ["a b"] = '"a b"', [""] = '""',
    } do
      assert.equal('{"a":' .. want, one(value))
    end
    assert.equal('{"a":3.0', one(3.0))
    assert.equal("{", core.json_scalars("{", {}, { "a" }, { '"a":' }, 10))
    for _, value in ipairs {
      nan, math.huge, -math.huge, "12345678901", "é", '"', "\\", " a", "a ", "a  b", "\n", {},
    } do
      assert.is_nil(one(value))
    end
    assert.has_error(function()
      core.json_scalars("{", {}, {}, 5, 1)
    end)
  end)
end)
