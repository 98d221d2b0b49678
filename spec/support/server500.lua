-- A fake engine for what a real one cannot be made to show: it answers 500 to everything.
local uv = require "luv"
local server = uv.new_pipe(false)
assert(server:bind(arg[1]))
server:listen(8, function()
  local c = uv.new_pipe(false)
  server:accept(c)
  c:read_start(function(_, data)
    if not data then
      c:close()
      return
    end
    local body = '{"message":"potato in the exhaust"}'
    c:write(
      "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: "
        .. #body .. "\r\n\r\n" .. body
    )
  end)
end)
local life = uv.new_timer()
life:start(20000, 0, function()
  os.exit(0)
end)
uv.run()
