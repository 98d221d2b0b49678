-- How a report gets to its place, and what stays when it does not.
local report = require "moonsand.report"
local stand_in = require "spec.support.study"

local dir, path

local function read()
  local f = assert(io.open(path, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

local function files()
  local out = {}
  for name in io.popen("ls -A " .. dir):lines() do
    out[#out + 1] = name
  end
  return out
end

describe("a report", function()
  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -m 700 " .. dir))
    path = dir .. "/x.html"
  end)

  after_each(function()
    os.execute("rm -rf " .. dir)
  end)

  it("replaces the file as a whole or not at all", function()
    local study = stand_in.new(3)
    assert(report.write(study, path))
    local before = read()
    assert(report.write(study, path, { title = "Another" }))
    assert.matches("<h1>Another</h1>", read(), 1, true)
    assert.same({ "x.html" }, files())

    local ok, err = report.write(study, dir .. "/none/x.html")
    assert.is_nil(ok)
    assert.equal("io", err.code)
    assert.matches("none/x.html", err.message, 1, true)
    assert(os.execute("mkdir " .. dir .. "/d"))
    ok, err = report.write(study, dir .. "/d")
    assert.is_nil(ok)
    assert.equal("io", err.code)
    assert.same({ "d", "x.html" }, files())
    assert.is_true(#before > 0)
  end)

  it("leaves the old file when the disk is full", function()
    if not os.execute "test -w /dev/full" then
      pending "there is no /dev/full"
      return
    end
    local study, open = stand_in.new(3), io.open
    assert(report.write(study, path, { title = "Old" }))
    io.open = function(name, mode) -- luacheck: ignore 122
      return open(name:find "%.part$" and "/dev/full" or name, mode)
    end
    local good, ok, err = pcall(report.write, study, path, { title = "New" })
    io.open = open -- luacheck: ignore 122
    assert.is_true(good)
    assert.is_nil(ok)
    assert.equal("io", err.code)
    assert.matches("No space left", err.message, 1, true)
    assert.matches("<h1>Old</h1>", read(), 1, true)
    assert.same({ "x.html" }, files())
  end)

  -- By way of a link and a pipe of our own, so that nobody's device is lost if the wrong thing is replaced.
  it("writes to a device or a pipe and leaves it in its place", function()
    local study = stand_in.new(3)
    assert(os.execute(("cd '%s' && ln -s /dev/null null && mkfifo pipe"):format(dir)))
    assert.is_true(report.write(study, dir .. "/null"))
    -- It ends by itself, should nobody write to the pipe.
    local reader = assert(io.popen(("timeout 20 cat '%s/pipe'"):format(dir)))
    assert.is_true(report.write(study, dir .. "/pipe"))
    local got = reader:read "a"
    reader:close()
    assert.matches("^<!DOCTYPE html>.*</html>%s*$", got)
    assert.same({ "null", "pipe" }, files())
    assert.is_true(os.execute(("cd '%s' && test -c null && test -p pipe"):format(dir)))
  end)

  it("is given up at Ctrl-C, whatever the study was busy with", function()
    local study = stand_in.new(3)
    function study.importance()
      error("interrupted!", 0)
    end
    local good, err = pcall(report.write, study, path)
    assert.is_false(good)
    assert.equal("interrupted!", err)
    assert.same({}, files())
  end)
end)
