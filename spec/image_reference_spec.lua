-- References as people write them and as engines want them.
local epoch = require "moonsand.image.epoch"
local reference = require "moonsand.image.reference"
local store = require "moonsand.image.store"

local digest = "sha256:" .. ("0123456789abcdef"):rep(4)

describe("a reference", function()
  it("is read into its parts", function()
    local cases = {
      ["python"] = { "docker.io", "library/python", "latest" },
      ["python:3.10-slim"] = { "docker.io", "library/python", "3.10-slim" },
      ["library/python"] = { "docker.io", "library/python", "latest" },
      ["docker.io/python"] = { "docker.io", "library/python", "latest" },
      ["index.docker.io/a/b:1"] = { "docker.io", "a/b", "1" },
      ["team/app:1"] = { "docker.io", "team/app", "1" },
      ["localhost/moonsand/base:bookworm"] = { "localhost", "moonsand/base", "bookworm" },
      ["localhost:5000/a"] = { "localhost:5000", "a", "latest" },
      ["h:5000/a/b:1.0"] = { "h:5000", "a/b", "1.0" },
      ["ghcr.io/a/b/c-d__e.f:X_1"] = { "ghcr.io", "a/b/c-d__e.f", "X_1" },
      ["[::1]:5000/a:1"] = { "[::1]:5000", "a", "1" },
      ["Foo/bar"] = { "Foo", "bar", "latest" },
    }
    for text, want in pairs(cases) do
      local ref = assert(reference.parse(text))
      assert.same(want, { ref.registry, ref.repository, ref.tag }, text)
      assert.is_nil(ref.digest)
      assert.same(ref, reference.parse(ref.text), text)
    end
  end)

  it("with a digest needs no tag, and keeps one for the reader only", function()
    local ref = assert(reference.parse("a@" .. digest))
    assert.same({ nil, digest }, { ref.tag, ref.digest })
    ref = assert(reference.parse("h:5000/a:1@" .. digest))
    assert.equal("h:5000/a:1@" .. digest, ref.text)
    assert.equal("h:5000/a@" .. digest, reference.path(ref))
    assert.same({ "h:5000/a", digest }, { reference.name_tag(ref) })
  end)

  it("is written as people do", function()
    assert.equal("python:3", reference.short(reference.parse "docker.io/library/python:3"))
    assert.equal("a/b:latest", reference.short(reference.parse "a/b"))
    assert.equal("h:1/a:2", reference.short(reference.parse "h:1/a:2"))
  end)

  it("that is none is told why", function()
    local cases = {
      [""] = "empty", ["Python"] = "capital", ["a/B"] = "capital", ["a b"] = "name", ["a:"] = "tag", ["a:-x"] = "tag",
      ["a:" .. ("x"):rep(129)] = "tag", ["a@sha256:12"] = "digest", ["a@" .. digest:upper()] = "digest",
      ["a//b"] = "name", ["/a"] = "name", ["a/"] = "name", ["-a/b"] = "name", ["a..b"] = "name", ["a___b"] = "name",
      ["h:99999/a"] = "registry", ["h:0/a"] = "registry", ["h_x.y/a"] = "registry", [".h/a"] = "registry",
      ["a\27[2J"] = "name", ["a?b=c"] = "name", ["a%2f"] = "name", ["../etc"] = "registry", [digest] = "id",
      [("a"):rep(256)] = "bytes", [("a"):rep(600)] = "bytes", ["a\0"] = "name",
    }
    for text, word in pairs(cases) do
      local ref, why = reference.parse(text)
      assert.is_nil(ref, text)
      assert.truthy(why:find(word, 1, true), ("%q: %s"):format(text, why))
    end
    assert.is_nil((reference.parse(5)))
  end)

  it("or an id is what a method takes, and anything else raises at its caller", function()
    assert.equal("docker.io/library/a:1", (reference.check_any "a:1"))
    assert.equal(digest, (reference.check_any(digest)))
    assert.equal(digest, (reference.check_any(digest:sub(8))))
    assert.equal(digest, (reference.check_any { id = digest }))
    for _, bad in ipairs { "A", "", 5, {}, { id = "x" } } do
      local ok, err = pcall(reference.check_any, bad)
      assert.is_false(ok)
      assert.matches("image reference", err)
      assert.is_nil(err:find "[%c]")
    end
  end)
end)

describe("a platform", function()
  it("is read in its spellings", function()
    for text, want in pairs {
      ["linux/amd64"] = { "linux", "amd64" }, ["amd64"] = { "linux", "amd64" }, ["x86_64"] = { "linux", "amd64" },
      ["Linux/aarch64"] = { "linux", "arm64" }, ["linux/arm/v7"] = { "linux", "arm", "v7" },
    } do
      assert.same(want, { store.parse_platform(text) })
    end
    for _, bad in ipairs { "", "a/b/c/d", "a b", 5 } do
      assert.is_nil((store.parse_platform(bad)))
      assert.is_false(pcall(store.platform_option, "platform", bad))
    end
  end)

  it("must be the engine's, or the one that was asked for", function()
    local engine = { facts = function()
      return { os = "linux", arch = "x86_64" }
    end }
    local function check(platform, wanted)
      return store.check_platform(engine, "a:1", { platform = platform }, wanted)
    end
    assert.is_true(check "linux/amd64")
    assert.is_true(check("linux/arm64/v8", "linux/arm64"))
    local ok, err = check "linux/arm64/v8"
    assert.is_nil(ok)
    assert.equal("unsupported", err.code)
    for _, words in ipairs { "a:1", "linux/arm64/v8", "linux/amd64", "pull it with", "engine:sandbox" } do
      assert.truthy(err.message:find(words, 1, true), err.message)
    end
    ok, err = check("linux/amd64", "linux/arm/v7")
    assert.is_nil(ok)
    assert.matches("linux/amd64.*linux/arm/v7", err.message)
    assert.is_nil((check("linux/arm/v6", "linux/arm/v7")))
  end)
end)

describe("times of engines", function()
  it("become seconds since the epoch", function()
    assert.equal(0, epoch "1970-01-01T00:00:00Z")
    assert.equal(951782400, epoch "2000-02-29T00:00:00Z")
    assert.equal(1795569568, epoch "2026-11-25T01:19:28.527460786Z")
    assert.equal(1795569568 - 3600, epoch "2026-11-25T01:19:28+01:00")
    assert.equal(1795569568 + 5400, epoch "2026-11-25T01:19:28.1-01:30")
    assert.equal(5, epoch(5))
    for _, bad in ipairs { "0001-01-01T00:00:00Z", "", "yesterday", -5, {}, true } do
      assert.equal(0, epoch(bad))
    end
  end)
end)
