--- Private registries for the specs (tools/registry.sh), what stands in front of them, and processes to ask them.
local M = {}

M.identity = "identity-of-sand"

local keeper -- the registries end when this pipe is closed, also by the end of this process

local function read(path)
  local f = io.open(path, "rb")
  local bytes = f and f:read "a"
  if f then
    f:close()
  end
  return bytes
end

--- Starts them. False when this machine has no address for them.
---@return boolean
function M.start()
  M.dir = os.tmpname()
  os.remove(M.dir)
  local failed = M.dir .. ".failed"
  keeper = assert(io.popen(("tools/registry.sh '%s' || echo $? >'%s'"):format(M.dir, failed), "w"))
  local text
  for _ = 1, 200 do
    text = read(M.dir .. "/env")
    local status = read(failed)
    if status then
      os.remove(failed)
      assert(tonumber(status) == 3, "tools/registry.sh failed")
      return false
    elseif text then
      break
    end
    os.execute "sleep 0.1"
  end
  assert(text, "the registries did not come up")
  M.address = text:match "address=(%S+)"
  M.user, M.password = text:match "user=(%S+)", "moon:s and"
  M.host, M.cut = M.address .. ":5000", M.address .. ":5001"
  M.tokens, M.untrusted = M.address .. ":5002", M.address .. ":5004"
  M.auth = { username = M.user, password = M.password }
  return true
end

function M.stop()
  if keeper then
    keeper:close()
    os.execute(("rm -rf '%s' '%s.failed'"):format(M.dir, M.dir))
  end
end

--- A program of spec/support beside this process. It is ended by stop(), and by itself after some minutes.
---@param script string
---@return { file: file*, stop: fun() }
function M.run(script, ...)
  local words = {}
  for i, word in ipairs { ... } do
    words[i] = ("'%s'"):format(word)
  end
  local file = assert(io.popen(("echo $$; LUA_PATH='%s' LUA_CPATH='%s' exec lua5.4 spec/support/%s %s"):format(
    package.path, package.cpath, script, table.concat(words, " "))))
  local pid = assert(tonumber(file:read "l"))
  assert(file:read "l" == "ready")
  return {
    file = file,
    stop = function()
      if io.type(file) == "file" then
        os.execute(("kill %d 2>/dev/null"):format(pid))
        file:close()
      end
    end,
  }
end

--- What stands at cut, between an engine and the first registry, until `bytes` have come.
function M.proxy(mode, bytes)
  return M.run("tcp_proxy.lua", M.address, "5001", "5000", mode, tostring(bytes))
end

function M.token_service()
  return M.run("tokens.lua", M.address, "5003", M.dir, M.identity)
end

return M
