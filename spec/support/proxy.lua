-- Between moonsand and a real engine, for what an engine does not do when asked:
--   lua5.4 proxy.lua LISTEN UPSTREAM MODE
-- warn: the answer to "create" carries a warning. cut: the attach connection is closed when the
-- program has printed MARK. flip: what the agent says then is replaced by junk. hold: the answer to
-- "create" of a sandbox never comes.
local uv = require "luv"
local listen, upstream, mode = arg[1], arg[2], arg[3]

local function changed(data, attach)
  if mode == "warn" and data:find('^HTTP/1.1 201.*"Warnings":%[%]') then
    data = data:gsub('"Warnings":%[%]', '"Warnings":["weakened"]')
    local function longer(n, base)
      return ("%" .. (base == 16 and "x" or "d")):format(tonumber(n, base) + #'"weakened"')
    end
    -- Docker says the length, Podman sends one chunk
    data = data:gsub("(Content%-Length: )(%d+)", function(head, n)
      return head .. longer(n, 10)
    end)
    data = data:gsub("\r\n(%x+)(\r\n{)", function(n, tail)
      return "\r\n" .. longer(n, 16) .. tail
    end)
  elseif attach and data:find("MARK", 1, true) then
    if mode == "cut" then
      return nil
    elseif mode == "flip" then
      return "\1\0\0\0\0\0\0\8garbage!"
    end
  end
  return data
end

local server = uv.new_pipe(false)
assert(server:bind(listen))
server:listen(64, function()
  local client, engine = uv.new_pipe(false), uv.new_pipe(false)
  server:accept(client)
  local attach, held = false, false
  local function close()
    for _, p in ipairs { client, engine } do
      if not p:is_closing() then
        p:close()
      end
    end
  end
  engine:connect(upstream, function(err)
    if err then
      close()
      return
    end
    client:read_start(function(_, data)
      if not data then
        close()
        return
      end
      attach = attach or data:find("/attach?", 1, true) ~= nil
      held = held or mode == "hold" and data:find "^POST %S*/containers/create" ~= nil
      engine:write(data)
    end)
    engine:read_start(function(_, data)
      data = data and changed(data, attach)
      if data and held then
        return
      elseif data then
        client:write(data)
      else
        close()
      end
    end)
  end)
end)
local life = uv.new_timer()
life:start(60000, 0, function()
  os.exit(0)
end)
uv.run()
