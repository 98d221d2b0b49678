-- The same runs through TCP with client certificates and through ssh.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

local LONG = "import sys\nd = sys.stdin.buffer.read()\nsys.stdout.buffer.write(d)\nprint('end', len(d))"

local function works(engine)
  local box = assert(engine:sandbox { image = engines.image, timeout = 30 })
  assert.equal("4\n", assert(box:run { code = "print(2+2)" }).stdout)
  local data = ("x"):rep(1 << 20)
  local r = assert(box:run { code = LONG, stdin = data })
  assert.equal("ok", r.status)
  assert.equal(data .. "end 1048576\n", r.stdout)
  engine:close()
end

describe("tcp with TLS", function()
  local url, certs = os.getenv "MOONSAND_TEST_DOCKER_TLS", os.getenv "MOONSAND_TEST_DOCKER_CERTS"

  it("with client certificates", function()
    if not url then
      pending "the Docker that was given has no TLS endpoint (MOONSAND_TEST_DOCKER_TLS)"
      return
    end
    works(assert(moonsand.connect { endpoint = url, tls_dir = certs }))
  end)

  it("is refused without a certificate of ours, and against another CA", function()
    if not url then
      pending "the Docker that was given has no TLS endpoint (MOONSAND_TEST_DOCKER_TLS)"
      return
    end
    local dir = os.tmpname()
    os.remove(dir)
    assert(os.execute(("mkdir %s && cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x "
      .. "-keyout key.pem -out cert.pem 2>/dev/null && cp %s/ca.pem ."):format(dir, dir, certs)))
    local engine, err = moonsand.connect { endpoint = url, tls_dir = dir }
    assert.is_nil(engine)
    -- TLS 1.3 lets the server refuse us only after the connection stands
    assert.is_true(err.code == "connect" or err.code == "io", tostring(err))
    assert(os.execute(("cp %s/cert.pem %s/key.pem %s && mv %s/cert.pem %s/ca.pem && cp %s/cert.pem %s")
      :format(certs, certs, dir, dir, dir, certs, dir)))
    engine, err = moonsand.connect { endpoint = url, tls_dir = dir }
    assert.is_nil(engine)
    assert.equal("connect", err.code)
    os.execute("rm -r " .. dir)
  end)
end)

describe("ssh", function()
  it("one ssh process a connection, none left at the end", function()
    -- No sshd here: a stand-in for the ssh command runs what it is told to, on this machine.
    local dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir " .. dir))
    local f = assert(io.open(dir .. "/ssh", "w"))
    f:write(([[#!/bin/sh
while [ "$1" != "--" ]; do shift; done
shift 2
exec "$@"
]]))
    f:close()
    os.execute("chmod 755 " .. dir .. "/ssh")
    local path = engines.url.docker:match "^unix://(.*)$"
    local program = ([[
local moonsand = require "moonsand"
local engine = assert(moonsand.connect("ssh://somewhere%s"))
local box = assert(engine:sandbox { image = %q, timeout = 30 })
local data = ("x"):rep(1 << 20)
local r = assert(box:run { code = "import sys; sys.stdout.write(sys.stdin.read())", stdin = data })
assert(r.status == "ok" and r.stdout == data, r.status)
engine:close()
]]):format(path, engines.image)
    local name = dir .. "/program.lua"
    f = assert(io.open(name, "w"))
    f:write(program)
    f:close()
    assert(os.execute(("PATH=%s:$PATH lua5.4 %s"):format(dir, name)))
    -- without a preloaded sanitizer, in which pgrep waits for ever
    local p = assert(io.popen("unset LD_PRELOAD; pgrep -f 'system dial-stdio' | wc -l"))
    local left = p:read "n"
    p:close()
    os.execute("rm -r " .. dir)
    -- pgrep's own shell names the words, too
    assert.is_true(left <= 1, left .. " processes are left")
  end)
end)
