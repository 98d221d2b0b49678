-- Between moonsand and a real engine, for what an engine does not do when asked:
--   lua5.4 proxy.lua LISTEN UPSTREAM MODE
-- warn: the answer to "create" carries a warning. cut: the attach connection is closed when the
-- program has printed MARK. flip: what the agent says then is replaced by junk. hold: the answer to a
-- "create" never comes.
-- late-create: a run's "create" reaches the engine HOLD_MS later, late-answer: its answer comes so much
-- later; both whether or not anybody still waits for it, as with a busy engine. LISTEN.created is written
-- when the engine has answered.
local uv = require "luv"
local listen, upstream, mode = arg[1], arg[2], arg[3]

local HOLD_MS = 700

--- Is it the creation of a run's container (not that of an image's layer)?
local function is_create(data)
  return data:find "^POST %S*/containers/create%?name=moonsand%-%x+ " or data:find "^POST %S*/libpod/containers/create "
end

--- Calls f(data) later, for all that comes until then, in one piece.
local function hold(f)
  local pieces, timer = {}, uv.new_timer()
  timer:start(HOLD_MS, 0, function()
    timer:close()
    f(table.concat(pieces))
    pieces = nil
  end)
  return function(data)
    if pieces then
      pieces[#pieces + 1] = data
    else
      f(data)
    end
  end
end

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
assert(server:bind(listen .. ".new"))
server:listen(64, function()
  local client, engine = uv.new_pipe(false), uv.new_pipe(false)
  server:accept(client)
  local attach, creating = false, false
  local function close()
    for _, p in ipairs { client, engine } do
      if not p:is_closing() then
        p:close()
      end
    end
  end
  local function to_engine(data)
    engine:write(data)
  end
  local function to_client(data)
    if not client:is_closing() then
      client:write(data)
    end
  end
  engine:connect(upstream, function(err)
    if err then
      close()
      return
    end
    client:read_start(function(_, data)
      if not data then
        -- The engine reads and answers a "create" whose caller has gone; here it must not see that yet.
        if creating then
          client:close()
        else
          close()
        end
        return
      end
      attach = attach or data:find("/attach?", 1, true) ~= nil
      if not creating and mode:find "^late" and is_create(data) then
        creating = true
        if mode == "late-create" then
          to_engine = hold(to_engine)
        else
          to_client = hold(to_client)
        end
      end
      if mode == "hold" and data:find "^POST %S*/containers/create" then
        to_client = function() end
      end
      to_engine(data)
    end)
    engine:read_start(function(_, data)
      if creating and data and data:find "^HTTP/1.1 201" then
        assert(io.open(listen .. ".created", "w")):close()
      end
      data = data and changed(data, attach)
      if data then
        to_client(data)
      else
        close()
      end
    end)
  end)
end)
-- Under its name only now that it listens.
assert(os.rename(listen .. ".new", listen))
local life = uv.new_timer()
life:start(60000, 0, function()
  os.exit(0)
end)
uv.run()
