-- Push and pull with a real registry that wants TLS and a password, by both engines.
local E = require "spec.support.engines"
local R = require "spec.support.registry"
local base64 = require "moonsand.base64"
local json = require "moonsand.json"
local moonsand = require "moonsand"

local real_getenv = os.getenv
local dir, tar, able

local function sh(format, ...)
  return assert(os.execute(format:format(...)))
end

local function config(value)
  local f = assert(io.open(dir .. "/config.json", "w"))
  f:write(json.encode(value))
  f:close()
end

local function login(registry, user, password)
  config { auths = { [registry] = { auth = base64.encode(user .. ":" .. password) } } }
end

setup(function()
  able = R.start()
  dir = os.tmpname()
  os.remove(dir)
  sh("mkdir -m 700 '%s' '%s/root'", dir, dir)
  tar = dir .. "/root.tar"
  os.getenv = function(name) -- luacheck: ignore 122
    return name == "DOCKER_CONFIG" and dir or real_getenv(name)
  end
end)

teardown(function()
  os.getenv = real_getenv -- luacheck: ignore 122
  R.stop()
  sh("rm -rf '%s'", dir)
end)

E.each(describe, "a registry", function(kind)
  local engine, names

  --- A new image of 8 MiB that does not compress, under a name of its own.
  local function new_image(registry)
    sh("head -c 8388608 /dev/urandom >'%s/root/blob' && tar -C '%s/root' -cf '%s' .", dir, dir, tar)
    local ref = ("%s/specs/%s-%d:1"):format(registry, kind, #names + 1)
    names[#names + 1] = ref
    return ref, assert(engine:import(tar, ref, { changes = { "ENV MADE=here" } }))
  end

  local function pushed(registry)
    local ref, facts = new_image(registry)
    local done = assert(engine:push(ref, { auth = R.auth }))
    assert.matches("^sha256:%x+$", done.digest)
    assert(engine:remove(ref))
    return ref, facts, done
  end

  before_each(function()
    if not able then
      pending "this machine lets us have no address for a registry"
    end
    engine, names = E.engine(kind), names or {}
    os.remove(dir .. "/config.json")
  end)

  teardown(function()
    for _, ref in ipairs(names or {}) do
      engine:remove(ref, { force = true })
    end
  end)

  it("takes and gives an image with the password of Docker's config file", function()
    login(R.host, R.user, R.password)
    local ref, facts = new_image(R.host)
    local done = assert(engine:push(ref))
    assert(engine:remove(ref))
    assert.is_false(engine:has(ref))
    local back = assert(engine:pull(ref))
    assert.equal(facts.id, back.id)
    assert.equal("MADE=here", back.config.env[#back.config.env])
    assert.truthy(table.concat(back.digests, " "):find(done.digest, 1, true))
  end)

  it("reports bytes and layers while it works", function()
    local ref = new_image(R.host)
    local phases, most = {}, 0
    local function on_progress(event)
      phases[event.phase] = (phases[event.phase] or 0) + 1
      most = math.max(most, event.current or 0)
      assert.is_string(event.status)
    end
    assert(engine:push(ref, { auth = R.auth, on_progress = on_progress }))
    assert(engine:remove(ref))
    assert(engine:pull(ref, { auth = R.auth, on_progress = on_progress }))
    assert.is_true(phases.push >= 2 and phases.pull >= 2)
    if kind == "docker" then -- Podman 4 tells layers only
      assert.is_true(most > 1 << 20)
    end
  end)

  it("gives it by its digest, too", function()
    local ref, facts, done = pushed(R.host)
    local by_digest = ref:gsub(":1$", "") .. "@" .. done.digest
    assert.equal(facts.id, assert(engine:pull(by_digest, { auth = R.auth })).id)
    assert.is_true(engine:has(by_digest))
    assert(engine:remove(facts.id, { force = true }))
  end)

  it("takes an identity token", function()
    local service = R.token_service()
    finally(service.stop)
    config { auths = { [R.tokens] = { identitytoken = R.identity } } }
    local ref, facts = pushed(R.host)
    local there = ref:gsub("^[^/]+", R.tokens)
    assert.equal(facts.id, assert(engine:pull(there)).id)
    names[#names + 1] = there
    local done, err = engine:push(there)
    if kind == "docker" then
      assert(done, err)
    else -- its API hands on user and password only
      assert.equal("denied", err.code)
      assert.matches("identity token", err.message)
    end
    config { auths = { [R.tokens] = { identitytoken = "another" } } }
    done, err = engine:pull(there)
    assert.is_nil(done)
    assert.equal("denied", err.code)
    assert.is_nil(tostring(err):find("another", 1, true))
  end)

  it("refuses a wrong password and none, and no error tells it", function()
    local ref = new_image(R.host)
    for _, call in ipairs { "push", "pull" } do
      login(R.host, R.user, "wr0ng-secret")
      local ok, err = engine[call](engine, ref)
      assert.is_nil(ok)
      assert.equal("denied", err.code)
      assert.truthy(err.message:find(ref, 1, true))
      for _, secret in ipairs { "wr0ng", base64.encode(R.user .. ":wr0ng-secret") } do
        assert.is_nil(tostring(err):find(secret, 1, true))
      end
      os.remove(dir .. "/config.json")
      ok, err = engine[call](engine, ref)
      assert.is_nil(ok)
      assert.equal("denied", err.code)
      assert.truthy(err.message:find(dir .. "/config.json", 1, true))
    end
    config { credsStore = "there-is-no-such-helper" }
    local _, err = engine:pull(ref)
    assert.equal("denied", err.code)
    assert.matches("docker%-credential%-there%-is%-no%-such%-helper", err.message)
  end)

  it("says what it has not", function()
    local zeros = "@sha256:" .. ("0"):rep(64)
    for _, ref in ipairs { "/specs/" .. kind .. ":nope", "/no/such/thing:1", "/specs/" .. kind .. zeros } do
      local ok, err = engine:pull(R.host .. ref, { auth = R.auth })
      assert.is_nil(ok)
      assert.equal("not_found", err.code, err.message)
    end
    local ok, err = engine:push(R.host .. "/not/there:1", { auth = R.auth })
    assert.is_nil(ok)
    assert.equal("not_found", err.code)
  end)

  it("that is down, or whose certificate is not trusted, is unreachable", function()
    for where, words in pairs { [R.cut] = "connection refused", [R.untrusted] = "x509" } do
      local ok, err = engine:pull(where .. "/a/b:1", { auth = R.auth })
      assert.is_nil(ok)
      assert.equal("unreachable", err.code)
      assert.truthy(err.message:find(words, 1, true), err.message)
    end
  end)

  it("that drops the connection in the middle leaves no half image", function()
    local ref, facts = pushed(R.host)
    local through = ref:gsub("^[^/]+", R.cut)
    local proxy = R.proxy("cut", 2 << 20)
    finally(function()
      proxy.stop()
    end)
    local ok, err = engine:pull(through, { auth = R.auth })
    proxy.stop()
    assert.is_nil(ok)
    assert.equal("unreachable", err.code, err.message)
    assert.truthy(err.message:find(through, 1, true))
    assert.is_false(engine:has(through))
    -- With an older image under the name, that one stays.
    local old = assert(engine:import(tar, through, { changes = { "ENV OLD=1" } }))
    names[#names + 1] = through
    proxy = R.proxy("cut", 2 << 20)
    sh("head -c 8388608 /dev/urandom >'%s/root/blob' && tar -C '%s/root' -cf '%s' .", dir, dir, tar)
    assert(engine:import(tar, ref))
    assert(engine:push(ref, { auth = R.auth }))
    assert(engine:remove(ref))
    ok, err = engine:pull(through, { auth = R.auth })
    proxy.stop()
    assert.is_nil(ok)
    assert.equal("unreachable", err.code, err.message)
    assert.equal(old.id, assert(engine:inspect(through)).id)
    proxy = R.proxy("cut", 1 << 40)
    local new = assert(engine:pull(through, { auth = R.auth }))
    proxy.stop()
    assert.not_equal(old.id, new.id)
    assert.not_equal(facts.id, new.id)
  end)

  it("has no image for another platform, and both are named", function()
    local ref = pushed(R.host)
    local ok, err = engine:pull(ref, { auth = R.auth, platform = "linux/s390x" })
    assert.is_nil(ok)
    if err.code == "unsupported" then
      assert.matches("linux/amd64.*linux/s390x", err.message)
    else
      assert.equal("not_found", err.code)
    end
  end)

  it("is let go when the task that pulls is cancelled", function()
    local ref = pushed(R.host)
    local proxy = R.proxy("slow", 1 << 20)
    finally(proxy.stop)
    local task = moonsand.spawn(function()
      return engine:pull((ref:gsub("^[^/]+", R.cut)), { auth = R.auth })
    end)
    task:wait(0.5)
    assert.equal("slow", proxy.file:read "l") -- the engine goes on by itself while we read
    assert.is_false(task:done())
    task:cancel()
    assert.equal("gone", proxy.file:read "l")
    pcall(task.wait, task)
  end)

  --- For a shell; PATH has our credential helpers.
  local function command_line(arguments)
    return ("DOCKER_CONFIG='%s' PATH='%s':\"$PATH\" LUA_PATH='%s' LUA_CPATH='%s' exec lua5.4 bin/moonsand image %s "
      .. "--engine %s 2>'%s/err' </dev/null"):format(dir, dir, package.path, package.cpath, arguments, E.url[kind], dir)
  end

  local function command(arguments)
    local p = assert(io.popen(command_line(arguments)))
    local out = p:read "a"
    local _, _, status = p:close()
    local f = assert(io.open(dir .. "/err"))
    local err = f:read "a"
    f:close()
    return out, err, status
  end

  it("is served with a credential helper's answer by the command line", function()
    local f = assert(io.open(dir .. "/docker-credential-specs", "w"))
    f:write(('#!/bin/sh\nread -r server\n'
      .. 'test "$server" = %s || { echo "credentials not found in native keychain"; exit 1; }\n'
      .. 'echo \'{"ServerURL":"","Username":"%s","Secret":"%s"}\'\n'):format(R.host, R.user, R.password))
    f:close()
    sh("chmod 755 '%s/docker-credential-specs'", dir)
    local ref, facts = new_image(R.host)
    local other = ref:gsub(":1$", ":2")
    names[#names + 1] = other
    for _, value in ipairs { { credHelpers = { [R.host] = "specs" } }, { credsStore = "specs" } } do
      config(value)
      local out, err, status = command(("push %s %s --json"):format(ref, other))
      assert.equal(0, status, err)
      assert.matches("^sha256:", json.decode(out).digest)
      assert(engine:remove(other))
      out, err, status = command("pull " .. other)
      assert.equal(0, status, err)
      assert.truthy(out:find(facts.id:sub(8, 19), 1, true))
      assert.matches("\n", err)
      for _, text in ipairs { out, err } do
        assert.is_nil(text:find("moon:s", 1, true))
      end
    end
  end)

  it("is let go at Ctrl-C", function()
    local ref = pushed(R.host)
    login(R.cut, R.user, R.password)
    local proxy = R.proxy("slow", 1 << 20)
    finally(proxy.stop)
    local through = ref:gsub("^[^/]+", R.cut)
    local p = assert(io.popen("echo $$; " .. command_line("pull " .. through)))
    local pid = p:read "l"
    assert.equal("slow", proxy.file:read "l")
    sh("kill -INT %s", pid)
    local _, _, status = p:close()
    assert.equal(130, status)
    assert.equal("gone", proxy.file:read "l")
    assert.is_false(engine:has(through))
  end)
end)
