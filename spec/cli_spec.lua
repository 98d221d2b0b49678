-- The command line: what it takes, what it ends with, what it lets through to a terminal.
local cli = require "moonsand.cli"
local cves = require "moonsand.cli.cves"
local doctor = require "moonsand.cli.doctor"
local json = require "moonsand.json"
local term = require "moonsand.cli.term"

local docker = os.getenv "MOONSAND_TEST_DOCKER"
local base = os.getenv "MOONSAND_TEST_IMAGE"

local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

--- Runs the program; stdout, stderr, exit status.
local function moonsand(arguments, before)
  local err = os.tmpname()
  local p = assert(io.popen(("%s LUA_PATH='%s' LUA_CPATH='%s' lua5.4 bin/moonsand %s 2>%s </dev/null"):format(
    before or "", package.path, package.cpath, arguments, err)))
  local out = p:read "a"
  local _, _, status = p:close()
  local f = assert(io.open(err))
  local errors = f:read "a"
  f:close()
  os.remove(err)
  return out, errors, status
end

describe("the parser", function()
  it("takes what follows -- for the program", function()
    local ours, theirs = cli.split { "run", "x.py", "--", "--fast", "10", "--" }
    assert.same({ "run", "x.py" }, ours)
    assert.same({ "--fast", "10", "--" }, theirs)
  end)

  it("ends with 125 for what it does not know", function()
    for _, arguments in ipairs { "", "nonsense", "run", "run x.py --nonsense", "clean -- x", "engine", "image pull",
      "run x.py --env novalue" } do
      local _, err, status = moonsand(arguments)
      assert.equal(125, status, arguments)
      assert.is_true(#err > 0)
    end
  end)

  it("prints the version and help", function()
    local out, _, status = moonsand "--version"
    assert.matches("^moonsand %d+%.%d+%.%d+\n$", out)
    assert.equal(0, status)
    out, _, status = moonsand "run --help"
    assert.matches("--memory", out, 1, true)
    assert.equal(0, status)
  end)

  it("tells a mistake in one line without our own places", function()
    local _, err, status = moonsand "run no/such.py --engine unix:///no/such.sock"
    assert.equal(125, status)
    assert.matches("/no/such.sock", err, 1, true)
    assert.is_nil(err:find("traceback", 1, true))
    assert.is_nil(err:find(".lua:", 1, true))
  end)
end)

describe("a terminal", function()
  it("is not driven by what a program prints", function()
    assert.equal("a\n\tb\\x1b[31m\\x00\\x7f\\x0d\\x08", term.harmless "a\n\tb\27[31m\0\127\r\b")
    assert.equal("\\u{9b}31m", term.harmless "\u{9b}31m")
    assert.equal("\\x9b31m \\x9d0;x", term.harmless "\x9b31m \x9d0;x") -- as terminals without UTF-8 read it
    assert.equal("a\xff\\x9bb", term.harmless "a\xff\x9bb")
    assert.equal("grüß 日本", term.harmless "grüß 日本")
    assert.equal("a b", term.line "a\n\tb")
  end)

  it("is not driven by a character that comes in two pieces", function()
    local text = "a\u{9b}31m grüß 日本 🌙 \xc2"
    for size = 1, #text do
      local filter, out = term.filter(), {}
      for from = 1, #text, size do
        out[#out + 1] = filter(text:sub(from, from + size - 1))
        assert.is_nil(out[#out]:find "[\xc2-\xf4][\x80-\xbf]?[\x80-\xbf]?$" and not utf8.len(out[#out]) or nil)
      end
      out[#out + 1] = filter()
      assert.equal("a\\u{9b}31m grüß 日本 🌙 \xc2", table.concat(out), "pieces of " .. size)
    end
  end)

  it("gets no colours from us when it is none", function()
    assert.equal("x", term.colour(0x7ffffff0, "red", "x"))
  end)

  it("says sizes as people do", function()
    assert.equal("512 B", term.bytes(512))
    assert.equal("1.5 GiB", term.bytes(3 << 29))
  end)
end)

describe("flaws by version", function()
  local function ids(component, version)
    local out = {}
    for _, cve in ipairs(cves.of(component, version)) do
      out[#out + 1] = cve.id:match "^[^,]+"
    end
    return out
  end

  it("are known for runc", function()
    assert.same({ "CVE-2019-5736", "CVE-2024-21626", "CVE-2025-31133" }, ids("runc", "1.0.0-rc6"))
    assert.same({ "CVE-2024-21626", "CVE-2025-31133" }, ids("runc", "1.0.0-rc7"))
    assert.same({ "CVE-2024-21626", "CVE-2025-31133" }, ids("runc", "1.1.11"))
    assert.same({ "CVE-2025-31133" }, ids("runc", "1.1.12"))
    assert.same({ "CVE-2025-31133" }, ids("runc", "1.1.15"))
    assert.same({ "CVE-2025-31133" }, ids("runc", "1.2.7"))
    assert.same({}, ids("runc", "1.2.8"))
    assert.same({ "CVE-2025-31133" }, ids("runc", "1.3.2"))
    assert.same({}, ids("runc", "1.3.3"))
    assert.same({ "CVE-2025-31133" }, ids("runc", "1.4.0-rc.2"))
    assert.same({}, ids("runc", "1.4.0-rc.3"))
    assert.same({}, ids("runc", "1.4.0"))
    assert.same({}, ids("runc", "2.0.0"))
    assert.same({}, ids("runc", "unknown"))
  end)

  it("are known for the others", function()
    assert.same({ "CVE-2019-14271" }, ids("docker", "19.03.0"))
    assert.same({}, ids("docker", "19.03.1"))
    assert.same({}, ids("docker", "18.09.1"))
    assert.same({}, ids("docker", "20.10.24+dfsg1"))
    assert.same({ "CVE-2020-15257" }, ids("containerd", "1.4.1"))
    assert.same({}, ids("containerd", "1.6.20~ds1"))
    assert.same({ "CVE-2024-1753" }, ids("podman", "4.3.1"))
    assert.same({}, ids("podman", "5.0.1"))
  end)

  it("are doubted where a distribution may have patched", function()
    assert.is_true(cves.of("runc", "1.1.5+ds1")[1].distribution)
    assert.is_false(cves.of("runc", "1.1.5")[1].distribution)
  end)

  it("become findings of their level", function()
    local findings = {}
    doctor.check_engine(findings, {
      kind = "docker", engine_version = "20.10.24", api_version = "1.41", found_by = "socket",
      endpoint = "tcp://10.0.0.1:2375", components = { runc = "1.1.5" }, rootless = false, userns_remap = false,
    })
    local level = {}
    for _, f in ipairs(findings) do
      level[f.name] = f.level
      assert.is_true(f.level == "ok" or f.advice ~= nil, f.name .. " tells no way out")
    end
    assert.equal("fail", level.runc)
    assert.equal("ok", level.docker)
    assert.equal("warn", level.socket)
    assert.equal("warn", level.rootless)
  end)

  it("are found under the names that Podman gives its parts", function()
    local findings = {}
    doctor.check_engine(findings, {
      kind = "podman", engine_version = "5.4.2", api_version = "1.41", found_by = "socket",
      endpoint = "unix:///no/such.sock", rootless = true, userns_remap = false,
      components = {
        ["Podman Engine"] = "5.4.2", ["OCI Runtime (runc)"] = "runc version 1.2.7?commit: x?spec: 1.0.2-dev",
      },
    })
    local seen = {}
    for _, f in ipairs(findings) do
      seen[f.name] = f
    end
    assert.equal("fail", seen.runc.level)
    assert.matches("CVE-2025-31133", seen.runc.message, 1, true)
    assert.equal("ok", seen.podman.level)
  end)

  it("and a disk may be full of small files", function()
    local findings = {}
    doctor.check_disk(findings, "/a", { free_bytes = 1 << 40, free_inodes = 500 })
    doctor.check_disk(findings, "/b", { free_bytes = 1 << 40, free_inodes = 0 }) -- btrfs tells none
    doctor.check_disk(findings, "/c", "nonsense")
    assert.equal("warn", findings[1].level)
    assert.equal("ok", findings[2].level)
    assert.is_nil(findings[3])
  end)

  it("the network for image builds among them", function()
    local function found(facts, status)
      local findings = {}
      doctor.check_network(findings, facts, status)
      return findings
    end
    local net = { bridge = "ms-1", subnet = "198.18.7.0/24", apart = true }
    local f = found({ has_bridge = true }, { network = net })
    assert.equal("ok", f[1].level)
    assert.matches("198.18.7.0/24", f[1].message, 1, true)
    assert.equal(1, #f)
    net.apart = false
    assert.equal("warn", found({ has_bridge = true }, { network = net })[2].level)
    assert.equal("ok", found({ has_bridge = true })[1].level)
    f = found({ has_bridge = false }, { network = { missing = "iptables is not installed" } })
    assert.equal("warn", f[1].level)
    assert.matches("iptables is not installed", f[1].message, 1, true)
    assert.equal("warn", found({ has_bridge = false })[1].level)
  end)

  it("tells what fork mode gives", function()
    local function found(isolation)
      local findings = {}
      doctor.check_fork(findings, { isolation = isolation, wall_s = 0.002, overhead_s = 0.001 })
      return findings[1]
    end
    local f = found { mode = "fork", tier = "namespaces" }
    assert.equal("ok", f.level)
    assert.matches("3.0 ms", f.message, 1, true)
    f = found { mode = "fork", tier = "landlock" }
    assert.equal("warn", f.level)
    assert.matches("apparmor_restrict_unprivileged_userns", f.advice, 1, true)
    f = found { mode = "container", fell_back = "clone3: EPERM" }
    assert.equal("warn", f.level)
    assert.matches("clone3: EPERM", f.message, 1, true)
    assert.equal("warn", found({ mode = "container" }).level)
  end)

  it("and the machine's facts may lack anything", function()
    doctor.check_host({}, {})
    local findings = {}
    doctor.check_host(findings, {
      cgroup = { version = 2 }, landlock = { abi = 7, works = true }, userns = { works = true },
      disk = { ["/tmp"] = { free_bytes = 1 << 20 } },
    })
    assert.equal("fail", findings[#findings].level)
  end)
end)

describe("with an engine", function()
  local script

  setup(function()
    assert(docker, "MOONSAND_TEST_DOCKER is not set; run the specs with `make test`")
    script = os.tmpname() .. ".py"
  end)

  teardown(function()
    os.remove(script)
  end)

  local function run(code, options)
    write(script, code)
    return moonsand(("run %s --engine %s --image %s %s"):format(script, docker, base, options or ""))
  end

  it("run streams and ends as the program did", function()
    local out, err, status = run("import sys\nprint('out', sys.argv[1:])\nprint('err', file=sys.stderr)\nsys.exit(7)",
      "-- --fast 10")
    assert.equal("out ['--fast', '10']\n", out)
    assert.equal("err\n", err)
    assert.equal(7, status)
  end)

  it("run ends with 124, 137, 128+n", function()
    local _, err, status = run("import time; time.sleep(30)", "--timeout 1s")
    assert.equal(124, status)
    assert.matches("timeout", err)
    _, _, status = run("x = bytearray(1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1", "--memory 64m --disk 8m")
    assert.equal(137, status)
    _, _, status = run "import os; os.kill(os.getpid(), 15)"
    assert.equal(143, status)
  end)

  it("run takes a script whose name begins with a dash", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir " .. dir))
    write(dir .. "/-c.py", "print('ran')")
    local out, _, status = moonsand(("run %s/-c.py --engine %s --image %s"):format(dir, docker, base))
    os.execute("rm -r " .. dir)
    assert.equal("ran\n", out)
    assert.equal(0, status)
  end)

  it("run --json gives the result", function()
    local dir = os.tmpname()
    os.remove(dir)
    local out, _, status = run([[
import os
print(open("in.txt").read(), os.environ["NAME"])
open(os.environ["MOONSAND_OUTPUT"] + "/a.txt", "w").write("artefact")
open(os.environ["MOONSAND_RESULT"], "w").write('{"x": 1}')
]], ("--json --file LICENSE=in.txt --env NAME=value --output %s"):format(dir))
    local r = json.decode(out)
    assert.equal(0, status)
    assert.equal("ok", r.status)
    assert.equal(1, r.value.x)
    assert.matches("value\n$", r.stdout)
    assert.equal(8, r.artefacts[1].bytes)
    local f = assert(io.open(dir .. "/a.txt"))
    assert.equal("artefact", f:read "a")
    f:close()
    os.execute("rm -r " .. dir)
  end)

  it("run takes every limit as a flag", function()
    local out, _, status = run("print('x' * 4000)", "--json --cpus 0.25 --memory 64m --pids 40 --disk 8m --shm 4m "
      .. "--open-files 100 --max-output 2k --max-artefacts 1m --timeout 10s --exec-tmp")
    local r = json.decode(out)
    assert.equal(125, status)
    assert.equal("output_limit", r.status)
    assert.equal(2048, #r.stdout)
    local i = r.isolation
    assert.same({ 0.25, 64 << 20, 40, 8 << 20, 4 << 20, 100 },
      { i.cpus, i.memory, i.pids, i.tmp.bytes, i.shm, i.open_files })
    assert.same({ "exec_tmp" }, i.exceptions)
    local _, err
    _, err, status = run("pass", "--runtime no-such-runtime")
    assert.equal(125, status)
    assert.matches("no-such-runtime", err, 1, true)
  end)

  it("run feeds stdin from a slow pipe while output streams", function()
    write(script, "import sys\nprint('first', flush=True)\nprint(sys.stdin.read().upper())")
    local p = assert(io.popen(("(sleep 0.3; echo abc; sleep 0.3; echo def) | LUA_PATH='%s' LUA_CPATH='%s' "
      .. "lua5.4 bin/moonsand run %s --engine %s --image %s --stdin -"):format(
      package.path, package.cpath, script, docker, base)))
    assert.equal("first\nABC\nDEF\n\n", p:read "a")
    assert.is_true(p:close())
  end)

  it("Ctrl-C ends it with 130", function()
    write(script, "import time; time.sleep(60)")
    local p = assert(io.popen(("LUA_PATH='%s' LUA_CPATH='%s' timeout --preserve-status -s INT 3 "
      .. "lua5.4 bin/moonsand run %s --engine %s --image %s 2>/dev/null; echo $?"):format(
      package.path, package.cpath, script, docker, base)))
    local text = p:read "a"
    p:close()
    assert.equal("130\n", text)
  end)

  it("doctor looks at everything and runs a container", function()
    local out, _, status = moonsand(("doctor --json --engine %s --image %s"):format(docker, base))
    local answer = json.decode(out)
    assert.equal(answer.ok and 0 or 1, status)
    local seen, root = {}, assert(require "moonsand".connect(docker)):request({ path = "/info" }).DockerRootDir
    for _, f in ipairs(answer.findings) do
      seen[f.name] = f.level
    end
    assert.truthy(seen["disk " .. root])
    assert.equal("ok", seen.engine)
    assert.equal("ok", seen.container)
    assert.truthy(seen["fork mode"])
    assert.truthy(seen.cgroup)
    assert.truthy(seen.runc)
  end)

  it("doctor fails without an engine", function()
    local out, _, status = moonsand "doctor --engine unix:///no/such.sock"
    assert.equal(1, status)
    assert.matches("fail  engine", out)
  end)

  it("image list knows the base image", function()
    local out, _, status = moonsand(("image list --engine %s"):format(docker))
    assert.equal(0, status)
    assert.truthy(out:find(base, 1, true))
  end)

  it("image pull of nothing says so", function()
    local _, err, status = moonsand(("image pull localhost:1/no/such:image --engine %s"):format(docker))
    assert.equal(125, status)
    assert.matches("localhost:1/no/such:image", err, 1, true)
  end)

  it("clean --dry-run removes nothing", function()
    local out, _, status = moonsand(("clean --dry-run --json --engine %s"):format(docker))
    assert.equal(0, status)
    assert.is_true(json.decode(out).dry_run)
  end)
end)
