--- moonsand doctor: can this machine and engine keep a hostile program in, and what to do where not.
local common = require "moonsand.cli.common"
local core = require "moonsand.core"
local cves = require "moonsand.cli.cves"
local json = require "moonsand.json"
local moonsand = require "moonsand"
local term = require "moonsand.cli.term"

local M = {}

function M.define(parser)
  local c = parser:command("doctor", "Look at engine, kernel and settings; exit status 1 when something fails.")
  common.engine_option(c)
  c:option("--image", "Image for the container that is tried."):argname "REF"
  c:flag("--json", "Print JSON.")
end

---@class moonsand.Finding
---@field name string
---@field level "ok"|"warn"|"fail"
---@field message string
---@field advice string? what to do

local function note(findings, name, level, message, advice)
  findings[#findings + 1] = { name = name, level = level, message = message, advice = advice }
end

--- What the kernel and the machine offer. facts: the core's host_facts(), decoded.
function M.check_host(findings, facts)
  local cgroup = type(facts.cgroup) == "table" and facts.cgroup or {}
  if cgroup.version == 2 then
    note(findings, "cgroup", "ok", "version 2")
  elseif cgroup.version == 1 then
    note(findings, "cgroup", "warn", ("version 1 (%s)"):format(tostring(cgroup.mode)),
      "works; version 2 accounts better, and rootless limits need it: boot with systemd.unified_cgroup_hierarchy=1")
  else
    note(findings, "cgroup", "fail", "no control groups are mounted", "limits cannot be applied: mount /sys/fs/cgroup")
  end

  local landlock = type(facts.landlock) == "table" and facts.landlock or {}
  if landlock.works and (landlock.abi or 0) >= 6 then
    note(findings, "landlock", "ok", ("ABI %d"):format(landlock.abi))
  elseif landlock.works then
    note(findings, "landlock", "warn", ("ABI %d, without signal scoping"):format(landlock.abi or 0),
      "a kernel from 6.12 on adds a second wall between program and agent")
  else
    note(findings, "landlock", "warn", "not available",
      "boot with lsm=landlock,... for a second wall; the others hold")
  end

  local userns = type(facts.userns) == "table" and facts.userns or {}
  if userns.works then
    note(findings, "user namespaces", "ok", "available")
  else
    note(findings, "user namespaces", "warn", "not available" ..
      (type(userns.error) == "string" and ": " .. userns.error or ""),
      "rootless engines need them, and fork mode, which else keeps runs apart by Landlock alone: see sysctl "
        .. "user.max_user_namespaces")
  end

  local pattern = type(facts.core_pattern) == "table" and facts.core_pattern or {}
  if pattern.piped then
    note(findings, "core dumps", "warn", "are piped to a program of the host as root",
      "crashing programs feed it: sysctl kernel.core_pattern=core, unless you need it")
  end

  local disk, dirs = type(facts.disk) == "table" and facts.disk or {}, {}
  for dir in pairs(disk) do
    dirs[#dirs + 1] = dir
  end
  table.sort(dirs)
  for _, dir in ipairs(dirs) do
    M.check_disk(findings, dir, disk[dir])
  end
end

--- What is free on the file system of a directory.
---@param findings moonsand.Finding[]
---@param dir string
---@param disk any table with free_bytes, free_inodes
function M.check_disk(findings, dir, disk)
  disk = type(disk) == "table" and disk or {}
  local free, inodes = disk.free_bytes, disk.free_inodes
  if type(free) ~= "number" then
    return
  end
  local level = free < 256 << 20 and "fail" or free < 2 << 30 and "warn" or "ok"
  local message = term.bytes(free) .. " free"
  -- File systems that make inodes as they are needed tell of none, or of a great many.
  if type(inodes) == "number" and inodes > 0 and inodes < 20000 then
    level = level == "ok" and "warn" or level
    message = ("%s, and room for %d files"):format(message, inodes)
  end
  note(findings, "disk " .. dir, level, message,
    level ~= "ok" and "images and layers need room: `docker image prune`, or a larger disk" or nil)
end

local function check_versions(findings, facts)
  local versions = {}
  for name, version in pairs(facts.components) do
    -- Podman calls it "OCI Runtime (runc)", and its version "runc version 1.1.5 ..."
    name = name:lower():match "^oci runtime %((.-)%)$" or name:lower()
    versions[name] = tostring(version):match "version ([%w.+~-]+)" or version
  end
  versions[facts.kind] = versions[facts.kind] or facts.engine_version
  for _, name in ipairs { "docker", "podman", "containerd", "runc", "crun" } do
    local version = versions[name]
    if type(version) == "string" then
      local found = cves.of(name, version)
      if #found == 0 then
        note(findings, name, "ok", "version " .. version)
      end
      for _, cve in ipairs(found) do
        local mild = cve.distribution or cve.builds_only
        note(findings, name, mild and "warn" or "fail", ("version %s: %s (%s)"):format(version, cve.what, cve.id),
          cve.distribution and "may be patched by the distribution: see its security tracker for " .. cve.id
            or ("update to %s"):format(table.concat(cve.fixed, " or "))
            .. (cve.builds_only and "; matters only where hostile images are built" or ""))
      end
    end
  end
end

local function check_socket(findings, facts)
  local path = facts.endpoint:match "^unix://(/.*)$"
  local st = path and core.stat(path)
  if st and st.mode & 2 ~= 0 then
    note(findings, "socket", "fail", ("%s can be written by everybody (mode %03o)"):format(path, st.mode),
      "whoever may write to it is root: chmod 660 " .. path)
  elseif st then
    note(findings, "socket", "ok", ("%s, mode %03o"):format(path, st.mode))
  elseif facts.endpoint:match "^tcp://" and not facts.endpoint:match "^tcp://127%." then
    note(findings, "socket", "warn", facts.endpoint, "use TLS with client certificates, or ssh://")
  end
end

--- What the engine says of itself. facts: engine:facts().
function M.check_engine(findings, facts)
  note(findings, "engine", "ok", ("%s %s, API %s, at %s (found by: %s)"):format(
    facts.kind, facts.engine_version, facts.api_version, facts.endpoint, facts.found_by))
  check_versions(findings, facts)
  check_socket(findings, facts)
  if facts.rootless then
    note(findings, "rootless", "ok", "the engine does not run as root")
  elseif facts.userns_remap then
    note(findings, "rootless", "ok", "the engine runs as root, with user namespaces for containers")
  else
    note(findings, "rootless", "warn", "the engine runs as root",
      "an escape is root on the machine: rootless mode, userns-remap, or runtime = \"runsc\" narrow that")
  end
end

--- Image builds and the exception network = "bridge" need a way out. status: embedded_status(), decoded, where the
--- engine is the embedded one.
function M.check_network(findings, facts, status)
  local net = type(status) == "table" and type(status.network) == "table" and status.network or {}
  if facts.has_bridge then
    note(findings, "network", "ok", "for image builds, and for runs that ask for it" ..
      (net.subnet and (": bridge %s, %s"):format(tostring(net.bridge), tostring(net.subnet)) or ""))
    if net.bridge and not net.apart then
      note(findings, "network", "warn", "containers that have one can reach each other",
        "load br_netfilter, then start the engine again")
    end
  else
    note(findings, "network", "warn", "none: image builds cannot fetch anything" ..
      (net.missing and ": " .. tostring(net.missing) or ""),
      net.missing and "runs need none; for builds: remove the cause, then start the engine again"
        or "runs need none; builds do: give the engine its default network")
  end
end

--- Where the engine keeps images and containers, when that is this machine's disk.
function M.check_storage(findings, engine)
  local info = engine:facts()["local"] and engine:request { path = "/info" }
  local dir = type(info) == "table" and info.DockerRootDir
  if type(dir) == "string" and dir:sub(1, 1) == "/" and not dir:find("\0", 1, true) then
    local disk = core.disk(dir)
    if disk then
      M.check_disk(findings, dir, disk)
    end
  end
end

local script = 'import sys; print(6 * 7, "python", sys.version.split()[0])'

--- What fork mode gives here, seen by a run of it. r: its result.
---@param findings moonsand.Finding[]
---@param r moonsand.Result
function M.check_fork(findings, r)
  local i = r.isolation
  if i.mode ~= "fork" then
    note(findings, "fork mode", "warn", "not possible: each run gets a container" ..
      (type(i.fell_back) == "string" and ": " .. i.fell_back or ""),
      "the kernel needs user namespaces, or Landlock with ABI 6 (6.12)")
  elseif i.tier ~= "namespaces" then
    note(findings, "fork mode", "warn", "runs are kept apart by Landlock, without namespaces of their own",
      "AppArmor or a sysctl (kernel.apparmor_restrict_unprivileged_userns, user.max_user_namespaces) forbids them; "
        .. "require = \"namespaces\" refuses to go without")
  else
    note(findings, "fork mode", "ok", ("with namespaces; a warm run took %.1f ms"):format(
      1000 * (r.wall_s + r.overhead_s)))
  end
end

--- Two runs of one worker: the second is warm.
local function try_fork(findings, engine, image)
  local box <close>, err = engine:sandbox { image = image, mode = "fork", timeout = 30, memory = "64m", disk = "16m" }
  local result
  for _ = 1, 2 do
    if box and not err then
      result, err = box:run { code = script }
    end
  end
  if err then
    note(findings, "fork mode", "warn", err.message, "see the message; container mode is not concerned")
  elseif not result.ok then
    note(findings, "fork mode", "warn", tostring(result), "container mode is not concerned")
  else
    M.check_fork(findings, result)
  end
end

--- Runs one real container, and forks in another.
function M.check_run(findings, engine, image)
  local found, ref = pcall(common.image, engine, image)
  if not found then
    note(findings, "container", "fail", type(ref) == "table" and ref.message or tostring(ref),
      "get an image; without one nothing can run")
    return
  end
  local box <close>, err = engine:sandbox { image = ref, timeout = 30, memory = "64m", disk = "16m" }
  local result
  if box then
    result, err = box:run { code = script }
  end
  if not result then
    note(findings, "container", "fail", ("%s: %s"):format(ref, err.message), "see the message; then try again")
  elseif not result.ok or not result.stdout:find("42", 1, true) then
    note(findings, "container", "fail", ("%s: %s %s"):format(ref, tostring(result), result.stderr:sub(1, 300)),
      "is python3 in the image? Name another with --image")
  else
    note(findings, "container", "ok", ("%s ran in %.2f s, %.2f s of it ours"):format(
      ref, result.wall_s + result.overhead_s, result.overhead_s))
    try_fork(findings, engine, ref)
  end
end

--- Of the embedded engine in the default place, if that is the one we talk to.
local function embedded_status(facts)
  local status = json.decode(core.embedded_status() or "")
  if type(status) == "table" and facts.endpoint == "unix://" .. tostring(status.socket) then
    return status
  end
  return nil
end

local colours = { ok = "green", warn = "yellow", fail = "red" }

local function show(findings)
  for _, f in ipairs(findings) do
    io.stdout:write(term.colour(1, colours[f.level], ("%-4s"):format(f.level)), "  ", f.name, ": ",
      term.line(f.message), "\n")
    if f.advice then
      io.stdout:write("      ", term.line(f.advice), "\n")
    end
  end
end

function M.main(args)
  local findings = {}
  local text, err = core.host_facts()
  if text then
    M.check_host(findings, json.decode(text) or {})
  else
    note(findings, "machine", "warn", err.message)
  end
  term.progress "looking for an engine"
  local engine
  engine, err = moonsand.connect { endpoint = args.engine, timeout = 15 }
  if engine then
    local _ <close> = engine
    local facts = engine:facts()
    M.check_engine(findings, facts)
    M.check_network(findings, facts, embedded_status(facts))
    M.check_storage(findings, engine)
    term.progress "running a container"
    M.check_run(findings, engine, args.image)
  else
    note(findings, "engine", "fail", err.message, "install docker.io or podman, or run `moonsand engine start`")
  end
  term.clear()
  local failed = 0
  for _, f in ipairs(findings) do
    failed = failed + (f.level == "fail" and 1 or 0)
  end
  if args.json then
    common.print_json { ok = failed == 0, findings = json.array(findings) }
  else
    show(findings)
  end
  return failed > 0 and 1 or 0
end

return M
