--- How options of `moonsand sweep` are read: --param, --where and others.
local json = require "moonsand.json"
local params = require "moonsand.cli.sweep_params"
local spaces = require "moonsand.sweep.space"

describe("--param", function()
  local function described(...)
    local out = {}
    for _, d in ipairs(spaces.new(params.space { ... }):describe()) do
      out[d.name] = d
    end
    return out
  end

  it("takes ranges, lists, continuous ones and constants", function()
    local d = described("a=5:30:5", "b=a,b", "c=log:1e-4:1e-1", "d=0.1:0.9", "e=3:7", "f=7", "g=0:0.3:0.1",
      "h=true,false", 'i="7",7', "j=int:2:9", "k=uniform:1:2", "l=text", 'm="a:b"', "n=-1.5,2")
    assert.same({ 5, 10, 15, 20, 25, 30 }, d.a.values)
    assert.same({ "a", "b" }, d.b.values)
    assert.same({ "log_uniform", 1e-4, 1e-1 }, { d.c.kind, d.c.low, d.c.high })
    assert.same({ "uniform", 0.1, 0.9 }, { d.d.kind, d.d.low, d.d.high })
    assert.same({ "integers", 3, 7 }, { d.e.kind, d.e.low, d.e.high })
    assert.same({ 7 }, d.f.values)
    assert.same({ 0.0, 0.1, 0.2, 0.3 }, d.g.values)
    assert.same({ true, false }, d.h.values)
    assert.same({ "7", 7 }, d.i.values)
    assert.equal("string", type(d.i.values[1]))
    assert.same({ "integers", 2, 9 }, { d.j.kind, d.j.low, d.j.high })
    assert.same({ "uniform", 1, 2 }, { d.k.kind, d.k.low, d.k.high })
    assert.same({ "text" }, d.l.values)
    assert.same({ "a:b" }, d.m.values)
    assert.same({ -1.5, 2 }, d.n.values)
  end)

  it("says what is wrong, and how it is written", function()
    for given, why in pairs {
      ["fast"] = "there is no =", ["=5"] = "is no name", ["fa st=5"] = "is no name", ["fast="] = "nothing stands",
      ["fast=30:5:5"] = "30 is not below 5", ["fast=5:30:0"] = "the step 0 is not above 0",
      ["fast=5:30:-5"] = "the step -5 is not above 0", ["fast=5:x"] = '"x" is no number',
      ["fast=1:2:3:4"] = "4 parts", ["fast=a,,b"] = "an empty value", ["lr=log:0:1"] = "above 0",
      ["lr=log:1"] = "takes two numbers", ["lr=log:a:b"] = '"a" is no number', ["n=int:1.5:3"] = "whole numbers",
      ["fast=5:5:1"] = "5 is not below 5", ["fast=5:30:"] = '"" is no number',
    } do
      local ok, err = pcall(params.space, { given })
      assert.is_false(ok, given)
      assert.truthy(err:find("--param " .. json.encode(given), 1, true), err)
      assert.truthy(err:find(why, 1, true), given .. ": " .. err)
      assert.truthy(err:find("write NAME=5:30:5", 1, true), err)
    end
    local _, err = pcall(params.space, { "a=1", "a=2" })
    assert.matches("a is given twice", err)
  end)
end)

describe("--where", function()
  local space = { fast = { 1, 2 }, slow = { 1, 2 }, kind = { "a", "b" } }

  it("is an expression over the parameters", function()
    local where = params.where("fast<slow and kind ~= 'b' and math.max(fast, slow) == 2", space)
    assert.is_true(where { fast = 1, slow = 2, kind = "a" })
    assert.is_false(where { fast = 1, slow = 2, kind = "b" })
    assert.is_false(where { fast = 2, slow = 2, kind = "a" })
    -- a conditional parameter that is not there at this point
    assert.is_true(params.where("kind == nil or fast < 2", space) { fast = 2, slow = 2 })
  end)

  it("sees nothing else, and changes nothing", function()
    for text, why in pairs {
      ["os.exit(3)"] = 'knows no "os" (it has fast, kind, slow and math)', ["fsat<slow"] = 'knows no "fsat"',
      ["_G"] = 'knows no "_G"', ["(function() fast = 1 return true end)()"] = "cannot set anything",
      ["fast + slow"] = "gives a number", ["kind == 'a' and nil"] = "gives nothing",
    } do
      local ok, err = pcall(params.where(text, space), { fast = 1, slow = 2, kind = "a" })
      assert.is_false(ok, text)
      assert.truthy(tostring(err):find(why, 1, true), text .. ": " .. tostring(err))
    end
    local pi = math.pi
    assert.is_true(params.where("rawset == nil or true", setmetatable({ rawset = 1 }, { __index = space })) {})
    pcall(params.where("(function() math.pi = 3 return true end)()", space), { fast = 1 })
    assert.equal(pi, math.pi)
  end)

  it("knows the methods of texts, and no random numbers", function()
    assert.is_true(params.where("kind:upper() == 'A' and #kind == 1", space) { kind = "a" })
    for _, text in ipairs { "math.random() < 2", "math.randomseed(1) == nil" } do
      assert.has_error(function()
        params.where(text, space) { fast = 1 }
      end)
    end
    assert.is_true(params.where("math.random == nil and math.randomseed == nil", space) {})
    assert.is_function(math.random)
  end)

  it("tells what is no expression", function()
    for _, text in ipairs { "fast <", "fast != slow", "fast<slow) or (true", "return true", "\27Lua", "" } do
      local ok, err = pcall(params.where, text, space)
      assert.is_false(ok, text)
      assert.truthy(err:find("--where", 1, true) and err:find("'fast<slow", 1, true), err)
    end
  end)
end)

describe("other options", function()
  it("name objectives with directions", function()
    assert.same({ "Sharpe Ratio", "maximize" }, { params.objective({ "Sharpe Ratio" }, "maximize") })
    assert.same({ "x", "minimize" }, { params.objective({ "x=minimize" }, "maximize") })
    assert.same({ { "a", "maximize" }, { "b [%]", "minimize" } },
      (params.objective({ "a", "b [%]=minimize" }, "maximize")))
    assert.has_error(function()
      params.objective({ "a=most" }, "maximize")
    end, '--objective "a=most": most is neither maximize nor minimize')
  end)

  it("give plugins options", function()
    assert.same({ "csv" }, params.plugin "csv")
    assert.same({ "retry", times = 2, wait = 1.5, on = "oom" }, params.plugin "retry:times=2,wait=1.5,on=oom")
    assert.has_error(function()
      params.plugin "csv:path"
    end, '--plugin "csv:path": "path" is not of the form OPTION=VALUE')
  end)

  it("count failures in numbers and shares", function()
    assert.equal("3%", params.failures "3%")
    assert.equal(5, params.failures "5")
    for _, given in ipairs { "0", "-1", "x", "0%", "101%", "1.5", "" } do
      assert.has_error(function()
        params.failures(given)
      end)
    end
  end)
end)
