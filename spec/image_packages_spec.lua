-- Python packages in images: what pip would install, from a package index with a certificate authority of its
-- own; nothing of how it was fetched stays; what was fetched once is not fetched again; locks.
-- Plain build only: runs pip, with the C of image_build_spec
local builders = require "spec.support.builders"
local engines = require "spec.support.engines"
local moonsand = require "moonsand"
local packages = require "spec.support.packages"

local index = packages.index

setup(packages.setup)
teardown(packages.teardown)

builders.each(describe, "packages", function(b)
  local function image(...)
    return packages.image(b, ...)
  end

  it("are installed as pip would, with nothing of the build in the image", function()
    local secret = "s3cret" .. math.random(1 << 30)
    local made, err, fetched = image({ requirements = index "tiny==1.0\n", env = { U = builders.unique() },
      run = "echo \"${#no_proxy}\" >/length" }, { proxy = { no = "*," .. secret } })
    assert(made, err)
    assert.equal("tiny-1.0-py3-none-any.whl", fetched)
    local seen = builders.python(b.engine(), made, [[
import tiny, subprocess, importlib.metadata, importlib.util, glob, shutil
d = importlib.metadata.distribution("tiny")
cached = importlib.util.cache_from_source(tiny.__file__)
def run(program):
    return subprocess.run([shutil.which(program)], capture_output=True, text=True).stdout
print(json.dumps([tiny.VERSION, d.version, run("tiny-run"), run("tiny-script"), os.path.exists(cached),
  sorted(str(f) for f in d.files if not f.locate().exists()), os.path.exists("/moonsand"),
  any(os.path.exists(p + "/share/tiny.txt") for p in (sys.prefix, "/usr/local")), open("/length").read()]))
]])
    assert.same({ "1.0", "1.0", "1.0\n", "script\n", true, {}, false, true, #("*," .. secret) .. "\n" }, seen)
    -- neither the certificates nor the proxy, in layers, history, environment, or labels
    local f = assert(io.open(packages.ca))
    local line = f:read "a":match "\n([%w+/=]+)\n"
    f:close()
    local tar = packages.dir .. "/" .. b.builder .. ".tar"
    assert(made:save(tar))
    for _, word in ipairs { line, secret } do
      local p = io.popen(("grep -c -a -F -e '%s' '%s'"):format(word, tar))
      assert.equal("0", p:read "l")
      p:close()
    end
    os.remove(tar)
    for _, step in ipairs(assert(made:history())) do
      assert.is_nil(step.created_by:find(secret, 1, true))
    end
  end)

  it("are not fetched again for one package more, and the tree is extended", function()
    assert(image { requirements = index "tiny==1.1\n" })
    local extended = false
    local made, err, fetched = image({ requirements = index "tiny==1.1\nsecond\n", env = { U = builders.unique() } }, {
      on_progress = function(e)
        extended = extended or (e.name or ""):find("/moonsand/delta/", 1, true) ~= nil
      end })
    assert(made, err)
    assert.equal("second-2.0-py3-none-any.whl", fetched)
    assert.is_true(extended)
    assert.same({ "1.1", "2.0" }, builders.python(b.engine(), made,
      "import tiny, second; print(json.dumps([tiny.VERSION, second.VERSION]))"))
    -- and what is no longer asked for is gone
    local less
    less, err, fetched = image { requirements = index "second\n", env = { U = builders.unique() } }
    assert(less, err)
    assert.equal("", fetched)
    assert.same({ false, true }, builders.python(b.engine(), less,
      "import importlib.util as i; print(json.dumps([i.find_spec(n) is not None for n in ('tiny', 'second')]))"))
  end)

  it("fail with the reason", function()
    for i, case in ipairs {
      { "nosuch\n", "build", "there is no package nosuch" },
      { "tiny==9.9\n", "build", "1%.0, 1%.1" },
      { "needsold\nneedsnew\n", "build", "exclude each other" },
      { "tiny\n=broken=\n", "build", "line 3" },
      { "tiny==1.0 --hash=sha256:" .. ("a"):rep(64) .. "\n", "build", "hash does not match" },
      { "evil\n", "build", "refused" },
    } do
      -- The reasons are found inside; that they come out has to be seen of each builder.
      if i <= 1 or b.builder == "classic" then
        local made, err = image { requirements = index(case[1]) }
        assert.is_nil(made)
        assert.equal(case[2], err.code)
        assert.matches(case[3], err.message)
        assert.is_string(err.step)
        assert.is_true(#err.log > 0)
      end
    end
    assert.same({}, builders.leftovers(b.engine()))
  end)

  it("fail as unreachable without a network, a known certificate, or an answer", function()
    local made, err = image { requirements = { data = "tiny==1.0\n" } }
    assert.is_nil(made)
    assert.equal("unreachable", err.code)
    made, err = image({ requirements = index "needsold\n" }, { ca = false })
    assert.is_nil(made)
    assert.equal("unreachable", err.code)
    assert.matches("certificate", err.message)
    made, err = image { requirements = { data = "--index-url https://127.0.0.1:9/simple/\ntiny\n" } }
    assert.is_nil(made)
    assert.equal("unreachable", err.code)
    assert.matches("cannot be reached: 127.0.0.1: connection refused", err.message, 1, true)
    -- soon, where nothing comes back at all
    local began = moonsand.monotonic()
    made, err = image { requirements = { data = "--index-url https://127.0.0.1:8444/simple/\ntiny\n" } }
    assert.is_nil(made)
    assert.equal("unreachable", err.code)
    assert.matches("cannot be reached: 127.0.0.1: timed out", err.message, 1, true)
    assert.is_true(moonsand.monotonic() - began < 15)
    -- and the next of a list is taken then
    made = assert(b.engine():image({ { from = engines.image,
      requirements = { data = "--index-url https://127.0.0.1:9/\nx\n" } },
      { from = engines.image, env = { NEXT = "1" } } }, { builder = b.builder }))
    assert.equal("unreachable", made.base.tried[#made.base.tried].code)
    assert.matches("choice 2 of 2", made.base.line)
  end)
end)
