-- Declarations by themselves: one normal form whatever the order of keys, one Dockerfile, mistakes that name the
-- option; and what is read of Dockerfiles and builders' words. No engine.
local base64 = require "moonsand.base64"
local context = require "moonsand.image.context"
local core = require "moonsand.core"
local declare = require "moonsand.image.declare"
local dockerfile = require "moonsand.image.dockerfile"
local json = require "moonsand.json"
local steps = require "moonsand.image.steps"
local trace = require "moonsand.image.trace"

local function everything(what, user)
  local o = assert(declare.read(what))
  local files = assert(context.files(o))
  local written = dockerfile.write(o, { ref = "base:1", user = user }, files.parts)
  local out = { written.text, written.final, json.encode(written.args) }
  for _, e in ipairs(declare.has_packages(o) and assert(context.packages(o)) or {}) do
    out[#out + 1] = e.path .. "\0" .. e.data
  end
  local pack <close> = assert(core.pack())
  for _, e in ipairs(files.entries) do
    assert(e.data and pack:data(e.path, e.data, e.mode) or e.tree and pack:tree(e.path, e.tree) or pack:file(e.path,
      e.file))
  end
  out[#out + 1] = assert(pack:measure()).sha256
  return table.concat(out, "\1"), written
end

-- The same table, its keys put in at random.
local function shuffled(t)
  if type(t) ~= "table" then
    return t
  end
  local keys = {}
  for k in pairs(t) do
    table.insert(keys, math.random(#keys + 1), k)
  end
  local out = {}
  for _, k in ipairs(keys) do
    out[k] = shuffled(t[k])
  end
  return out
end

local full = {
  from = "base:1", apt = { "curl", "git" }, pip = { pandas = "2.2.3", numpy = ">=1", scipy = true },
  requirements = { data = "x==1\n" }, files = { ["/a/b"] = { data = "1" }, ["/a/c"] = { data = "2", mode = 493 },
    ["/d"] = { data = "" } },
  env = { A = "1", B = "2", C = "3" }, run = { "one", "two" }, workdir = "/w", user = "app",
  labels = { x = "1", y = "2" }, build_apt = { "gfortran" },
}

describe("a declaration", function()
  it("is the same whatever the order of its keys", function()
    local first = everything(full)
    for _ = 1, 30 do
      assert.equal(first, (everything(shuffled(full))))
    end
  end)

  it("is another one when anything in it changes", function()
    local seen = { [everything(full)] = "as it is" }
    local changes = {
      apt = { "git", "curl" }, pip = { pandas = "2.2.2", numpy = ">=1", scipy = true },
        requirements = { data = "x==2\n" },
      files = { ["/a/b"] = { data = "1" }, ["/a/c"] = { data = "2", mode = 420 }, ["/d"] = { data = "" } },
      env = { A = "1", B = "2", C = "4" }, run = { "two", "one" }, workdir = "/v", user = "1", labels = { x = "2",
        y = "2" },
      build_apt = {},
    }
    for name, value in pairs(changes) do
      local changed = shuffled(full)
      changed[name] = value
      local text = everything(changed)
      assert.is_nil(seen[text], name .. " changes nothing")
      seen[text] = name
      changed[name] = nil
      text = everything(changed)
      assert.is_nil(seen[text] and name ~= "build_apt" or nil, name .. " counts for nothing")
    end
  end)

  it("becomes this Dockerfile", function()
    local _, written = everything({ from = "base:1", pip = { "pandas==2.2.3" }, env = { A = "a \"b\" $c\n" },
      files = { ["/app/x y"] = { data = "1" } }, run = "echo \"hi\" $A", labels = { l = "v" }, user = 1000 }, "app")
    assert.equal([[
FROM base:1 AS packages
USER root
COPY moonsand/ /moonsand/in/
RUN ["python3","/moonsand/in/wheels.py"]

FROM base:1
USER root
COPY --from=packages /moonsand/root/ /
]], written.text:match "^(.-)RUN %[\"/bin/sh\",\"%-c\",\"cd /usr")
    assert.equal([[
USER app
ARG MOONSAND_NL
COPY ["files/1/","/app/"]
ENV A="a \"b\" \$c${MOONSAND_NL}"
RUN ["/bin/sh","-c","echo \"hi\" $A"]
LABEL "l"="v"
USER 1000
]], written.text:match "(USER app\n.*)$")
    assert.same({ MOONSAND_NL = "\n" }, written.args)
  end)

  it("never lets a text become an instruction", function()
    local evil = "x\"\nRUN rm -rf /\n\\"
    local _, written = everything { from = "base:1", env = { A = evil }, labels = { l = evil }, workdir = "/" .. evil,
      run = evil,
      files = { ["/d" .. evil .. "/f" .. evil] = { data = "1" } } }
    for line in written.text:gmatch "[^\n]+" do
      assert.is_truthy(line:find "^FROM " or line:find "^ARG MOONSAND_NL$" or line:find '^COPY %[".*"%]$'
        or line:find '^ENV A=".*"$'
        or line:find '^WORKDIR ".*"$' or line:find '^RUN %["/bin/sh","%-c",".*"%]$' or line:find '^LABEL "l"=".*"$',
          line)
      assert.is_nil(line:find "\\$")
    end
  end)

  it("raises for what makes no sense, and names it", function()
    for _, case in ipairs {
      { { pipp = {} }, "no option 'pipp'; did you mean 'pip'" },
      { 7, "got number" },
      { { from = "Big:1" }, "capital" },
      { { from = {} }, "empty list" },
      { { pip = { "--index-url x" } }, "pip%[1%]" },
      { { pip = { "a\nb" } }, "pip%[1%]" },
      { { pip = "a", env = { ["A=B"] = "1" } }, "'env'" },
      { { env = { A = "\0" } }, "NUL" },
      { { env = { A = "\255" } }, "UTF%-8" },
      { { env = { A = {} } }, "env%.A" },
      { { apt = { "-y" } }, "apt%[1%]" },
      { { apt = { "a; rm" } }, "apt%[1%]" },
      { { files = { rel = "x" } }, "absolute" },
      { { files = { ["/a/../b"] = "x" } }, "%.%." },
      { { files = { ["/"] = "x" } }, "whole image" },
      { { files = { ["/a"] = 1 } }, "path" },
      { { files = { ["/a"] = { data = "1" }, ["/a/"] = { data = "2" } } }, "twice" },
      { { workdir = "rel" }, "absolute" },
      { { user = "a b" }, "user" },
      { { labels = { ["moonsand.x"] = "1" } }, "moonsand" },
      { { platform = "a b" }, "platform" },
      { { lock = {} }, "lock" },
      { { run = { "a", x = "b" } }, "without names" },
      { { dockerfile = { data = "x" }, pip = {} }, "no option 'pip'" },
      { { run = ("x"):rep(70000) }, "60000" },
      { { lock = { version = 1, base = {}, pip = { { name = "a b", version = "1", hashes = {} } }, apt = {} } },
        "pip%[1%]" },
    } do
      local ok, err = pcall(declare.read, case[1])
      assert.is_false(ok)
      assert.matches(case[2], err)
      assert.matches("image_declare_spec", (select(2, pcall(function()
        declare.read(case[1], 1)
      end))))
    end
  end)
end)

describe("reading a Dockerfile", function()
  local function refs(text, args)
    local out = {}
    for _, item in ipairs(dockerfile.read(text, args or {}).images) do
      out[#out + 1] = item.ref .. (item.platform and "@" .. item.platform or "")
    end
    return table.concat(out, " ")
  end

  it("finds what it builds on", function()
    for _, case in ipairs {
      { "FROM a:1\n", "a:1" },
      { "from a AS b\nFROM b\nFROM c\n", "a c" },
      { "FROM scratch\n", "" },
      { "ARG X=a\nARG Y=$X:2\nFROM ${Y}\n", "a:2" },
      { "ARG X\nFROM ${X:-d}\n", "d" },
      { "ARG X=1\nFROM ${X:+e}\n", "e" },
      { "ARG X=a\nFROM ${X}\n", "given", { X = "given" } },
      { "FROM --platform=linux/arm64 a AS b\n", "a@linux/arm64" },
      { "# escape=`\nFROM `\n  a\n", "a" },
      { "FROM \\\n# comment\n\n  a\n", "a" },
      { "FROM a\r\nCOPY --from=b /x /x\r\n", "a b" },
      { "FROM a\nRUN --network=none --mount=type=bind,from=b:1,target=/x \\\n --mount=from=c x --mount=from=d\n",
        "a b:1 c" },
      { "FROM a AS x\nRUN --mount=type=bind,from=x,target=/x y\nRUN --mount=type=cache,target=/from=z y\n", "a" },
      { "FROM a AS x\nCOPY --from=x / /\nCOPY --from=0 / /\n", "a" },
      { "FROM a\nRUN <<EOF\nFROM b\nEOF\nFROM c\n", "a c" },
      { "FROM a\nRUN echo '<<NEVER'\nFROM c\n", "a c" },
      { "\u{FEFF}FROM \"a\"\n", "a" },
      { "", "" },
      { "FROM", "" },
      { "FROM a\nARG X=q\nFROM ${X}\n", "a" },
    } do
      assert.equal(case[2], refs(case[1], case[3]), case[1])
    end
    for text, base in pairs { ["FROM a AS x\nCOPY --from=c / /\nFROM b\nCOPY --from=d / /\n"] = "b",
      ["FROM a AS x\nFROM b\nFROM x\n"] = "a", ["FROM a\nFROM scratch\nCOPY --from=b / /\n"] = false } do
      local found = dockerfile.read(text, {}).base
      assert.equal(base, found and found.ref or false)
    end
    assert.is_true(dockerfile.read("FROM a\nRUN --mount=type=cache,target=/x y\n", {}).buildkit)
    assert.is_true(dockerfile.read("# syntax=docker/dockerfile:1\nFROM a\n", {}).buildkit)
    assert.is_false(dockerfile.read("FROM a\nRUN x\n", {}).buildkit)
  end)

  it("takes bounded time for anything", function()
    local began = os.clock()
    dockerfile.read(("ARG A=${A:-${A:-"):rep(2000) .. "\nFROM ${A}\n", {})
    dockerfile.read(("RUN <<A\n"):rep(5000), {})
    dockerfile.read("FROM " .. ("$"):rep(50000), {})
    dockerfile.read("RUN " .. ("--mount=from=a "):rep(100000), {})
    assert.is_true(os.clock() - began < 2)
  end)
end)

describe("a builder's words", function()
  local function read(lines, o)
    local events = {}
    o = o or {}
    o.on_event = function(e)
      events[#events + 1] = e
    end
    local feed, finish = steps.reader(o)
    local all = table.concat(lines, "\r\n") .. "\r\n"
    for i = 1, #all, 7 do
      feed(all:sub(i, i + 6))
    end
    return finish(), events
  end

  it("are steps and lines, of the classic builder and Podman", function()
    for _, head in ipairs { "Step 2/3 : RUN x", "[1/2] STEP 2/3: RUN x" } do
      local outcome, events = read { json.encode { stream = head .. "\n" }, json.encode { stream = "out" },
        json.encode { stream = "put\n\27[91mred\27[0m\27]0;evil\7\n" }, json.encode { errorDetail = { message = "bad",
          code = 3 } } }
      assert.equal("RUN x", outcome.step)
      assert.same({ "output", "red ]0;evil" }, outcome.log)
      assert.equal("bad", outcome.failure.message)
      assert.same({ 2, 3, "RUN x" }, { events[1].step, events[1].steps, events[1].name })
    end
  end)

  it("tell of the packages stage only where that is asked for", function()
    local lines = {
      json.encode { stream = "Step 1/1 : RUN x\nmoonsand-failure: hash: no\nmoonsand-set: abc extends\n" },
    }
    local outcome = read(lines, { markers = true })
    assert.same({ code = "hash", message = "no" }, outcome.failed)
    assert.equal("abc", outcome.set)
    assert.is_true(outcome.extends)
    outcome = read(lines)
    assert.is_nil(outcome.failed)
    assert.equal(2, #outcome.log)
  end)

  local function field(n, bytes)
    return string.char(n << 3 | 2, #bytes) .. bytes
  end

  it("are records, of BuildKit", function()
    local vertex = field(1, "sha256:a") .. field(3, "[stage-1 2/4] RUN false") .. field(5, "\8\1") .. field(7,
      "it failed")
    local log = field(1, "sha256:a") .. "\x18\2" .. field(4, "to stderr\n")
    local record = field(1, vertex) .. field(3, log)
    local seen = assert(trace.decode(record))
    assert.equal("[stage-1 2/4] RUN false", seen.vertices[1].name)
    assert.equal("it failed", seen.vertices[1].error)
    assert.same({ digest = "sha256:a", stream = 2, data = "to stderr\n" }, seen.logs[1])
    local outcome, events = read { json.encode { id = "moby.buildkit.trace", aux = base64.encode(record) },
      json.encode { id = "moby.image.id", aux = { ID = "sha256:" .. ("a"):rep(64) } } }
    assert.equal("RUN false", outcome.step)
    assert.same({ "to stderr" }, outcome.log)
    assert.equal("stderr", events[2].stream)
    assert.equal("sha256:" .. ("a"):rep(64), outcome.id)
    for i = 1, #record - 1 do
      trace.decode(record:sub(1, i)) -- cut anywhere: no error
    end
    assert.is_nil(trace.decode "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x")
    assert.is_nil(trace.decode "\x0b")
  end)
end)
