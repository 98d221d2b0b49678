--- A Debian base image made from packages, for where no registry can be reached.
---
--- mmdebstrap runs on the controller's machine and makes a root file system with Python and pip; it becomes
--- an image archive with a fixed date and a configuration of ours, which the engine loads. The same archive
--- has the same image id on every engine. Archives are kept in $XDG_CACHE_HOME/moonsand/bootstrap.
local command = require "moonsand.command"
local core = require "moonsand.core"
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local options = require "moonsand.options"
local text = require "moonsand.text"

local M = {}

-- Goes into the name: to be raised when the same options make another image than before.
local version = 1

-- Every time in the image that would otherwise be that of the build. Equal packages make equal bytes.
local epoch, created = "1686355200", "2023-06-10T00:00:00Z"

local default_suite = "bookworm"
-- usrmerge would come with the essential packages and bring all of perl; usr-is-merged does in its place.
local always = { "ca-certificates", "python3", "python3-pip", "python3-venv", "usr-is-merged" }

-- What only a person at a terminal reads.
local unread = { "doc/*", "man/*", "info/*", "locale/*", "lintian/*", "pixmaps/*" }

-- Runs with the new root as $1. A source with a password in it is for us alone. What lies in tmp is mmdebstrap's own:
-- without it, it would tidy up this machine's package lists instead of the new root's.
local trim = [[
set -e
chroot "$1" dpkg --purge usrmerge libfile-find-rule-perl libnumber-compare-perl libtext-glob-perl perl \
    $(chroot "$1" dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'perl-modules-*' 'libperl5*' |
        sed -n 's/^installed //p')
ln -s ../../bin/python3 "$1/usr/local/bin/python"
sed -i 's,://[^/@ ]*@,://,' "$1/etc/apt/sources.list"
rm -rf "$1"/usr/share/i18n/* "$1"/usr/lib/*/gconv/* "$1"/usr/share/bash-completion "$1"/var/log/* \
    "$1"/var/cache/debconf/* "$1"/var/lib/dpkg/*-old "$1"/etc/resolv.conf "$1"/etc/hostname
]]

local function matching(pattern, wanted)
  return function(name, value, level)
    options.text(name, value, level + 1)
    if not value:find(pattern) then
      error(("option '%s': %q is not %s"):format(name, value, wanted), level + 1)
    end
    return value
  end
end

local package = matching("^%l[%l%d+.-]*[%l%d+]=?[%w.+:~-]*$", 'a Debian package; write "python3-numpy"')

local schema = {
  suite = matching("^%l[%l%d-]*$", 'a Debian suite; write "bookworm"'),
  packages = function(name, value, level)
    options.table(name, value, level + 1)
    local out = {}
    for i, item in ipairs(value) do
      out[i] = package(name, item, level + 1)
    end
    return out
  end,
  mirror = matching("^%l[%l%d+]*://[%g]+$", 'the address of a Debian mirror'),
}

--- The declaration of a base. Raises for options that do not exist or cannot be.
--- suite: "bookworm"; packages: Debian packages besides Python, pip, venv and CA certificates; mirror: where
--- packages come from, by default what this machine's apt is configured with (on Debian), else mmdebstrap's.
---@param given { suite: string?, packages: string[]?, mirror: string? }?
---@param level integer? whom to blame
---@return moonsand.Bootstrap
function M.declare(given, level)
  local o = options.check("images.bootstrap", given or {}, schema, (level or 1) + 1)
  local set, packages = {}, {}
  for _, list in ipairs { always, o.packages or {} } do
    for _, name in ipairs(list) do
      if not set[name] then
        set[name] = true
        packages[#packages + 1] = name
      end
    end
  end
  table.sort(packages)
  return { bootstrap = true, suite = o.suite or default_suite, packages = packages, mirror = o.mirror }
end

-- Go's names of architectures, which engines use, to Debian's.
local debian_arch = { arm = "armhf", ["386"] = "i386", ppc64le = "ppc64el", mips64le = "mips64el" }

--- The name that the image of this declaration has on every engine, and the whole hash.
---@param declared moonsand.Bootstrap
---@param arch string as the engine says it: "amd64"
---@return string ref, string hash 64 hex digits
function M.name(declared, arch)
  local hash = core.sha256(table.concat({
    "moonsand bootstrap " .. version, declared.suite, arch, declared.mirror or "", table.concat(declared.packages, ","),
  }, "\n"))
  return ("localhost/moonsand/base:%s-%s"):format(declared.suite, hash:sub(1, 12)), hash
end

--- "deb" lines for a suite, from what `apt-get update --print-uris` says of a machine that runs another suite,
--- or the same one. apt has read both formats of its configuration by then.
---@param uris string
---@param host string the machine's own suite
---@param suite string the one that is wanted
---@return string[]
function M.sources(uris, host, suite)
  local out, seen = {}, {}
  for line in uris:gmatch "[^\n]+" do
    local site, name = line:match "^'(https?://%S+)/dists/([^/%s']+)/InRelease'"
    local pocket = name and name:sub(1, #host) == host and name:sub(#host + 1)
    if pocket == "" or pocket == "-security" or pocket == "-updates" then
      local deb = ("deb %s %s%s main"):format(site, suite, pocket)
      if not seen[deb] then
        seen[deb] = true
        out[#out + 1] = deb
      end
    end
  end
  return out
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read(65536) or ""
end

--- What this machine's own apt would use: "deb" lines, none where mmdebstrap knows better, and the environment that
--- carries its proxies.
local function machine(suite)
  local release = read "/etc/os-release"
  local host = release:match "%f[%w]VERSION_CODENAME=\"?([%w-]+)"
  if not release:find "%f[%w]ID=\"?debian\"?\n" or not host then
    return {}, {}
  end
  local uris = command.run({ "apt-get", "update", "--print-uris" }, { timeout = 30 })
  local lines = uris and uris.exit_code == 0 and M.sources(uris.stdout, host, suite) or {}
  local env = {}
  local proxies = command.run(
    { "apt-config", "shell", "http_proxy", "Acquire::http::Proxy", "https_proxy", "Acquire::https::Proxy" },
    { timeout = 30 }
  )
  for name, value in (proxies and proxies.stdout or ""):gmatch "(%l+_proxy)='(https?://[^'\n]+)'" do
    env[name] = os.getenv(name) or value
  end
  return lines, env
end

local function config(declared, arch, ref, hash)
  local labels = { ["moonsand.kind"] = "base", ["moonsand.base"] = hash }
  return json.encode {
    architecture = arch,
    os = "linux",
    created = created,
    config = {
      Env = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8" },
      Cmd = { "python3" },
      Labels = labels,
    },
    rootfs = { type = "layers", diff_ids = { "sha256:LAYER" } },
    history = {
      { created = created, created_by = ("moonsand bootstrap %s: %s"):format(
        declared.suite, table.concat(declared.packages, " ")) },
    },
  }, json.encode { { Config = "CONFIG.json", RepoTags = { ref }, Layers = { "layer.tar" } } }
end

local function arguments(declared, arch, sources)
  local root = (core.stat "/proc/self" or { uid = 0 }).uid == 0
  local argv = {
    "mmdebstrap", "--format=tar", "--variant=apt", "--skip=output/dev",
    "--mode=" .. (root and "root" or "unshare"),
    "--architectures=" .. (debian_arch[arch] or arch),
    "--include=" .. table.concat(declared.packages, ","),
    '--aptopt=Acquire::Languages "none"',
    "--customize-hook=" .. trim,
  }
  for _, below in ipairs(unread) do
    argv[#argv + 1] = "--dpkgopt=path-exclude=/usr/share/" .. below
  end
  argv[#argv + 1] = "--dpkgopt=path-include=/usr/share/doc/*/copyright"
  argv[#argv + 1] = declared.suite
  argv[#argv + 1] = "LAYER"
  if declared.mirror then
    argv[#argv + 1] = declared.mirror
  end
  for _, line in ipairs(declared.mirror and {} or sources) do
    argv[#argv + 1] = line
  end
  return argv
end

--- Calls f with each line of a stream that comes in any pieces; long lines are cut.
local function by_line(f)
  local rest = ""
  return function(piece)
    rest = (rest .. piece):sub(-65536)
    for line in rest:gmatch "([^\n]*)\n" do
      f(text.harmless(line, 500))
    end
    rest = rest:match "[^\n]*$"
  end
end

-- What mmdebstrap says at the start of each of its steps, in their order.
local steps = {
  { "^I: running apt%-get update", "reading package lists" },
  { "^I: downloading packages", "downloading packages" },
  { "^I: extracting archives", "extracting" },
  { "^I: installing essential packages", "installing essential packages" },
  { "^I: installing remaining packages", "installing packages" },
  { "^I: running %-%-customize%-hook", "trimming" },
  { "^I: creating tarball", "writing the archive" },
}

local unreachable = {
  "Temporary failure resolving", "Could not resolve", "Could not connect", "Connection refused", "Connection timed out",
  "Network is unreachable", "No route to host", "connection timed out",
}

local function failure(result, log)
  if result.exit_code == 127 then
    return errors.new("unsupported", "a Debian base is made by mmdebstrap, which is not installed on this machine; "
      .. "install the Debian package mmdebstrap, or load an image with Python and give its name as the base",
      { op = "bootstrap" })
  end
  local code, why = "build", nil
  for _, line in ipairs(log) do
    if line:find("cannot find new[ug]idmap", 1) then
      return errors.new("unsupported", "a Debian base is made by root, or by others where the Debian package uidmap is "
        .. "installed and the user has ranges in /etc/subuid and /etc/subgid", { op = "bootstrap", log = log })
    end
    for _, words in ipairs(unreachable) do
      if line:find(words, 1, true) then
        code = "unreachable"
      end
    end
    why = why or line:match "^E: .*" -- the first is the cause, the others follow from it
  end
  local message = ("bootstrapping a Debian base failed: %s"):format(
    why or (result.signal ~= 0 and "killed by signal " .. result.signal) or log[#log] or "no reason given")
  return errors.new(code, message, { op = "bootstrap", step = "mmdebstrap", log = log })
end

--- Where archives are kept.
---@return string
function M.cache()
  local dir = os.getenv "XDG_CACHE_HOME"
  if not dir or dir:sub(1, 1) ~= "/" then
    dir = (os.getenv "HOME" or "/root") .. "/.cache"
  end
  return dir .. "/moonsand/bootstrap"
end

local script = debug.getinfo(1, "S").source:match "^@(.*)%.lua$" .. ".sh"

--- The archive of a base, made when it is not in the cache. Takes a minute or more then; on_progress gets
--- { phase = "bootstrap", status =, step =, steps = } events. Two builders at once: the second waits and takes
--- the first one's.
--- err.code: "unsupported" (no mmdebstrap), "unreachable" (no mirror answers), "build" (with err.log, the last
--- lines), "timeout".
---@param declared moonsand.Bootstrap
---@param arch string
---@param how { on_progress: function?, timeout: number? }?
---@return string? path, moonsand.Error? err
function M.archive(declared, arch, how)
  how = how or {}
  local ref, hash = M.name(declared, arch)
  local path = M.cache() .. "/" .. hash .. ".tar"
  local there = core.stat(path)
  if there and there.type == "file" and there.size > 0 then
    return path
  end
  local sources, env = machine(declared.suite)
  env.SOURCE_DATE_EPOCH = epoch
  local log = {}
  local argv = { "sh", script, path, config(declared, arch, ref, hash) }
  table.move(arguments(declared, arch, sources), 1, 64, #argv + 1, argv)
  local result, err = command.run(argv, {
    env = env,
    timeout = how.timeout,
    on_stdout = function() end,
    on_stderr = by_line(function(line)
      if line ~= "" then
        log[#log + 1] = line
        if #log > 40 then
          table.remove(log, 1)
        end
      end
      for i, step in ipairs(how.on_progress and steps or {}) do
        if line:find(step[1]) then
          how.on_progress { phase = "bootstrap", status = step[2], step = i, steps = #steps }
        end
      end
    end),
  })
  if not result then
    return nil, err
  elseif result.exit_code ~= 0 or result.signal ~= 0 then
    return nil, failure(result, log)
  end
  return path
end

--- Makes sure that the engine has the base.
---@param engine moonsand.Engine
---@param declared moonsand.Bootstrap
---@param arch string
---@param how { on_progress: function?, timeout: number? }?
---@return boolean? ok, moonsand.Error? err
function M.load(engine, declared, arch, how)
  local path, err = M.archive(declared, arch, how)
  if not path then
    return nil, err
  end
  how = how or {}
  local total = (core.stat(path) or {}).size
  return engine:load(path, {
    timeout = how.timeout,
    on_progress = how.on_progress and function(event)
      event.total = event.current and total
      how.on_progress(event)
    end,
  })
end

return M
