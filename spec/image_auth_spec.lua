-- Credentials: Docker's config file, helpers, headers; and that no secret gets anywhere else.
local auth = require "moonsand.image.auth"
local base64 = require "moonsand.base64"
local json = require "moonsand.json"

local real_getenv = os.getenv
local dir

local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

local function config(value)
  write(dir .. "/config.json", type(value) == "string" and value or json.encode(value))
end

local function helper(name, script)
  write(dir .. "/docker-credential-" .. name, "#!/bin/sh\n" .. script)
  assert(os.execute(("chmod 755 '%s/docker-credential-%s'"):format(dir, name)))
end

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  assert(os.execute(("mkdir -m 700 '%s'"):format(dir)))
  os.getenv = function(name) -- luacheck: ignore 122
    return name == "DOCKER_CONFIG" and dir or real_getenv(name)
  end
end)

teardown(function()
  os.getenv = real_getenv -- luacheck: ignore 122
  os.execute(("rm -rf '%s'"):format(dir))
end)

local secret = "s3cr3t:with: colons"
local basic = { username = "user", password = secret }
local entry = { auth = base64.encode("user:" .. secret) }

describe("Docker's config file", function()
  it("that is not there or empty has no credentials", function()
    os.remove(dir .. "/config.json")
    local function nothing()
      local found, err = auth.find "h:5000"
      assert.is_nil(found)
      assert.is_nil(err)
    end
    nothing()
    for _, text in ipairs { "", "{}", '{"auths":{}}', '{"auths":null,"credHelpers":5,"credsStore":""}' } do
      config(text)
      nothing()
    end
  end)

  it("has them under the registry's name in any spelling", function()
    for _, key in ipairs { "h:5000", "https://h:5000", "http://h:5000/v1/", "https://h:5000/v2/" } do
      config { auths = { [key] = entry, ["other:5000"] = { auth = base64.encode "x:y" } } }
      assert.same(basic, auth.find "h:5000")
      assert.is_nil((auth.find "h:5001"))
      assert.is_nil((auth.find "h"))
    end
    config { auths = { ["https://h:5000"] = { auth = base64.encode "x:y" }, ["h:5000"] = entry } }
    assert.same(basic, auth.find "h:5000")
  end)

  it("knows Docker Hub by its old name", function()
    for _, key in ipairs { "https://index.docker.io/v1/", "index.docker.io", "docker.io" } do
      config { auths = { [key] = entry } }
      assert.same(basic, auth.find "docker.io")
    end
  end)

  it("has them in all forms", function()
    for given, want in pairs {
      [{ auth = base64.encode("user:" .. secret .. "\0\0") }] = basic,
      [{ username = "user", password = secret }] = basic,
      [{ auth = entry.auth, identitytoken = "id" }] = { identity_token = "id" },
      [{ registrytoken = "bearer" }] = { registry_token = "bearer" },
      [{}] = false,
      [{ email = "a@b" }] = false,
    } do
      config { auths = { h = given } }
      assert.same(want or nil, (auth.find "h"))
    end
  end)

  it("that is broken is named, and what stands in it is not told", function()
    for _, text in ipairs { '{"auths":{"h":{"auth":"' .. secret, "[1", '"' .. secret .. '"',
      json.encode { auths = { h = { auth = secret } } },
      json.encode { auths = { h = { auth = base64.encode((secret:gsub(":", ""))) } } },
      (" "):rep(1 << 20) .. "{}" } do
      config(text)
      local found, err = auth.find "h"
      assert.is_nil(found)
      assert.equal("invalid", err.code)
      assert.truthy(err.message:find(dir .. "/config.json", 1, true))
      assert.is_nil(err.message:find "s3cr")
    end
  end)
end)

describe("a credential helper", function()
  -- PATH is the process's: the programs are looked up there, so they are linked into a directory of it.
  local function run(code)
    write(dir .. "/ask.lua", [[
      local auth, json = require "moonsand.image.auth", require "moonsand.json"
      local found, err = auth.find(arg[1])
      print(json.encode { found = found, code = err and err.code, message = err and err.message })
    ]])
    local p = assert(io.popen((
      "PATH='%s':\"$PATH\" DOCKER_CONFIG='%s' LUA_PATH='%s' LUA_CPATH='%s' lua5.4 '%s/ask.lua' %s"
    ):format(dir, dir, package.path, package.cpath, dir, code)))
    local out = p:read "a"
    p:close()
    return assert(json.decode(out))
  end

  local give = 'test "$1" = get || exit 9\nread -r server\nprintf \'{"ServerURL":"%s","Username":"user","Secret":"'
    .. secret .. '"}\' "$server"\n'

  it("is asked for the registries that it has (credHelpers)", function()
    helper("one", give)
    config { credHelpers = { ["h:5000"] = "one" }, auths = { ["h:5000"] = { auth = base64.encode "x:y" }, i = entry } }
    assert.same({ found = basic }, run "h:5000")
    assert.same({ found = basic }, run "i")
  end)

  it("is asked for all others (credsStore), by Docker Hub's old name, too", function()
    helper("two", 'read -r server\ntest "$server" = https://index.docker.io/v1/ || exit 1\n'
      .. 'echo \'{"Username":"user","Secret":"' .. secret .. '"}\'\n')
    config { credsStore = "two", auths = { ["docker.io"] = {} } }
    assert.same({ found = basic }, run "docker.io")
  end)

  it("gives an identity token under the name <token>", function()
    helper("token", 'echo \'{"Username":"<token>","Secret":"id"}\'\n')
    config { credsStore = "token" }
    assert.same({ found = { identity_token = "id" } }, run "h")
  end)

  it("may have none", function()
    helper("none", 'echo "credentials not found in native keychain"; exit 1\n')
    config { credsStore = "none", auths = { h = entry } }
    assert.same({}, run "h")
  end)

  it("that fails is named, and what it printed is not told", function()
    local cases = {
      ["echo '" .. secret .. "'; echo '" .. secret .. "' >&2; exit 3"] = "denied",
      ["echo '" .. secret .. "'"] = "denied",
      ['echo \'{"Username":"user"}\''] = "denied",
      ["kill -9 $$"] = "denied",
    }
    for script, code in pairs(cases) do
      helper("bad", script .. "\n")
      config { credsStore = "bad" }
      local answer = run "h"
      assert.equal(code, answer.code, script)
      assert.matches("docker%-credential%-bad", answer.message)
      assert.is_nil(answer.message:find "s3cr")
    end
    config { credsStore = "missing" }
    assert.equal("not_found", run("h").code)
    for _, name in ipairs { "../x", "a b", "a\27[2J", "-" .. ("x"):rep(300) } do
      config { credsStore = name }
      assert.equal("invalid", run("h").code)
    end
  end)
end)

describe("the headers", function()
  it("are what engines read", function()
    assert.same({}, json.decode(base64.decode(auth.header(nil, "h"))))
    assert.same({ username = "user", password = secret, serveraddress = "h:5000" },
      json.decode(base64.decode(auth.header(basic, "h:5000"))))
    assert.same({ identitytoken = "id", serveraddress = "https://index.docker.io/v1/" },
      json.decode(base64.decode(auth.header({ identity_token = "id" }, "docker.io"))))
    assert.is_nil(auth.header({ username = "u", password = "\xff\xfe\xfb>>>???" }, "h"):find "[+/]")
  end)

  it("of a build have all registries that the config file names", function()
    config { auths = { ["h:5000"] = entry, ["https://index.docker.io/v1/"] = { identitytoken = "id" }, empty = {},
      broken = { auth = "?" } }, credHelpers = { ["no.helper"] = "../x" } }
    assert.same({
      ["h:5000"] = { username = "user", password = secret, serveraddress = "h:5000" },
      ["https://index.docker.io/v1/"] = { identitytoken = "id", serveraddress = "https://index.docker.io/v1/" },
    }, json.decode(base64.decode(auth.config_header())))
    config "{"
    assert.is_nil(auth.config_header())
    config { auths = {} }
    assert.is_nil(auth.config_header())
  end)
end)

describe("the option auth", function()
  it("takes one way, and never says what a secret is", function()
    assert.same(basic, auth.option("auth", basic))
    assert.same({ identity_token = "x" }, auth.option("auth", { identity_token = "x" }))
    for _, bad in ipairs {
      {}, { username = "u" }, { password = secret }, { username = "u", password = secret, identity_token = "x" },
      { username = "u", password = secret .. "\0" }, { username = 5, password = secret },
      { user = "u", password = secret }, secret,
    } do
      local ok, err = pcall(auth.option, "auth", bad)
      assert.is_false(ok)
      assert.is_nil(err:find "s3cr", err)
    end
  end)
end)
