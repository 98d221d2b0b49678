-- Images into archives and out of them, by files and by functions, in bounded memory.
local E = require "spec.support.engines"
local moonsand = require "moonsand"

local dir, tar, big

local function sh(format, ...)
  return assert(os.execute(format:format(...)))
end

--- A function that reads a file in pieces, and now and then has nothing yet.
local function pieces(path, size)
  local file, n = assert(io.open(path, "rb")), 0
  return function()
    n = n + 1
    if n % 50 == 0 then
      return ""
    end
    local piece = file:read(size)
    if not piece then
      file:close()
    end
    return piece
  end
end

local function resident_kib()
  local f = assert(io.open "/proc/self/status")
  local kib = tonumber(f:read("a"):match "VmRSS:%s*(%d+)")
  f:close()
  return kib
end

local function listing(path)
  local p = assert(io.popen(("tar -tf '%s' 2>&1"):format(path)))
  local text = p:read "a"
  return p:close() and text
end

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  sh("mkdir -m 700 '%s' '%s/root' && head -c 20000 /dev/urandom >'%s/root/blob' && tar -C '%s/root' -cf '%s/t.tar' .",
    dir, dir, dir, dir, dir)
  tar, big = dir .. "/t.tar", dir .. "/big.tar"
  sh("cd '%s' && mkdir wide && head -c 100000000 /dev/urandom >wide/blob && tar -C wide -cf '%s' . && rm -r wide",
    dir, big)
end)

teardown(function()
  sh("rm -rf '%s'", dir)
end)

E.each(describe, "archives", function(kind)
  local engine
  local one, two = "localhost/specs/transfer:one", "localhost/specs/transfer:two"

  before_each(function()
    engine = E.engine(kind)
    assert(engine:import(tar, one, { changes = { "ENV N=1" } }))
    assert(engine:import(tar, two, { changes = { "ENV N=2" } }))
  end)

  after_each(function()
    for _, ref in ipairs { one, two } do
      engine:remove(ref, { force = true })
    end
    sh("rm -f '%s'/out*", dir)
  end)

  it("of several images go by a file and come back", function()
    local id_one, id_two = engine:inspect(one).id, engine:inspect(two).id
    local path, most = dir .. "/out.tar", 0
    local saved = assert(engine:save({ one, two }, path, { on_progress = function(event)
      assert.equal("save", event.phase)
      most = math.max(most, event.current)
    end }))
    assert.equal(saved.bytes, most)
    local f = assert(io.open(path, "rb"))
    assert.equal(saved.bytes, f:seek "end")
    f:close()
    assert.truthy(listing(path):find("manifest.json", 1, true))
    assert(engine:remove(one))
    assert(engine:remove(two))
    local sent, phases = 0, {}
    local images = assert(engine:load(path, { on_progress = function(event)
      phases[event.phase] = true
      if event.status == "Sending" then
        sent = event.current
        assert.equal(saved.bytes, event.total)
      end
    end }))
    assert.same({ load = true }, phases)
    assert.is_true(sent > 0)
    local ids = { [images[1].ref] = images[1].id, [images[2].ref] = images[2].id }
    assert.same({ [one] = id_one, [two] = id_two }, ids)
    assert.equal(id_one, engine:inspect(one).id)
  end)

  it("go by functions, in pieces of any size", function()
    local id, list = engine:inspect(one).id, {}
    local saved = assert(engine:save(one, function(piece)
      list[#list + 1] = piece
    end))
    local bytes = table.concat(list)
    assert.equal(saved.bytes, #bytes)
    assert(engine:remove(one))
    for _, size in ipairs { 100, 65536, #bytes } do
      local at = 1
      local images = assert(engine:load(function()
        local piece = at <= #bytes and bytes:sub(at, at + size - 1) or nil
        at = at + size
        return piece
      end))
      assert.equal(id, images[1].id)
    end
  end)

  it("of an image by its id have no name", function()
    local id = engine:inspect(one).id
    assert(engine:save(id, dir .. "/out.tar"))
    assert(engine:remove(one))
    local images = assert(engine:load(dir .. "/out.tar"))
    assert.equal(id, images[1].id)
    assert.same({}, images[1].refs)
    assert(engine:remove(id))
  end)

  it("are imported with their configuration, and get their name when they are whole", function()
    local ref = "localhost/specs/transfer:import"
    local facts = assert(engine:import(pieces(tar, 1000), ref, {
      changes = { 'ENV A="b c&d=e"', 'CMD ["/x"]' }, message = "from the specs", on_progress = function() end,
    }))
    assert.equal("A=b c&d=e", facts.config.env[#facts.config.env])
    assert.same({ ref }, facts.refs)
    assert(engine:remove(ref))
    local ok, err = engine:import(tar, ref, { changes = { "NONSENSE x" } })
    assert.is_nil(ok)
    assert.truthy(err.message:find(ref, 1, true))
    ok, err = engine:import(pieces("/bin/true", 100), ref)
    assert.is_nil(ok)
    assert.is_string(err.code)
    assert.is_false(engine:has(ref))
    assert.is_false(pcall(engine.import, engine, tar, ref, { changes = { "ENV a=b\nRUN x" } }))
  end)

  it("that are none, cut short or not there are errors", function()
    assert(engine:save(one, dir .. "/out.tar"))
    assert(engine:remove(one))
    for _, source in ipairs { tar, pieces("/bin/true", 4096), pieces("/dev/null", 1), function()
      return nil
    end } do
      local ok, err = engine:load(source)
      assert.is_nil(ok)
      assert.is_true(err.code == "engine" or err.code == "not_found", err.code)
      assert.matches("^load", err.message)
      assert.is_nil(err.message:find "%c")
    end
    local f = assert(io.open(dir .. "/out.tar", "rb"))
    local half = f:read(12000)
    f:close()
    local ok = engine:load(function()
      local piece = half
      half = nil
      return piece
    end)
    assert.is_nil(ok)
    assert.is_false(engine:has(one))
    local err
    ok, err = engine:load(dir .. "/none.tar")
    assert.is_nil(ok)
    assert.equal("not_found", err.code)
  end)

  it("of what is not there leave no file", function()
    local path = dir .. "/out.tar"
    for _, refs in ipairs { "localhost/specs/transfer:none", { one, "localhost/specs/transfer:none" } } do
      local ok, err = engine:save(refs, path)
      assert.is_nil(ok)
      assert.equal("not_found", err.code)
      assert.is_nil(io.open(path))
      assert.is_nil(io.open(path .. ".partial"))
    end
    local ok, err = engine:save(one, dir .. "/no/such/dir/out.tar")
    assert.is_nil(ok)
    assert.equal("not_found", err.code)
    assert.is_false(pcall(engine.save, engine, {}, path))
  end)

  it("raise what the caller's functions raise, and the next call works", function()
    assert.has_error(function()
      engine:load(function()
        error("mine", 0)
      end)
    end, "mine")
    assert.has_error(function()
      engine:save(one, function()
        error("mine", 0)
      end)
    end, "mine")
    assert.is_false(pcall(engine.load, engine, function()
      return 5
    end))
    assert(engine:save(one, dir .. "/out.tar"))
  end)

  it("go side by side in tasks", function()
    local results = moonsand.map({ one, two }, 2, function(ref, i)
      return engine:save(ref, ("%s/out%d.tar"):format(dir, i))
    end)
    assert.is_true(results[1].bytes > 20000 and results[2].bytes > 20000)
  end)

  it("of 100 MB pass through in bounded memory", function()
    if (os.getenv "LD_PRELOAD" or ""):find "asan" then
      return pending "AddressSanitizer keeps what was freed"
    end
    local ref = "localhost/specs/transfer:big"
    finally(function()
      engine:remove(ref, { force = true })
    end)
    collectgarbage()
    local before, most = resident_kib(), 0
    local function watch()
      most = math.max(most, resident_kib())
    end
    assert(engine:import(pieces(big, 65536), ref, { on_progress = watch }))
    local bytes = 0
    local saved = assert(engine:save(ref, function(piece)
      bytes = bytes + #piece
      watch()
    end))
    assert.equal(saved.bytes, bytes)
    assert(engine:save(ref, dir .. "/out.tar", { on_progress = watch }))
    assert(engine:load(pieces(dir .. "/out.tar", 1 << 20), { on_progress = watch }))
    assert.is_true(most - before < 24 * 1024, ("%d KiB more"):format(most - before))
  end)
end)
