--- A base image with a package index in it (spec/support/index.py), and images of its packages.
local builders = require "spec.support.builders"
local engines = require "spec.support.engines"

local M = {}

local url = "https://127.0.0.1:8443/simple/"
local bases = {}

--- Call it in setup(); M.dir and M.ca are set then.
function M.setup()
  M.dir = builders.directory()
  assert(os.execute(("python3 spec/support/index.py '%s'"):format(M.dir)))
  M.ca = M.dir .. "/ca.pem"
end

function M.teardown()
  builders.remove(M.dir)
end

--- Requirements that name the index first.
function M.index(rest)
  return { data = "--index-url " .. url .. "\n" .. rest }
end

local function base(b)
  if not bases[b.builder] then
    local files = {}
    for _, path in ipairs { "spec/index", "usr/lib/python3/dist-packages/spec_index.py",
      "usr/lib/python3/dist-packages/spec_index.pth",
      "spec/mirror", "spec/mirror.py", "etc/apt/sources.list", "etc/apt/apt.conf.d/spec" } do
      files["/" .. path] = M.dir .. "/image/" .. path
    end
    bases[b.builder] = assert(b.image { from = engines.image, files = files, env = { BUILDER = b.builder } }).ref
  end
  return bases[b.builder]
end

--- b.image on that base. ca = false: without the index's certificates. The third value names what was downloaded.
function M.image(b, what, how)
  how = how or {}
  local fetched = {}
  local on_progress = how.on_progress
  how.ca = how.ca ~= false and M.ca or nil
  how.on_progress = function(e)
    fetched[#fetched + 1] = (e.line or ""):match "Downloading .-([%w.-]+%.whl)"
    if on_progress then
      on_progress(e)
    end
  end
  what.from = base(b)
  local made, err = b.image(what, how)
  return made, err, table.concat(fetched, " ")
end

return M
