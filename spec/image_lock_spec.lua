-- A lock is all that a build installed, and makes the same again, or says what does not fit.
-- Plain build only: runs pip, with the C of image_build_spec
local builders = require "spec.support.builders"
local packages = require "spec.support.packages"

local index = packages.index

setup(packages.setup)
teardown(packages.teardown)

builders.each(describe, "an image's lock", function(b)
  local function image(...)
    return packages.image(b, ...)
  end

  it("makes the same again", function()
    local made = assert(image { requirements = index "tiny\nsecond\n" })
    local lock = assert(made:lock())
    assert.equal(1, lock.version)
    assert.same({ "second", "tiny" }, { lock.pip[1].name, lock.pip[2].name })
    assert.equal("1.1", lock.pip[2].version)
    assert.matches("^sha256:%x+$", lock.pip[2].hashes[1])
    assert.equal(made.base.id, lock.base.id)
    local again = assert(image { lock = lock, requirements = index "", env = { U = builders.unique() } })
    local second = assert(again:lock())
    assert.same(lock.pip, second.pip)
    assert.equal(lock.tree, second.tree)
    lock.pip[1].hashes = { "sha256:" .. ("0"):rep(64) }
    local none, err = image { lock = lock, requirements = index "" }
    assert.is_nil(none)
    assert.equal("build", err.code)
    assert.matches("hash", err.message)
    assert.same({}, builders.leftovers(b.engine()))
  end)

  it("says what does not fit", function()
    local made = assert(image { requirements = index "tiny\nsecond\n" })
    local lock = assert(made:lock())
    local none, err = image { lock = lock, pip = { "numpy" } }
    assert.is_nil(none)
    assert.equal("invalid", err.code)
    assert.matches("numpy", err.message)
    lock.base.id, lock.base.digest = "sha256:" .. ("0"):rep(64), nil
    none, err = image { lock = lock }
    assert.is_nil(none)
    assert.equal("conflict", err.code)
    local plain = assert(b.engine():image(made.base.id))
    none, err = plain:lock()
    assert.is_nil(none)
    assert.equal("unsupported", err.code)
  end)
end)
