-- Debian packages in images from a mirror with a certificate authority of its own: what is given for the build makes
-- apt trust it, and stays nowhere.
local builders = require "spec.support.builders"
local packages = require "spec.support.packages"

setup(packages.setup)
teardown(packages.teardown)

local function hello(engine, image)
  return builders.python(engine, image, [=[
def read(p):
    return open(p).read() if os.path.exists(p) else None
print(json.dumps([read("/usr/share/spec-hello"), os.path.exists("/dev/moonsand-ca.pem"), os.path.exists("/moonsand"),
  read("/usr/local/share/moonsand/apt.lock").split()[:3]]))]=])
end

builders.each(describe, "apt with a certificate authority of one's own", function(b)
  local function stays_nowhere(image)
    local f = assert(io.open(packages.ca))
    local line = f:read "a":match "\n([%w+/=]+)\n"
    f:close()
    local tar = packages.dir .. "/" .. b.builder .. ".tar"
    assert(image:save(tar))
    local function output(command, ...)
      local p = io.popen(command:format(...))
      local n = p:read "l"
      p:close()
      return n
    end
    assert.equal("0", output("grep -c -a -F -e '%s' '%s'", line, tar))
    -- nor an empty file in its place, nor what apt was given
    local names = output([[cd '%s' && mkdir layers && tar -C layers -xf '%s' && find -L layers -name '*.tar' \
      -exec tar -tf {} ';' | grep '^tmp/.\|ca\.pem$\|spec-hello$' | sort -u | tr '\n' ' '; rm -r layers]],
      packages.dir, tar)
    assert.equal("usr/share/spec-hello ", names)
    os.remove(tar)
  end

  -- A name of its own for the package, so that no other spec has made it.
  local function version()
    return { "spec-hello=1.0" }, { U = builders.unique() }
  end

  if b.builder == "classic" then
    it("is beyond the classic builder, which says so, and BuildKit takes its place where it may", function()
      local apt, env = version()
      local image, err = packages.image(b, { apt = apt, env = env })
      assert.is_nil(image)
      assert.equal("unreachable", err.code)
      assert.matches('builder = "buildkit" can', err.message, 1, true)
      image = assert(packages.image(b, { apt = apt, env = env }, { builder = "auto", no_cache = true }))
      assert.same({ "hello\n", false, false, { "spec-hello", "1.0", "all" } }, hello(b.engine(), image))
    end)
    return
  end

  it("works, alone and beside Python's packages", function()
    for _, requirements in ipairs { false, packages.index "tiny==1.0\n" } do
      local apt, env = version()
      local image = assert(packages.image(b, { apt = apt, env = env, requirements = requirements or nil },
        { no_cache = true }))
      assert.same({ "hello\n", false, false, { "spec-hello", "1.0", "all" } }, hello(b.engine(), image))
      stays_nowhere(image)
      assert.is_nil(image:dockerfile():find("--mount", 1, true))
    end
  end)

  it("fails without it, and says why", function()
    local image, err = packages.image(b, { apt = { "spec-hello" }, env = { U = builders.unique() } },
      { ca = false, no_cache = true })
    assert.is_nil(image)
    assert.equal("unreachable", err.code)
    assert.matches("certificate is not trusted (a CA bundle can be given", err.message, 1, true)
  end)
end)
