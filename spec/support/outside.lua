--- An "outside" without the Internet: a server in a network namespace of its own, at the far end of a veth pair.
local M = {}

--- Runs a command line; its output's first line, or nil.
local function line(command, ...)
  local pipe = assert(io.popen(command:format(...) .. " 2>/dev/null"))
  local text = pipe:read "l"
  pipe:close()
  return text
end

---@param prefix string what the server is run by
local function serve(prefix)
  local out = assert(io.popen(("exec %s lua5.4 spec/support/says_who.lua"):format(prefix)))
  local pid, port = (out:read "l" or ""):match "^(%d+) (%d+)$"
  return { pid = tonumber(pid), port = tonumber(port), out = out }
end

local function close(server)
  if server.pid then
    os.execute("kill " .. server.pid)
  end
  server.out:close()
end

---@class moonsand.spec.Outside
---@field far string address:port outside
---@field metadata string address:port with a link-local address outside
---@field host string address:port of a service of this machine
---@field port integer of that service
---@field near string the address that this machine has on the way there

--- nil where this user may not make network namespaces. Close it with close().
---@return moonsand.spec.Outside? outside
function M.open()
  if line "id -u" ~= "0" or not line "unshare --net ip link show lo" then
    return nil
  end
  local far, here = serve "unshare --net", serve ""
  if not far.pid then
    close(far)
    close(here)
    return nil
  end
  local n = far.pid % 64 * 4
  local o = {
    _far = far, _here = here, port = here.port,
    near = "203.0.113." .. n + 1,
    far = ("203.0.113.%d:%d"):format(n + 2, far.port),
    host = ("203.0.113.%d:%d"):format(n + 1, here.port),
    metadata = ("169.254.77.%d:%d"):format(n + 2, far.port),
  }
  local veth = "mout" .. far.pid % 100000000
  assert(os.execute(([[set -e
    ip link add %s type veth peer name out0 netns %d
    ip addr add %s/30 dev %s; ip link set %s up
    nsenter -t %d -n ip addr add 203.0.113.%d/30 dev out0
    nsenter -t %d -n ip addr add 169.254.77.%d/32 dev out0
    nsenter -t %d -n ip link set out0 up
    ip route add 169.254.77.%d/32 dev %s]]):format(veth, far.pid, o.near, veth, veth, far.pid, n + 2, far.pid, n + 2,
    far.pid, n + 2, veth)))
  return o
end

--- The veth pair ends with the namespace.
function M.close(o)
  close(o._far)
  close(o._here)
end

--- What "address:port" tells this machine.
function M.ask(at)
  local host, port = at:match "^(.*):(%d+)$"
  return line("timeout 5 bash -c 'cat < /dev/tcp/%s/%s'", host, port)
end

return M
