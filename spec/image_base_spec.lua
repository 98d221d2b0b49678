--- Bases: the ordered list, and the Debian base that this machine makes.
-- Plain build only: bootstraps bases, with the C of command_spec
local E = require "spec.support.engines"
local base = require "moonsand.image.base"
local bootstrap = require "moonsand.image.bootstrap"
local command = require "moonsand.command"
local core = require "moonsand.core"
local moonsand = require "moonsand"

local bootstrapped = moonsand.images.bootstrap

local function sh(text, env)
  local r = assert(command.run({ "sh", "-c", text }, { env = env }))
  return r.stdout, r.exit_code
end

local function new_dir()
  return (sh "mktemp -d /tmp/moonsand-spec.XXXXXX":gsub("\n", ""))
end

local function until_true(seconds, f)
  local stop = moonsand.monotonic() + seconds
  repeat
    if f() then
      return true
    end
    moonsand.sleep(0.1)
  until moonsand.monotonic() > stop
  return f()
end

--- What is below a directory, one path a line.
local function below(dir)
  return (sh("find " .. dir .. " -mindepth 1"))
end

local function unreachable_first(...)
  return { "nowhere.invalid/python:3.10-slim", ... }
end

describe("the declaration of a bootstrapped base", function()
  it("raises for what cannot be", function()
    assert.has_error(function() bootstrapped { pakages = {} } end,
      "images.bootstrap has no option 'pakages'; did you mean 'packages'? (it has mirror, packages, suite)")
    for _, bad in ipairs { "-x", "a b", "Numpy", "a;b", "$(x)" } do
      assert.has_error(function() bootstrapped { packages = { bad } } end)
      assert.has_error(function() bootstrapped { suite = bad } end)
    end
    assert.has_error(function() bootstrapped { mirror = "--option" } end)
  end)

  it("has a name that changes with all that goes in, and not with the order", function()
    local function name(given, arch)
      return (bootstrap.name(bootstrapped(given), arch or "amd64"))
    end
    local plain = name {}
    assert.matches("^localhost/moonsand/base:bookworm%-%x+$", plain)
    assert.are_equal(name { packages = { "a1", "b2" } }, name { packages = { "b2", "a1", "a1" } })
    local seen = { [plain] = true }
    for _, other in ipairs {
      name { packages = { "a1" } }, name { suite = "trixie" }, name { mirror = "http://example.invalid/debian" },
      name({}, "arm64"),
    } do
      assert.is_nil(seen[other])
      seen[other] = true
    end
  end)

  it("takes the machine's sources, for its own suite and for another one", function()
    local uris = table.concat({
      "'http://m.invalid/debian/dists/bookworm/InRelease' m.invalid_InRelease 0 ",
      "'http://m.invalid/debian/dists/bookworm-updates/InRelease' x 0 ",
      "'https://s.invalid/sec/dists/bookworm-security/InRelease' x 0 ",
      "'http://m.invalid/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0 ",
      "'http://m.invalid/debian/dists/bookworm-backports/InRelease' x 0 ",
      "'http://other.invalid/dists/nodistro/InRelease' x 0 ",
      "'http://m.invalid/debian/dists/bookworm/InRelease' again 0 ",
    }, "\n")
    assert.are_same({
      "deb http://m.invalid/debian bookworm main",
      "deb http://m.invalid/debian bookworm-updates main",
      "deb https://s.invalid/sec bookworm-security main",
    }, bootstrap.sources(uris, "bookworm", "bookworm"))
    assert.are_equal("deb https://s.invalid/sec trixie-security main",
      bootstrap.sources(uris, "bookworm", "trixie")[3])
    assert.are_same({}, bootstrap.sources("E: broken", "bookworm", "bookworm"))
  end)
end)

describe("the script that makes an archive", function()
  local script = debug.getinfo(bootstrap.archive, "S").source:match "^@(.*)%.lua$" .. ".sh"
  local dir, tmp

  before_each(function()
    dir = new_dir()
    tmp = dir .. "/tmp"
    sh("mkdir " .. tmp)
  end)
  after_each(function()
    sh("rm -rf " .. dir)
  end)

  --- Starts it with a shell program instead of mmdebstrap; "$1" is where the tar is to be.
  local function start(program)
    return assert(command.start(
      { "sh", script, dir .. "/cache/x.tar", '{"id":"sha256:LAYER"}', '["CONFIG.json"]',
        "sh", "-c", program, "-", "LAYER" },
      { env = { TMPDIR = tmp } }))
  end
  local function nothing_left(files)
    assert.is_true(until_true(5, function() return below(tmp) == "" end), below(tmp))
    assert.are_equal(files or "", below(dir .. "/cache"))
  end

  it("writes it whole, for its owner only, with the digests in their places", function()
    assert.are_equal(0, assert(start 'printf abc > "$1"':wait()).exit_code)
    local out = dir .. "/cache/x.tar"
    assert.are_equal(384, assert(core.stat(out)).mode) -- 0600
    local config = ('{"id":"sha256:%s"}'):format(core.sha256 "abc")
    assert.are_equal("abc", (sh("tar -xOf " .. out .. " layer.tar")))
    assert.are_equal(config, (sh(("tar -xOf %s %s.json"):format(out, core.sha256(config)))))
    assert.are_equal(('["%s.json"]'):format(core.sha256(config)), (sh("tar -xOf " .. out .. " manifest.json")))
    nothing_left(out .. "\n")
  end)

  it("lets a second one wait for the first and take its archive", function()
    local program = ('echo >> %s/ran; sleep 0.5; printf abc > "$1"'):format(dir)
    local one, two = start(program), start(program)
    assert.are_equal(0, assert(one:wait()).exit_code)
    assert.are_equal(0, assert(two:wait()).exit_code)
    assert.are_equal("\n", (sh("cat " .. dir .. "/ran")))
  end)

  it("leaves nothing when the program fails, is cancelled, or is killed with its group", function()
    assert.are_equal(3, assert(start 'mkdir "$TMPDIR/x"; printf abc > "$1"; exit 3':wait()).exit_code)
    nothing_left()
    for _, program in ipairs { "sleep 60", "trap '' TERM; sleep 60 & sleep 60; sleep 60" } do
      local running <close> = start('mkdir "$TMPDIR/x"; printf abc > "$1"; ' .. program)
      assert.is_true(until_true(5, function() return below(tmp):find "layer" end))
      running:cancel()
      running:wait()
      nothing_left()
    end
  end)
end)

describe("a bootstrap", function()
  local dir

  before_each(function()
    dir = new_dir()
  end)
  after_each(function()
    sh("rm -rf " .. dir)
  end)

  --- A Lua program with a cache and a temporary directory of its own.
  local function start(program, env, on_stdout)
    env = env or {}
    env.XDG_CACHE_HOME, env.TMPDIR = dir .. "/cache", dir
    return assert(command.start({ "lua5.4", "-e", [[
      local moonsand, bootstrap = require "moonsand", require "moonsand.image.bootstrap"
      local function show(path, err)
        print(path or err.code .. ": " .. err.message)
      end
    ]] .. program }, { env = env, on_stdout = on_stdout }))
  end

  it("says what is missing and how to go on", function()
    sh(("mkdir %s/bin; ln -s $(command -v sh) $(command -v lua5.4) %s/bin"):format(dir, dir))
    local r = assert(start([[show(bootstrap.archive(moonsand.images.bootstrap {}, "amd64"))]],
      { PATH = dir .. "/bin" }):wait())
    assert.matches("^unsupported: .*mmdebstrap.*install the Debian package mmdebstrap", r.stdout)
  end)

  it("is unreachable where no mirror answers, and leaves nothing", function()
    local r = assert(start [[
      show(bootstrap.archive(moonsand.images.bootstrap { mirror = "http://127.0.0.1:1/debian" }, "amd64"))
    ]]:wait())
    assert.matches("^unreachable: .*127%.0%.0%.1", r.stdout)
    assert.is_true(until_true(5, function() return below(dir .. "/cache/moonsand/bootstrap") == "" end))
    assert.are_equal("", (sh("ls -d " .. dir .. "/moonsand-bootstrap.* 2>/dev/null")))
  end)

  it("that is interrupted leaves no file, process or mount", function()
    local pid
    local running <close> = start([[
      print(io.open("/proc/self/stat"):read "n")
      io.stdout:flush()
      bootstrap.archive(moonsand.images.bootstrap {}, "amd64")
    ]], nil, function(piece) pid = piece:match "%d+" end)
    -- While packages are being installed, proc and sys are mounted below the new root.
    assert.is_true(until_true(200, function()
      return sh("ls -d " .. dir .. "/moonsand-bootstrap.*/mmdebstrap.*/var/lib/dpkg/info 2>/dev/null") ~= ""
    end))
    sh("kill -INT " .. pid)
    running:wait(10)
    assert.is_true(until_true(10, function()
      return sh("ls -d " .. dir .. "/moonsand-bootstrap.* 2>/dev/null") == ""
        and assert(command.run { "pgrep", "-f", dir .. "/" }).stdout == ""
        and below(dir .. "/cache/moonsand/bootstrap") == ""
    end), below(dir))
    assert.are_equal("", (sh("grep " .. dir .. " /proc/mounts")))
  end)

  it("of the same packages makes the same bytes, and leaves the machine's apt alone", function()
    local lists = sh "ls -l --time-style=full-iso /var/lib/apt/lists"
    local program = [[show(bootstrap.archive(moonsand.images.bootstrap {}, "amd64"))]]
    local one = start(program)
    dir = dir .. "/second" -- after_each removes both with the first
    sh("mkdir " .. dir)
    local two = start(program)
    local sums = {}
    for i, running in ipairs { one, two } do
      local path = assert(running:wait()).stdout
      assert.matches("^/", path)
      sums[i] = sh("sha256sum < " .. path)
    end
    dir = dir:match "^(.*)/second$"
    assert.are_equal(sums[1], sums[2])
    assert.are_equal(lists, (sh "ls -l --time-style=full-iso /var/lib/apt/lists"))
  end)
end)

E.each(describe, "a base", function(kind)
  local engine

  before_each(function()
    engine = E.engine(kind)
    base.forget(engine)
  end)

  local function counted(f, ...)
    local n, request = 0, engine.request
    engine.request = function(...)
      n = n + 1
      return request(...)
    end
    local values = table.pack(pcall(f, ...))
    engine.request = nil
    assert(values[1], values[2])
    return n, table.unpack(values, 2, values.n)
  end

  it("that is bootstrapped has the same id everywhere", function()
    local found = assert(base.resolve(engine, bootstrapped()))
    assert.are_equal("bootstrap", found.kind)
    assert.is_nil(found.digest)
    assert.are_equal("linux/" .. engine:facts().arch, found.os .. "/" .. found.arch)
    assert.matches("^base: Debian bookworm, bootstrapped", found.line)
    local other = E.engine(kind == "docker" and "podman" or "docker")
    assert.are_equal(found.id, assert(base.resolve(other, bootstrapped())).id)
    local facts = assert(engine:inspect(found.ref))
    assert.are_equal("base", facts.labels["moonsand.kind"])
    assert.are_equal(found.id, facts.id)
  end)

  it("that is bootstrapped has Python, pip, venv, CA certificates and sources for apt", function()
    local found = assert(base.resolve(engine, bootstrapped()))
    local box <close> = assert(engine:sandbox { image = found.ref })
    local r = assert(box:run { language = "sh", code = [[
      set -e
      python -c 'import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 50)'
      python3 -m pip --version | cut -d' ' -f1
      python3 -m venv --without-pip /tmp/v && test -L /tmp/v/bin/python3
      grep -c '^deb [^ ]*://[^ @]* bookworm main$' /etc/apt/sources.list
      apt-get --version | cut -d' ' -f1 | head -n 1
      find /var/lib/apt/lists /var/log -type f -not -name lock 2>/dev/null || true
    ]] })
    assert.are_equal("True\npip\n1\napt\n", r.stdout, r.stderr)
  end)

  it("is the first of the list that is there, with the reasons", function()
    assert(base.resolve(engine, bootstrapped()))
    local n, found = counted(base.resolve, engine, unreachable_first(bootstrapped()))
    assert.are_equal(2, n)
    assert.are_equal("bootstrap", found.kind)
    assert.are_same(
      { { ref = "nowhere.invalid/python:3.10-slim", code = "not_found", message = "pull = true looks for it" } },
      found.tried)
    assert.matches("^base: Debian bookworm, .*, because nowhere.invalid/python:3.10%-slim is not on the engine",
      found.line)
    n = counted(base.resolve, engine, unreachable_first(bootstrapped()))
    assert.are_equal(0, n)
    base.forget(engine)
    n = counted(base.resolve, engine, unreachable_first(bootstrapped()))
    assert.are_equal(2, n)
  end)

  it("is looked for again with pull, and what cannot be reached is told", function()
    local found = assert(base.resolve(engine, unreachable_first(bootstrapped()), { pull = true }))
    assert.are_equal("unreachable", found.tried[1].code)
    assert.matches("because nowhere.invalid/python:3.10%-slim could not be pulled: ", found.line)
    assert.is_nil(found.line:find "%c")
  end)

  it("that is there stays good when no newer one can be had", function()
    local there = assert(base.resolve(engine, bootstrapped()))
    assert(engine:tag(there.id, "nowhere.invalid/python:3.10-slim"))
    local found = assert(base.resolve(engine, unreachable_first(bootstrapped()), { pull = true }))
    assert(engine:remove "nowhere.invalid/python:3.10-slim")
    assert.are_equal("local", found.kind)
    assert.are_equal(there.id, found.id)
    assert.are_equal("unreachable", found.tried[1].code)
  end)

  it("that cannot be had is an error with the code and all the reasons", function()
    local found, err = base.resolve(engine, unreachable_first "localhost/no/such:image")
    assert.is_nil(found)
    assert.are_equal("not_found", err.code)
    assert.matches("nowhere.invalid/python:3.10%-slim could not be pulled: .*; localhost/no/such:image could not be",
      err.message)
    found, err = base.resolve(engine, unreachable_first())
    assert.is_nil(found)
    assert.are_equal("unreachable", err.code)
  end)

  it("for another platform is none", function()
    local there = assert(base.resolve(engine, bootstrapped()))
    local found, err = base.resolve(engine, there.ref, { platform = "linux/s390x" })
    assert.is_nil(found)
    assert.matches("linux/amd64", err.message)
  end)

  it("raises for what is no base", function()
    for _, bad in ipairs { {}, { {} }, { "A:B:C" }, { true } } do
      assert.has_error(function() base.resolve(engine, bad) end)
    end
  end)
end)
