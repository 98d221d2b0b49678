-- engine:image on real engines: what is declared arrives exactly, is found again, and says what went wrong.
local builders = require "spec.support.builders"
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

local base = engines.image
local nasty = "a'b\"c\\d $HOME ${PATH} `id` \\\\ # é \t end\\"

builders.each(describe, "an image", function(b)
  it("has what was declared, to the byte", function()
    local dir = builders.directory()
    builders.write(dir .. "/plain.txt", "from disk\n")
    os.execute(("mkdir -p '%s/tree/sub' && printf x >'%s/tree/sub/it' && ln -s sub/it '%s/tree/link'"):format(dir, dir,
      dir))
    local odd = "/opt/a b/it's \"$HOME\" \\n [x]*?.txt"
    local image = assert(b.image {
      from = base,
      env = { UNIQUE = builders.unique(), NASTY = nasty, TWO = "first\nsecond\n", EMPTY = "", ZERO = "0" },
      labels = { nasty = nasty, two = "first\nsecond", ["com.example.a b"] = nil, ["it's"] = "$x" },
      files = {
        [odd] = { data = "odd" }, ["/opt/a b/two\nlines"] = { data = "\0\n\255" }, ["/tmp/here"] = { data = "tmp" },
        ["/bin/tool"] = { data = "#!/bin/sh\necho tool\n", mode = tonumber("755", 8) },
        ["/opt/plain"] = dir .. "/plain.txt", ["/opt/tree"] = dir .. "/tree",
      },
      run = { "printf '%s' \"$NASTY\" >/opt/nasty\nprintf '%s' \"$TWO\" >/opt/two",
        "echo \"it's\" '$HOME' \\  >/opt/run; pwd >>/opt/run" },
      workdir = "/opt/work dir/$x \"q\" it's", user = "1234:1234",
    })
    builders.remove(dir)
    assert.is_true(image.built)
    local answer = assert(b.engine():request { path = "/images/" .. image.id .. "/json" })
    local env = {}
    for _, line in ipairs(answer.Config.Env) do
      local name, value = line:match "^([^=]*)=(.*)$"
      env[name] = value
    end
    assert.equal(nasty, env.NASTY)
    assert.equal("first\nsecond\n", env.TWO)
    assert.equal("", env.EMPTY)
    assert.is_nil(env.MOONSAND_NL)
    assert.equal(nasty, answer.Config.Labels.nasty)
    assert.equal("first\nsecond", answer.Config.Labels.two)
    assert.equal("$x", answer.Config.Labels["it's"])
    assert.equal("/opt/work dir/$x \"q\" it's", answer.Config.WorkingDir)
    assert.equal("1234:1234", answer.Config.User)
    local seen = builders.python(b.engine(), image, ([[
def read(p):
    return open(p, "rb").read().decode("latin-1")
odd = %q
print(json.dumps([read(odd), read("/opt/a b/two\nlines"), read("/tmp/here") if os.path.exists("/tmp/here") else "tmp",
  os.stat("/bin/tool").st_mode & 0o777, os.path.islink("/bin"), read("/opt/plain"), read("/opt/tree/sub/it"),
  os.readlink("/opt/tree/link"), read("/opt/nasty"), read("/opt/two"), read("/opt/run")]))
]]):format(odd):gsub("\\\n", "\\n"))
    assert.same({ "odd", "\u{0}\n\u{ff}", "tmp", 493, true, "from disk\n", "x", "sub/it",
      (nasty:gsub("é", "\u{c3}\u{a9}")), "first\nsecond\n", "it's $HOME  \n/opt/work dir/$x \"q\" it's\n" }, seen)
  end)

  it("leaves modes of directories that were there as they were", function()
    local image = assert(b.image { from = base, files = { ["/tmp/x" .. builders.unique()] = { data = "1" },
      ["/root/x"] = { data = "2" } }, run = "stat -c '%a' /tmp /root /usr >/modes" })
    assert.same({ "1777", "700", "755" }, builders.python(b.engine(), image,
      "print(json.dumps(open('/modes').read().split()))"))
  end)

  it("is found again, whatever the order of keys, in at most one call", function()
    local id = builders.unique()
    local function declaration()
      return { from = base, env = { A = id, B = "2", C = "3" }, labels = { x = "1", y = "2" } }
    end
    local first = assert(b.image(declaration()))
    assert.is_true(first.built)
    local engine, calls = b.engine(), 0
    local request = engine.request
    engine.request = function(...)
      calls = calls + 1
      return request(...)
    end
    local second = assert(b.image(declaration()))
    engine.request = nil
    assert.is_false(second.built)
    assert.equal(first.id, second.id)
    assert.equal(first.ref, second.ref)
    assert.equal(1, calls)
    assert.matches("^localhost/moonsand/image:%x+$", second.ref)
    assert.matches("^FROM ", second:dockerfile())
    assert.matches("there already", second.base.line)
  end)

  it("says which step failed, with its last lines, and leaves nothing", function()
    local before = builders.leftovers(b.engine())
    local events = {}
    local image, err = b.image({ from = base, run = { "echo fine # " .. builders.unique(),
      "echo one; echo two >&2; exit 7 # " .. builders.unique() } },
      { on_progress = function(e)
        events[#events + 1] = e
      end })
    assert.is_nil(image)
    assert.equal("build", err.code)
    assert.matches("echo one", err.step)
    local log = table.concat(err.log, "\n")
    assert.matches("one", log)
    assert.matches("two", log)
    assert.is_nil(log:find("fine", 1, true))
    assert.same(before, builders.leftovers(b.engine()))
    local lines, steps = 0, 0
    for _, e in ipairs(events) do
      if e.phase == "build" then
        lines = lines + (e.line and 1 or 0)
        steps = steps + (e.name and not e.line and 1 or 0)
        assert.is_nil((e.line or e.name):find "%c")
      end
    end
    assert.is_true(lines >= 3 and steps >= 2)
  end)

  it("can be given up, and the engine stops, too", function()
    local mark = "6" .. tostring(math.random(10000, 99999))
    local begun = false
    local task = moonsand.spawn(function()
      return b.image({ from = base, run = "echo begun; exec sleep " .. mark }, { on_progress = function(e)
        begun = begun or e.line == "begun"
      end })
    end)
    local due = moonsand.monotonic() + 60
    while not begun and not task:done() and moonsand.monotonic() < due do
      b.engine():wait(0.1)
      b.engine():step()
    end
    assert.is_true(begun)
    task:cancel()
    pcall(task.wait, task)
    local alive = true
    due = moonsand.monotonic() + 15
    while alive and moonsand.monotonic() < due do
      moonsand.sleep(0.2)
      -- without a preloaded sanitizer, in which pgrep waits for ever
      local p = io.popen(("unset LD_PRELOAD; pgrep -fx 'sleep %s'"):format(mark))
      alive = p:read "l" ~= nil
      p:close()
    end
    assert.is_false(alive)
    due = moonsand.monotonic() + 15
    while #builders.leftovers(b.engine()) > 0 and moonsand.monotonic() < due do
      moonsand.sleep(0.2)
    end
    assert.same({}, builders.leftovers(b.engine()))
  end)

  it("is built beside another one in moonsand.map", function()
    local results, errs = moonsand.map({ "a", "b" }, 2, function(x)
      return b.image { from = base, env = { X = x .. builders.unique() }, run = "sleep 0.5" }
    end)
    assert.is_nil(errs)
    assert.are_not.equal(results[1].id, results[2].id)
  end)

  it("comes of a Dockerfile with arguments, stages and a context", function()
    local dir = builders.directory()
    builders.write(dir .. "/.dockerignore", "*.log\n")
    builders.write(dir .. "/keep.txt", "kept")
    builders.write(dir .. "/drop.log", "dropped")
    local text = ([[
# escape=`
ARG BASE=nothing
FROM ${BASE} AS first
COPY . /ctx/
RUN echo `
  made >/made
# a comment
FROM %s
COPY --from=first /ctx/ /ctx/
COPY --from=first /made /made
ENV UNIQUE=%s
]]):format(base, builders.unique())
    local what = { dockerfile = { data = text }, context = dir, args = { BASE = base } }
    local image = assert(b.image(what))
    assert.same({ { ".dockerignore", "keep.txt" }, "made\n" }, builders.python(b.engine(), image,
      "print(json.dumps([sorted(set(os.listdir('/ctx')) - {'.moonsand.Dockerfile'}), open('/made').read()]))"))
    assert.is_false(assert(b.image(what)).built)
    builders.write(dir .. "/drop.log", "other")
    assert.is_false(assert(b.image(what)).built)
    builders.write(dir .. "/keep.txt", "other")
    assert.is_true(assert(b.image(what)).built)
    builders.remove(dir)
  end)

  it("has the names, and what else there is to do with it", function()
    local name = "localhost/spec/named:" .. builders.unique():gsub("%.", "-")
    local image = assert(b.image({ from = base, env = { U = builders.unique() } }, { name = name }))
    assert.equal(image.id, assert(b.engine():inspect(name)).id)
    assert.equal(image.id, assert(image:inspect()).id)
    assert.is_true(#assert(image:history()) > 0)
    assert.equal(image.id, assert(b.image(name)).id)
    assert(b.engine():remove(name))
    assert(image:remove())
    assert.is_false((b.engine():has(image.id)))
    local box, err = b.engine():sandbox { image = image }
    assert.is_nil(box)
    assert.equal("not_found", err.code)
  end)
end)
