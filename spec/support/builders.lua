--- The builders that the specs of images run on, and what is left on an engine.
local engines = require "spec.support.engines"
local json = require "moonsand.json"

local M = {}

local all = {
  { kind = "docker", builder = "classic", name = "Docker's classic builder" },
  { kind = "docker", builder = "buildkit", name = "BuildKit" },
  { kind = "podman", builder = "auto", name = "Podman" },
}

--- Describes the same specs for each builder; body(b) gets kind, builder, and image(what, how).
function M.each(describe, name, body)
  for _, b in ipairs(all) do
    describe(name .. " by " .. b.name, function()
      body {
        kind = b.kind, builder = b.builder,
        engine = function()
          return engines.engine(b.kind)
        end,
        image = function(what, how)
          local o = { builder = b.builder, network = "none" }
          for k, v in pairs(how or {}) do
            o[k] = v
          end
          return engines.engine(b.kind):image(what, o)
        end,
      }
    end)
  end
end

local counter = 0

--- A text that no image was ever made of.
function M.unique()
  counter = counter + 1
  return ("%d.%d.%d"):format(os.time(), counter, math.random(1 << 30))
end

--- The JSON that a Python program prints, run in a sandbox of the image.
function M.python(engine, image, code)
  local box <close> = assert(engine:sandbox { image = image, memory = "256m" })
  local r = assert(box:run { code = "import json, os, sys\n" .. code })
  assert(r.status == "ok", r.status .. ": " .. tostring(r.stderr))
  return assert(json.decode(r.stdout))
end

--- What builds must not leave: names of ours that live as long as a build, and containers.
function M.leftovers(engine)
  local out = {}
  for _, item in ipairs(assert(engine:images { all = true })) do
    for _, ref in ipairs(item.refs) do
      if ref:find("moonsand/work:", 1, true) then
        out[#out + 1] = ref
      end
    end
  end
  -- Podman's builders have containers that only its own API shows.
  local path = engine:facts().kind == "podman" and "/libpod/containers/json?all=true&external=true"
    or "/containers/json?all=1"
  local list = assert(engine:request { path = path })
  for _, c in ipairs(list) do
    out[#out + 1] = "container " .. c.Id:sub(1, 12) .. " " .. table.concat(c.Names or {}, " ")
  end
  return out
end

--- A directory of this spec's own; removed with M.remove.
function M.directory()
  local p = assert(io.popen "mktemp -d")
  local dir = p:read "l"
  p:close()
  return dir
end

function M.remove(dir)
  os.execute(("rm -rf '%s'"):format(dir))
end

function M.write(path, data)
  local f = assert(io.open(path, "wb"))
  f:write(data)
  f:close()
end

--- Where this machine has a shared library.
function M.library(name)
  local p = assert(io.popen "PATH=$PATH:/sbin:/usr/sbin ldconfig -p")
  local path
  for line in p:lines() do
    path = path or line:find("^%s*" .. name:gsub("%p", "%%%0") .. " ") and line:match "=> (%S+)$"
  end
  p:close()
  p = assert(io.popen("readlink -f '" .. path .. "'"))
  path = p:read "l"
  p:close()
  return path
end

return M
