--- The demo in its three orders: python:3.10-slim and an index, a bootstrapped base and an index, neither; warm runs.
-- Plain build only: makes three images, with the C of image_build_spec and command_spec
local E = require "spec.support.engines"
local base = require "moonsand.image.base"
local command = require "moonsand.command"
local moonsand = require "moonsand"

local wanted = "python:3.10-slim"

local function demo(kind, ...)
  local r = assert(command.run({ "lua5.4", "examples/demo.lua", E.url[kind], ... }, { timeout = 280 }))
  return r.exit_code, r.stdout, r.stderr
end

E.each(describe, "the demo", function(kind)
  local engine = E.engine(kind)
  local there, bootstrapped

  setup(function()
    there = engine:has(wanted)
    bootstrapped = assert(base.resolve(engine, moonsand.images.bootstrap()))
  end)

  local function no_index(out)
    return out:find("the package index cannot be reached", 1, true) ~= nil
  end

  local function check_strategies(out, backtesting)
    assert.matches("Final equity: 25721.98", out)
    assert.matches("equity curve: .*/equity.csv", out)
    assert.matches("network +none", out)
    assert.are_equal(backtesting, out:find("Equity Final %[%$%] +56263.51934") ~= nil)
    assert.are_equal(not backtesting, out:find("This image has no backtesting.py", 1, true) ~= nil)
  end

  it("takes python:3.10-slim where it can be had", function()
    -- No registry is reached here: the engine is given a bootstrapped base under that name.
    if not there then
      assert(engine:tag(bootstrapped.id, wanted))
    end
    local status, out, err = demo(kind)
    if not there then
      assert(engine:remove(wanted))
    end
    if no_index(out) then
      return pending "no package index can be reached"
    end
    assert.are_equal(0, status, err)
    assert.matches("demo: base: python:3.10%-slim, there already\n", out)
    check_strategies(out, true)
  end)

  it("takes a bootstrapped base where no registry answers", function()
    if there then
      return pending(wanted .. " is on this engine")
    end
    local status, out, err = demo(kind)
    if no_index(out) then
      return pending "no package index can be reached"
    end
    assert.are_equal(0, status, err)
    assert.matches(
      "demo: base: Debian bookworm, bootstrapped earlier, because python:3.10%-slim is not on the engine", out)
    check_strategies(out, true)
  end)

  it("takes Debian's pandas where no package index answers either", function()
    local status, out, err = demo(kind, "--offline")
    assert.are_equal(0, status, err)
    assert.matches("demo: base: Debian bookworm, .*the package index cannot be reached", out)
    check_strategies(out, false)
    local warm = assert(command.run({ "lua5.4", "examples/warm.lua", E.url[kind] }, {
      timeout = E.patience(120), env = { MOONSAND_IMAGE = out:match "demo: image (%S+)," },
    }))
    assert.are_equal(0, warm.exit_code, warm.stderr)
    assert.matches("20 runs: median %d", warm.stdout)
    assert.matches("mode fork", warm.stdout)
  end)
end)
