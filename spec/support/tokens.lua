-- The token service of a registry, as far as an identity token needs it (OAuth 2 refresh tokens):
--   lua5.4 tokens.lua ADDRESS PORT DIR IDENTITY-TOKEN
-- Whoever brings the identity token gets a bearer token for all that is asked; it is signed with DIR/key.pem.
local uv = require "luv"
local base64 = require "moonsand.base64"
local json = require "moonsand.json"
local address, port, dir, identity = arg[1], tonumber(arg[2]), arg[3], arg[4]

local function read(path)
  local f = assert(io.open(path, "rb"))
  local bytes = f:read "a"
  f:close()
  return bytes
end

local function coded(bytes)
  return (base64.encode_url(bytes):gsub("=", ""))
end

local function signed(text)
  local path = os.tmpname()
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
  local p = assert(io.popen(("openssl dgst -sha256 -sign '%s/key.pem' '%s'"):format(dir, path)))
  local signature = p:read "a"
  p:close()
  os.remove(path)
  return text .. "." .. coded(signature)
end

local certificate = read(dir .. "/cert.pem"):match("BEGIN CERTIFICATE%-+(.-)%-+END"):gsub("%s", "")

local function token(scopes)
  local access = json.array {}
  for scope in scopes:gmatch "%S+" do
    local kind, name, actions = scope:match "^(%w+):(.+):([%w,*]+)$"
    local list = json.array {}
    for action in (actions or ""):gmatch "[^,]+" do
      list[#list + 1] = action
    end
    access[#access + 1] = kind and { type = kind, name = name, actions = list }
  end
  local now = os.time()
  return signed(coded(json.encode { typ = "JWT", alg = "RS256", x5c = json.array { certificate } }) .. "."
    .. coded(json.encode { iss = "tests", sub = "sand", aud = "tests", exp = now + 300, nbf = now - 10, iat = now,
      jti = tostring(math.random(0)), access = access }))
end

local function form(body)
  local out = {}
  for name, value in body:gmatch "([^&=]+)=([^&]*)" do
    value = value:gsub("+", " "):gsub("%%(%x%x)", function(hex)
      return string.char(tonumber(hex, 16))
    end)
    out[name] = out[name] and out[name] .. " " .. value or value
  end
  return out
end

local function answer(head, body)
  local values = form(body)
  if head:find "^POST /token" and values.grant_type == "refresh_token" and values.refresh_token == identity then
    local scope = values.scope or ""
    return "200 OK", json.encode { access_token = token(scope), expires_in = 300, scope = scope }
  end
  return "401 Unauthorized", '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
end

local server = uv.new_tcp()
assert(server:bind(address, port))
assert(server:listen(64, function()
  local client, request = uv.new_tcp(), ""
  server:accept(client)
  client:read_start(function(_, data)
    if not data then
      return client:close()
    end
    request = request .. data
    local head, body = request:match "^(.-\r\n\r\n)(.*)$"
    local length = head and tonumber(head:lower():match "content%-length: (%d+)" or 0)
    if head and #body >= length then
      local status, text = answer(head, body)
      local reply = "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
      client:write(reply:format(status, #text, text), function()
        client:close()
      end)
    end
  end)
end))
local life = uv.new_timer()
life:start(300000, 0, function()
  os.exit(0)
end)
print "ready"
io.stdout:flush()
uv.run()
