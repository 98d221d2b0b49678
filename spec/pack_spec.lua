-- What is sent to an engine: the same files as the docker command sends, whole or not at all.
local core = require "moonsand.core"
local engines = require "spec.support.engines"
local moonsand = require "moonsand"
local packs = require "moonsand.pack"

local function sh(script)
  local p = assert(io.popen(script .. " 2>&1"))
  local text = p:read "a"
  local ok = p:close()
  assert(ok, text)
  return text
end

local function write(path, text)
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
end

local dir = sh("mktemp -d"):gsub("\n", "")

local function tree(ignore, keep)
  local pack = assert(core.pack())
  assert(pack:tree("", dir .. "/c", { ignore = ignore, keep = keep }))
  return pack
end

--- Paths in the root of an image, below "c/": a container is made and never started.
local function files_in(kind, id)
  local engine = engines.engine(kind)
  local made = assert(engine:request {
    method = "POST",
    path = "/containers/create",
    body = { Image = id, Cmd = { "/none" } },
  })
  local tar, err = engine:request { path = "/containers/" .. made.Id .. "/archive?path=/c" }
  engine:request { method = "DELETE", path = "/containers/" .. made.Id .. "?force=1" }
  local list = {}
  assert(tar, err)
  for _, entry in ipairs(assert(core.untar(tar))) do
    list[#list + 1] = entry.path .. (entry.type == "directory" and "/" or "")
  end
  table.sort(list)
  return list
end

--- Builds what the pack holds; the image's id.
local function build(kind, pack)
  local text, err = engines.engine(kind):request {
    method = "POST",
    path = "/build?q=1&rm=1&forcerm=1&dockerfile=Dockerfile",
    body_pack = pack,
    timeout = 60,
  }
  assert(text, err)
  text = type(text) == "table" and text.stream or text
  return (assert(text:match "(sha256:%x+)" or text:match '"stream":"(%x+)', text))
end

local function remove_image(kind, id)
  engines.engine(kind):request { method = "DELETE", path = "/images/" .. id .. "?force=1" }
end

setup(function()
  sh(("mkdir -p %s/c && cd %s/c && mkdir -p a/b/c d/e .git src/sub/deep empty && touch a/x a/y.c a/b/z.c a/b/c/deep.c "
    .. "d/keep d/e/drop .git/HEAD src/one.py src/sub/two.py src/sub/deep/three.pyc README.md README-secret.md "
    .. "'sp ace' 'br[ack]et' '*star' .env z.c && ln -s a/x link && ln -s ../.. a/out && ln -s none dangling "
    .. "&& printf 'FROM scratch\\nCOPY . /c\\n' > Dockerfile"):format(dir, dir))
end)

teardown(function()
  sh("rm -rf " .. dir)
end)

describe("the files of a context", function()
  local cli = os.execute "command -v docker >/dev/null 2>&1"

  -- Each of them once: what the image has must be what the docker command puts there.
  for _, ignore in ipairs {
    "",
    "# comment\n.git\n.env\n",
    "a\n",
    "/a/\n./d//e/\n",
    "*.c\n",
    "**/*.c\n",
    "*/*.c\n",
    "*\n!a\n",
    "*\n!a/b/z.c\n",
    "*\n!**/*.py\n",
    "**\n!src/**/*.py\n",
    "*\n!src\nsrc/sub\n!src/sub/deep\n",
    "*.md\n!README*.md\nREADME-secret.md\n",
    "*.md\nREADME-secret.md\n!README*.md\n",
    "a/**\n",
    "a/**/c\n",
    "**/deep*\n",
    "**c\n",
    "s?c\n[a-d]\n",
    "[^a-z]*\n",
    "br\\[ack\\]et\n\\*star\nsp ace\n",
    "link\ndangling\nempty\n",
    "Dockerfile\n.dockerignore\n",
    "\xef\xbb\xbfa\r\nd\r\n",
    "! a\n/\n.\n../c/a\n  z.c  \n",
    "src\n!src/sub\nsrc/su*\n",
  } do
    local name = ("are those that docker build takes: %q"):format(ignore):gsub("\n", "n")
    it(name, function()
      if not cli then
        return pending "no docker command to compare with"
      end
      write(dir .. "/c/.dockerignore", ignore)
      local theirs = sh(("DOCKER_BUILDKIT=0 docker -H %s build -q %s/c 2>/dev/null"):format(engines.url.docker, dir))
      local theirs_id = assert(theirs:match "sha256:%x+", theirs)
      local pack <close> = tree(ignore, { "Dockerfile", ".dockerignore" })
      local ours_id = build("docker", pack)
      local want, got = files_in("docker", theirs_id), files_in("docker", ours_id)
      remove_image("docker", ours_id)
      remove_image("docker", theirs_id)
      os.remove(dir .. "/c/.dockerignore")
      assert.same(want, got)
    end)
  end

  it("are refused with the line that is no pattern", function()
    local pack <close> = assert(core.pack())
    local ok, err = pack:tree("", dir, { ignore = "a\n[b\n" })
    assert.is_nil(ok)
    assert.equal("invalid", err.code)
    assert.matches("line 2.*%[b", err.message)
  end)
end)

engines.each(describe, "a pack", function(kind)
  it("arrives whole", function()
    local pack <close> = tree(kind == "podman" and ".git\na/out\n" or ".git\n")
    assert(pack:data("up/up", "from memory"))
    assert(pack:file("named", "/etc/passwd"))
    local sent = 0
    local facts = assert(packs.measure(pack))
    assert.equal(kind == "docker" and "a/out" or nil, facts.escaping)
    local text, err = engines.engine(kind):request {
      method = "POST",
      path = "/build?q=1&rm=1",
      body_pack = pack,
      timeout = 60,
      on_sent = function(bytes)
        assert(bytes > sent)
        sent = bytes
      end,
    }
    assert(text, err)
    assert.equal(facts.bytes, sent)
    local id = assert((type(text) == "table" and text.stream or text):match "%x%x%x%x%x%x%x%x+")
    local set = {}
    for _, path in ipairs(files_in(kind, id)) do
      set[path] = true
    end
    remove_image(kind, id)
    assert.is_true(set["c/up/up"] and set["c/named"] and set["c/link"] and set["c/empty/"])
    assert.is_nil(set["c/.git/"])
  end)

  it("that changes is not taken for whole", function()
    write(dir .. "/c/changing", "one")
    local pack <close> = tree ""
    assert(packs.measure(pack))
    write(dir .. "/c/changing", "two")
    local answer, err = engines.engine(kind):request {
      method = "POST",
      path = "/build?q=1&rm=1&t=localhost/moonsand/test:changed",
      body_pack = pack,
      timeout = 60,
    }
    os.remove(dir .. "/c/changing")
    assert.is_nil(answer)
    assert.equal("conflict", err.code)
    assert.matches("changed since it was measured", err.message)
    moonsand.sleep(0.3)
    assert.is_false(engines.engine(kind):has "localhost/moonsand/test:changed")
  end)

  it("takes headers, and no error repeats their values", function()
    local engine = engines.engine(kind)
    local answer, err = engine:request {
      method = "POST",
      path = "/build?dockerfile=none",
      body_pack = tree "",
      headers = { ["X-Registry-Config"] = "e30=", ["X-Empty"] = "" },
      timeout = 60,
    }
    assert(answer == nil or tostring(answer):find "none", answer)
    assert(not err or not tostring(err):find "e30", err)
    local bad = { ["X-A"] = "s3cret\r\nX-B: 1", ["X A"] = "s3cret", Host = "s3cret", ["X-C"] = "s3cret\1" }
    for name, value in pairs(bad) do
      answer, err = engine:request { path = "/_ping", headers = { [name] = value } }
      assert.is_nil(answer, name)
      assert.equal("invalid", err.code)
      assert.is_nil(tostring(err):find "s3cret")
    end
  end)

  it("is measured once, and other tasks go on meanwhile", function()
    sh(("head -c 40000000 /dev/zero > %s/c/big"):format(dir))
    local pack <close> = tree ""
    local ticks, told = 0, 0
    local task = moonsand.spawn(function()
      while true do
        ticks = ticks + 1
        moonsand.sleep(0.001)
      end
    end)
    moonsand.spawn(function()
      assert(packs.measure(pack, function(bytes)
        assert(bytes > told and bytes < 45e6)
        told = bytes
      end))
    end):wait()
    task:cancel()
    os.remove(dir .. "/c/big")
    assert.is_true(ticks >= 3 and told > 30e6, ticks .. " " .. told)
  end)
end)

engines.each(describe, "an answer that becomes a file", function(kind)
  local engine = engines.engine(kind)
  local path = "/images/" .. engines.image .. "/get"

  local function left()
    return sh(("ls -A %s | grep -v '^c$' || true"):format(dir))
  end

  it("is whole and private", function()
    local received = 0
    assert(engine:request {
      path = path,
      out_file = dir .. "/image.tar",
      timeout = 120,
      on_received = function(bytes)
        received = bytes
      end,
    })
    local facts = assert(core.stat(dir .. "/image.tar"))
    assert.same({ received, 384 }, { facts.size, facts.mode })
    assert.matches("manifest.json", sh(("tar tf %s/image.tar"):format(dir)))
    os.remove(dir .. "/image.tar")
    assert.equal("", left())
  end)

  it("leaves nothing behind when it fails", function()
    local answer, err = engine:request { path = "/images/none-such-image/json", out_file = dir .. "/image.tar" }
    assert.is_nil(answer)
    assert.equal("not_found", err.code)
    assert.equal("", left())
    answer, err = engine:request { path = "/_ping", out_file = dir .. "/none/image.tar" }
    assert.is_nil(answer)
    assert.equal("not_found", err.code)
    answer, err = engine:request { path = "/_ping", out_file = "/dev/null" }
    assert.is_nil(answer)
    assert.equal("invalid", err.code)
    local task = moonsand.spawn(function()
      return engine:request { path = path, out_file = dir .. "/image.tar", timeout = 60 }
    end)
    moonsand.sleep(0.05)
    task:cancel()
    assert.equal("", left())
  end)

  it("leaves nothing behind on a full disk", function()
    if not os.execute(("mkdir %s/full && mount -t tmpfs -o size=1m none %s/full 2>/dev/null"):format(dir, dir)) then
      sh(("rmdir %s/full"):format(dir))
      return pending "mounting a small file system takes root"
    end
    local answer, err = engine:request { path = path, out_file = dir .. "/full/image.tar", timeout = 60 }
    local there = sh(("ls -A %s/full"):format(dir))
    sh(("umount %s/full && rmdir %s/full"):format(dir, dir))
    assert.is_nil(answer)
    assert.equal("io", err.code)
    assert.matches("full/image.tar: No space left", err.message)
    assert.equal("", there)
  end)

  it("waits while nobody takes what comes", function()
    local raw <close> = assert(engine._raw:request { method = "GET", path = path, stream = true, timeout = 60 })
    local most = 0
    for _ = 1, 20 do
      engine:wait(0.02)
      engine:step()
    end
    assert.is_false(raw:done())
    while not raw:done() do
      most = math.max(most, #(raw:take() or ""))
      engine:wait(0.5)
      engine:step()
    end
    raw:take()
    assert.equal(200, (raw:result()))
    assert.is_true(most <= (1 << 20) + (1 << 18), most)
  end)
end)
