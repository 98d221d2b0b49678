-- Between an engine and a registry, for what a network does:
--   lua5.4 tcp_proxy.lua ADDRESS PORT UPSTREAM-PORT MODE BYTES
-- When BYTES have come from the registry, on all connections together: cut: all connections are closed, and new
-- ones at once. slow: the rest comes at some 300 KiB/s, and "gone" is printed when the engine
-- closes a connection then. The mode is printed when it begins.
local uv = require "luv"
local address, port, upstream, mode, limit = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4], tonumber(arg[5])
local passed, over, open = 0, false, {}

local function close(pipe)
  for _, socket in ipairs(pipe) do
    if not socket:is_closing() then
      socket:close()
    end
  end
  if open[pipe] and over and mode == "slow" then
    print "gone"
    io.stdout:flush()
  end
  open[pipe] = nil
end

local function at_limit()
  over = true
  print(mode)
  io.stdout:flush()
  if mode == "cut" then
    for pipe in pairs(open) do
      close(pipe)
    end
  end
end

local server = uv.new_tcp()
assert(server:bind(address, port))
assert(server:listen(64, function()
  local client, registry = uv.new_tcp(), uv.new_tcp()
  local pipe = { client, registry }
  server:accept(client)
  open[pipe] = true
  if over and mode == "cut" then
    return close(pipe)
  end
  registry:connect(address, upstream, function(err)
    if err then
      return close(pipe)
    end
    client:read_start(function(_, data)
      if data then
        registry:write(data)
      else
        close(pipe)
      end
    end)
    local function on_data(_, data)
      if not data then
        client:shutdown(function() -- when all is written
          close(pipe)
        end)
        return
      end
      passed = passed + #data
      if passed > limit and not over then
        at_limit()
      end
      if client:is_closing() then
        return
      end
      client:write(data)
      if over then
        registry:read_stop()
        local pause = uv.new_timer()
        pause:start(200, 0, function()
          pause:close()
          if not registry:is_closing() then
            registry:read_start(on_data)
          end
        end)
      end
    end
    registry:read_start(on_data)
  end)
end))
local life = uv.new_timer()
life:start(120000, 0, function()
  os.exit(0)
end)
print "ready"
io.stdout:flush()
uv.run()
