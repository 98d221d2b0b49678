-- Input data of a sandbox: one more layer, made once, readable in each run.
local core = require "moonsand.core"
local engines = require "spec.support.engines"
local moonsand = require "moonsand"
local store = require "moonsand.image.store"

local dir

local function write(name, text)
  local path = dir .. "/" .. name
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
  return path
end

describe("input", function()
  setup(function()
    local p = assert(io.popen "mktemp -d")
    dir = p:read "l"
    p:close()
  end)

  teardown(function()
    os.execute(("rm -rf '%s'"):format(dir))
  end)

  engines.each(describe, "data", function(kind)
    local engine

    local function data_images(all)
      local out = {}
      for _, item in ipairs(assert(engine:images { all = all, ours = true })) do
        if item.kind == "data" then
          out[#out + 1] = item
        end
      end
      return out
    end

    setup(function()
      engine = engines.engine(kind)
    end)

    teardown(function()
      engines.settle(kind)
      for _, item in ipairs(data_images(true)) do
        engine:remove(item.id, { force = true })
      end
    end)

    for _, mode in ipairs { { "container", {} }, { "pool", { pool = 1 } }, { "fork", { mode = "fork" } } } do
      it("is at /data in mode " .. mode[1] .. ", and cannot be changed", function()
        local csv = write("GOOG.csv", "Date,Close\n2004-08-19,100\n\0\255")
        assert(os.execute(("chmod 600 '%s'"):format(csv)))
        local how = { data = { ["GOOG.csv"] = csv, ["deep/er/x.txt"] = { data = "x" } } }
        for k, v in pairs(mode[2]) do
          how[k] = v
        end
        local box <close> = engines.box(kind, how)
        assert.same({ "GOOG.csv", "deep/er/x.txt" }, box.data)
        assert.matches("^%x+$", box.data_hash)
        assert.equal(64, #box.data_hash)
        local r = assert(box:run { code = [[
import os
d = os.environ["MOONSAND_DATA"]
print(d, open(d + "/GOOG.csv", "rb").read(), open(d + "/deep/er/x.txt").read())
for step in ("open(d + '/GOOG.csv', 'a')", "open(d + '/new', 'w')", "os.unlink(d + '/GOOG.csv')",
             "os.chmod(d + '/GOOG.csv', 0o777)", "os.rename(d + '/deep', '/tmp/deep')"):
    try: eval(step); print("did", step)
    except OSError: pass
st = os.stat(d + "/GOOG.csv")
print(oct(st.st_mode), st.st_uid != os.getuid())]] })
        assert.equal("ok", r.status, r.stderr)
        assert.equal("/data b'Date,Close\\n2004-08-19,100\\n\\x00\\xff' x\n0o100444 True\n", r.stdout)
        if mode[1] == "fork" then
          assert.equal("fork", r.isolation.mode)
        end
        assert.equal(box.image, r.image)
      end)
    end

    it("is there for a preload script", function()
      local box <close> = engines.box(kind, {
        mode = "fork", data = { ["a.txt"] = { data = "from data" } },
        preload_script = { code = "text = open('/data/a.txt').read()" },
      })
      local r = assert(box:run { code = "import __preload__; print(__preload__.text)" })
      assert.equal("from data\n", r.stdout, r.stderr)
    end)

    it("is made once, and found by what is in it", function()
      local a, b = write("one.csv", "1"), write("two.csv", "1")
      local first <close> = engines.box(kind, { data = { ["x.csv"] = a } })
      local images = #data_images(true)
      local second <close> = engines.box(kind, { data = { ["x.csv"] = b } })
      local third <close> = engines.box(kind, { data = { ["x.csv"] = { data = "1" } } })
      assert.equal(first.data_hash, second.data_hash)
      assert.equal(first.data_hash, third.data_hash)
      assert.equal(images, #data_images(true))
      write("two.csv", "2")
      local other <close> = engines.box(kind, { data = { ["x.csv"] = b } })
      local named <close> = engines.box(kind, { data = { ["y.csv"] = a } })
      assert.are_not.equal(first.data_hash, other.data_hash)
      assert.are_not.equal(first.data_hash, named.data_hash)
      assert.are_not.equal(other.data_hash, named.data_hash)
      assert.equal(images + 2, #data_images(true))
      assert.equal("2\n", assert(other:run { code = "print(open('/data/x.csv').read())" }).stdout)
      assert.equal("1\n", assert(second:run { code = "print(open('/data/x.csv').read())" }).stdout)
      local list <close> = engines.box(kind, { data = { a, b } })
      assert.same({ "one.csv", "two.csv" }, list.data)
      local plain <close> = engines.box(kind)
      assert.same({}, plain.data)
      assert.is_nil(plain.data_hash)
      assert.equal(plain.image, first.image)
      local r = assert(plain:run { code = "import os; print('MOONSAND_DATA' in os.environ, os.path.exists('/data'))" })
      assert.equal("False False\n", r.stdout)
    end)

    it("may be made by several at once", function()
      local stamp = tostring(core.monotonic())
      local results = moonsand.map({ 1, 2, 3, 4 }, 4, function(i)
        local box <close> = engines.box(kind, { data = { ["i.txt"] = { data = stamp } } })
        return assert(box:run { code = "print(open('/data/i.txt').read(), " .. i .. ")" }).stdout
      end)
      for i = 1, 4 do
        assert.equal(stamp .. " " .. i .. "\n", results[i])
      end
    end)

    it("leaves no container, and images that prune and list know", function()
      engines.settle(kind)
      local before = #engines.containers(kind)
      local stamp = tostring(core.monotonic())
      local box = engines.box(kind, { data = { ["z.txt"] = { data = stamp } } })
      engines.settle(kind)
      assert.equal(before, #engines.containers(kind))
      assert(box:run { code = "pass" })
      engines.settle(kind)
      local found
      for _, item in ipairs(data_images()) do
        if item.labels["moonsand.data"] == box.data_hash then
          found = item
        end
      end
      assert.is_truthy(found)
      assert.equal(box.image, found.labels["moonsand.base"])
      assert.matches("^localhost/moonsand/data:%x+$", found.refs[1])
      local list = assert(engine:images { all = true })
      local hanging = store.run_images(list, found.id)
      assert.is_true(#hanging > 0)
      box:close()
      -- What was just used stays; later it goes, and what hangs on it before it.
      local function removed(unused_for)
        local out = {}
        for i, item in ipairs(assert(engine:prune { unused_for = unused_for, dry_run = true }).removed) do
          out[item.id] = i
        end
        return out
      end
      assert.is_nil(removed("1h")[found.id])
      local all = removed(0)
      assert.is_truthy(all[found.id])
      for _, item in ipairs(hanging) do
        assert.is_true(all[item.id] < all[found.id])
      end
      assert(engine:remove(found.id))
      for _, item in ipairs(hanging) do
        assert.is_false((engine:has(item.id)))
      end
      assert.is_true((engine:has(box.image)))
      -- A sandbox that knew it makes it again.
      local again <close> = engines.box(kind, { data = { ["z.txt"] = { data = stamp } } })
      assert.equal(box.data_hash, again.data_hash)
      assert.equal("ok", assert(again:run { code = "open('/data/z.txt')" }).status)
    end)

    it("goes with the image that it was added to", function()
      local ref = "localhost/moonsand-specs/data:1"
      assert(engine:tag(engines.image, ref))
      local facts = assert(engine:inspect(ref))
      local built = assert(engine:image { from = ref, env = { OF = "data_spec" } })
      local box = assert(engine:sandbox { image = built, data = { ["q.txt"] = { data = "q" } } })
      assert(box:run { code = "pass" })
      box:close()
      engines.settle(kind)
      assert.are_not.equal(facts.id, built.id)
      local hanging = store.run_images(assert(engine:images { all = true }), built.id)
      assert.is_true(#hanging >= 2)
      assert(engine:remove(built))
      for _, item in ipairs(hanging) do
        assert.is_false((engine:has(item.id)))
      end
      assert(engine:remove(ref))
    end)

    it("says what is wrong with a file", function()
      local link, sub = dir .. "/link.csv", dir .. "/sub"
      write("real.csv", "1")
      assert(os.execute(("ln -sf real.csv '%s'; mkdir -p '%s'; truncate -s 5G '%s/huge'"):format(link, sub, dir)))
      for path, expected in pairs {
        [dir .. "/none.csv"] = { "io", "none.csv" },
        [link] = { "invalid", "link.csv is a symbolic link; give the file itself" },
        [sub] = { "invalid", "sub is a directory; name the files in it" },
        ["/dev/null"] = { "invalid", "/dev/null is not a regular file" },
        [dir .. "/huge"] = { "invalid", "more than 4294967296; for so much, bind a directory" },
        ["/proc/self/mem"] = { "io", "/proc/self/mem" },
      } do
        local before = #data_images(true)
        local box, err = engine:sandbox { image = engines.image, data = { ["x.csv"] = path } }
        assert.is_nil(box)
        assert.equal("data", err.op, path)
        assert.equal(expected[1], err.code, path .. ": " .. err.message)
        assert.matches(expected[2], err.message, 1, true)
        assert.equal(before, #data_images(true))
      end
    end)

    it("refuses an image that has a volume there", function()
      local built = assert(engine:image({ dockerfile = { data = "FROM " .. engines.image .. "\nVOLUME /data/x\n" } }))
      local box, err = engine:sandbox { image = built, data = { ["x.csv"] = { data = "" } } }
      assert.is_nil(box)
      assert.equal("unsupported", err.code)
      assert.matches("declares a volume at /data/x", err.message, 1, true)
      assert(engine:remove(built))
    end)

    it("raises for what makes no sense", function()
      local function bad(value, message)
        local ok, err = pcall(function()
          engine:sandbox { image = engines.image, data = value }
        end)
        assert.is_false(ok)
        assert.matches(message, tostring(err), 1, true)
        assert.matches("data_spec.lua", tostring(err), 1, true)
      end
      bad("x.csv", "option 'data' is a table")
      bad({}, "option 'data' is empty")
      bad({ 5 }, "a path is a text, got number")
      bad({ ["/x"] = "a" }, "must be relative to /data")
      bad({ ["../x"] = "a" }, 'an empty part, "." or ".."')
      bad({ ["x\n"] = "a" }, "control character")
      bad({ x = {} }, "needs a string 'data'")
      bad({ x = { data = "1", mode = 1 } }, "has no option 'mode'")
      bad({ "a/x", "b/x" }, "stands there twice")
      bad({ x = "a\0b" }, "NUL byte")
    end)
  end)
end)
