-- Containers that ask for a network, runs and image builds alike: they reach the outside, and neither this machine,
-- the instance metadata nor each other. Without asking they reach nothing.
local engines = require "spec.support.engines"
local outside = require "spec.support.outside"

-- Prints what each "address:port" of the arguments answers, all asked at the same time.
local asks = [==[
import socket, sys, threading
said = {}
def ask(at):
    host, port = at.rsplit(":", 1)
    try:
        s = socket.create_connection((host, int(port)), 3)
        said[at] = s.recv(100).decode().strip()
    except OSError:
        said[at] = "nothing"
threads = [threading.Thread(target=ask, args=(a,)) for a in sys.argv[1:]]
[t.start() for t in threads]; [t.join() for t in threads]
for a in sys.argv[1:]: print(said[a])
]==]

-- A tar archive (ustar) with one file in it.
local function tar(name, data)
  local front = name .. ("\0"):rep(100 - #name)
    .. ("%07o\0%07o\0%07o\0%011o\0%011o\0"):format(420, 0, 0, #data, 0)
  local back = "0" .. ("\0"):rep(100) .. "ustar\00000" .. ("\0"):rep(247)
  local sum = 8 * 32 -- the sum's own field counts as blanks
  for _, part in ipairs { front, back } do
    for i = 1, #part do
      sum = sum + part:byte(i)
    end
  end
  return front .. ("%06o\0 "):format(sum) .. back .. data .. ("\0"):rep(-#data % 512 + 1024)
end

local private = '[{"Name":"network","Host":false,"Path":""}]'

local function encode(text)
  return (text:gsub("[^%w]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

-- Builds an image whose one step succeeds only if the place answers. The answer's text.
local function build(kind, network, place)
  local ref = "localhost/moonsand/network-spec:" .. kind
  local query = "/build?rm=1&forcerm=1&nocache=1&t=" .. encode(ref) .. network
  local code = ("import socket; print('it says', socket.create_connection(('%s', %s), 3).recv(100))"):format(
    place:match "^(.*):(%d+)$")
  local said = {}
  local answer, err = engines.engine(kind):request {
    method = "POST",
    path = query,
    content_type = "application/x-tar",
    timeout = 120,
    body = tar("Dockerfile", ("FROM %s\nRUN python3 -c \"%s\"\n"):format(engines.image, code)),
    on_data = function(piece)
      said[#said + 1] = piece
    end,
  }
  assert(answer, tostring(err))
  local built = engines.engine(kind):request { method = "DELETE", path = "/images/" .. ref .. "?force=1" } ~= nil
  return built, table.concat(said)
end

engines.each(describe, "a container that asks for a network", function(kind)
  local world

  setup(function()
    world = engines.engine(kind):facts().has_bridge and outside.open() or nil
  end)

  teardown(function()
    if world then
      outside.close(world)
    end
  end)

  local function it_with_world(name, body)
    it(name, function()
      if not world then
        pending "no outside can be made here, or the engine has no network"
        return
      end
      body()
    end)
  end

  it_with_world("reaches the outside, not this machine, not the metadata", function()
    assert.equal(world.near, outside.ask(world.far))
    assert.equal(world.near, outside.ask(world.metadata))
    assert.equal(world.near, outside.ask(world.host))
    local code = asks .. [[
print(open("/proc/net/route").read().split("\n")[1].split()[2])]]
    local r = assert(engines.box(kind, { network = "bridge" }):run {
      code = code, args = { world.far, world.metadata, world.host },
    })
    local far, metadata, host, gateway = r.stdout:match "^(%g+)\n(%g+)\n(%g+)\n(%x+)\n$"
    assert.equal(world.near, far, r.stdout .. r.stderr)
    assert.equal("nothing", metadata)
    assert.equal("nothing", host)
    local a, b, c, d = gateway:match "(..)(..)(..)(..)"
    gateway = ("%d.%d.%d.%d:%d"):format(
      tonumber(d, 16), tonumber(c, 16), tonumber(b, 16), tonumber(a, 16), world.port)
    assert.matches("^%d", outside.ask(gateway))
    r = assert(engines.box(kind, { network = "bridge" }):run { code = asks, args = { gateway } })
    assert.equal("nothing\n", r.stdout)
  end)

  it_with_world("reaches no container of either engine", function()
    local said, address = "", nil
    local serves = [[
import socket
s = socket.socket()
s.bind(("0.0.0.0", 8000))
s.listen()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.connect(("203.0.113.1", 9))
print(u.getsockname()[0], flush=True)
while True: s.accept()[0].sendall(b"hello\n")
]]
    local h = assert(engines.box(kind, { network = "bridge" }):start {
      code = serves,
      on_stdout = function(piece)
        said = said .. piece
        address = said:match "^(%g+)\n"
      end,
    })
    for _ = 1, 200 do
      if address or h:done() then
        break
      end
      h:wait(0.1)
    end
    assert.is_string(address)
    assert.equal("hello", outside.ask(address .. ":8000"))
    for _, other in ipairs { "docker", "podman" } do
      if engines.engine(other):facts().has_bridge then
        local r = assert(engines.box(other, { network = "bridge" }):run { code = asks, args = { address .. ":8000" } })
        assert.equal("nothing\n", r.stdout, "from " .. other)
      end
    end
    h:cancel()
    h:wait()
  end)

  it_with_world("is an image build's step, too", function()
    local on = kind == "podman" and { "&nsoptions=" .. encode(private) } or { "", "&version=2" }
    local off = kind == "podman" and { "&networkmode=NetworkDisabled" }
      or { "&networkmode=none", "&networkmode=none&version=2" }
    for _, network in ipairs(on) do
      local built, said = build(kind, network, world.far)
      assert.is_true(built, network .. ": " .. said)
      built, said = build(kind, network, world.host)
      assert.is_false(built, network .. ": " .. said)
    end
    for _, network in ipairs(off) do
      local built, said = build(kind, network, world.far)
      assert.is_false(built, network .. ": " .. said)
      assert.matches("rror", said, 1, true)
    end
  end)
end)
