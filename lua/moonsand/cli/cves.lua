--- Flaws of engine parts that let a container out, and the versions that mend them.
---
--- A small table on purpose: it warns of what is known to matter for hostile programs, and is no scanner.
local M = {}

--- fixed: the first mended version of each release line, oldest line first. A version is mended when it
--- is at least the entry of its own line (same numbers up to the last but one), or newer than all lines.
M.list = {
  {
    id = "CVE-2019-5736", component = "runc", fixed = { "1.0.0-rc7" },
    what = "a container can overwrite the host's runc",
  },
  {
    id = "CVE-2024-21626", component = "runc", fixed = { "1.1.12" },
    what = "a leaked descriptor lets a container see the host's files",
  },
  {
    id = "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", component = "runc",
    fixed = { "1.2.8", "1.3.3", "1.4.0-rc3" },
    what = "races while a container is made can write to the host's /proc",
  },
  {
    id = "CVE-2020-15257", component = "containerd", fixed = { "1.3.9", "1.4.3" },
    what = "containers in the host's network can drive containerd",
  },
  {
    id = "CVE-2019-14271", component = "docker", fixed = { "19.3.1" }, since = "19.3.0",
    what = "docker cp loads code from the container",
  },
  {
    id = "CVE-2024-1753", component = "podman", fixed = { "4.9.4", "5.0.1" },
    what = "a build can mount the host's root", builds_only = true,
  },
}

--- "1.1.5+ds1-1+deb12u1" -> { 1, 1, 5 }, rank of a pre-release (nil: a release). "v1.6.20~ds1" too.
---@param text string
---@return integer[]? numbers, integer? rc
function M.parse(text)
  local numbers = {}
  local core, rest = tostring(text):match "^v?([%d.]+)(.*)$"
  if not core then
    return nil
  end
  for digits in core:gmatch "%d+" do
    numbers[#numbers + 1] = math.tointeger(tonumber(digits)) or 0
  end
  local rc = rest:match "^[-~]?rc%.?(%d+)"
  return numbers, rc and math.tointeger(tonumber(rc)) or nil
end

--- -1, 0, 1. A pre-release comes before its release.
---@param a string
---@param b string
---@return integer
function M.compare(a, b)
  local x, x_rc = M.parse(a)
  local y, y_rc = M.parse(b)
  x, y = x or {}, y or {}
  for i = 1, math.max(#x, #y) do
    local m, n = x[i] or 0, y[i] or 0
    if m ~= n then
      return m < n and -1 or 1
    end
  end
  x_rc, y_rc = x_rc or math.huge, y_rc or math.huge
  return x_rc < y_rc and -1 or x_rc > y_rc and 1 or 0
end

local function same_line(a, b)
  local x, y = M.parse(a) or {}, M.parse(b) or {}
  return x[1] == y[1] and (x[2] or 0) == (y[2] or 0)
end

local function mended(version, fixed)
  for _, first in ipairs(fixed) do
    if same_line(version, first) then
      return M.compare(version, first) >= 0
    end
  end
  return M.compare(version, fixed[#fixed]) > 0
end

--- Does the version look like a distribution's, which may mend without a new number?
---@param version string
---@return boolean
function M.is_distribution(version)
  return version:find("+ds", 1, true) ~= nil or version:find("~ds", 1, true) ~= nil
    or version:find("+dfsg", 1, true) ~= nil or version:find("deb%d") ~= nil or version:find("ubuntu", 1, true) ~= nil
    or version:find "%.el%d" ~= nil or version:find "%.fc%d" ~= nil
end

--- The entries that the version of that component has.
---@param component string "runc", "containerd", "docker", "podman"
---@param version string
---@return { id: string, what: string, fixed: string[], builds_only: boolean?, distribution: boolean }[]
function M.of(component, version)
  local out = {}
  if not M.parse(version) then
    return out
  end
  for _, cve in ipairs(M.list) do
    if cve.component == component and not mended(version, cve.fixed)
      and not (cve.since and M.compare(version, cve.since) < 0) then
      out[#out + 1] = {
        id = cve.id, what = cve.what, fixed = cve.fixed, builds_only = cve.builds_only,
        distribution = M.is_distribution(version),
      }
    end
  end
  return out
end

return M
