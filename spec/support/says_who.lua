-- A TCP server on all addresses: tells each client the address it is seen with. Prints its pid and port.
local uv = require "luv"
local server = uv.new_tcp()
assert(server:bind("0.0.0.0", 0))
assert(server:listen(16, function()
  local c = uv.new_tcp()
  server:accept(c)
  local peer = c:getpeername()
  c:write(peer.ip .. "\n", function()
    c:close()
  end)
end))
io.stdout:write(uv.os_getpid(), " ", server:getsockname().port, "\n")
io.stdout:flush()
local life = uv.new_timer() -- should nobody end it
life:start(300000, 0, function()
  os.exit(0)
end)
uv.run()
