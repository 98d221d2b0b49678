--- Debian's Chromium without a window, driven through its DevTools protocol over a pair of pipes: no port, no library.
local json = require "moonsand.json"

local M = {}

local Browser = {}
Browser.__index = Browser

--- One page; must be closed. Ends by itself after `seconds` (180), so that a spec fails and does not hang.
---@param seconds integer?
function M.open(seconds)
  local dir = os.tmpname()
  os.remove(dir)
  assert(os.execute(("mkdir -m 700 %s && mkfifo %s/in"):format(dir, dir)))
  -- The protocol's messages end in NUL bytes; lines are what Lua reads well.
  local reader = assert(io.popen(([[
    unset LD_PRELOAD
    HOME=%s timeout -k 5 %d chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars \
      --user-data-dir=%s/profile --no-first-run --disable-extensions --disable-background-networking \
      --disable-component-update --remote-debugging-pipe 3<%s/in 4>&1 >/dev/null 2>%s/log | stdbuf -o0 tr '\0' '\n']]
    ):format(dir, seconds or 180, dir, dir, dir), "r"))
  local writer = assert(io.open(dir .. "/in", "w"))
  local self = setmetatable({ dir = dir, reader = reader, writer = writer, last = 0, events = {} }, Browser)
  local target = self:send("Target.createTarget", { url = "about:blank" }).targetId
  self.session = self:send("Target.attachToTarget", { targetId = target, flatten = true }).sessionId
  for _, domain in ipairs { "Page", "Runtime", "Log", "Network" } do
    self:send(domain .. ".enable")
  end
  return self
end

--- The answer's result; raises for an error. Events that come before it are kept in self.events.
function Browser:send(method, params)
  self.last = self.last + 1
  self.writer:write(json.encode { id = self.last, method = method, params = params or {}, sessionId = self.session },
    "\0")
  self.writer:flush()
  while true do
    local message = self:next()
    if message.id == self.last then
      return message.result or error(("%s: %s"):format(method, message.error.message), 2)
    end
  end
end

function Browser:next()
  local line = self.reader:read "l"
  if not line then
    local log = io.open(self.dir .. "/log")
    error("chromium is gone: " .. (log and log:read "a" or ""), 2)
  end
  local message = assert(json.decode(line))
  if message.method then
    self.events[#self.events + 1] = message
  end
  return message
end

--- Waits for an event that has not been waited for yet.
function Browser:wait(method)
  for i, event in ipairs(self.events) do
    if event.method == method then
      table.remove(self.events, i)
      return event.params
    end
  end
  repeat
    local message = self:next()
  until message.method == method
  return table.remove(self.events).params
end

--- width and height in CSS pixels; scheme "light" or "dark".
function Browser:show(path, width, height, scheme)
  self.events = {}
  self:send("Emulation.setDeviceMetricsOverride",
    { width = width, height = height, deviceScaleFactor = 1, mobile = width < 500 })
  self:send("Emulation.setEmulatedMedia", { features = { { name = "prefers-color-scheme", value = scheme } } })
  self:send("Page.navigate", { url = path:match "^%a+:" and path or "file://" .. path })
  self:wait "Page.loadEventFired"
end

--- What a JavaScript expression is, a promise's value included; raises what it raises.
function Browser:eval(expression)
  local answer = self:send("Runtime.evaluate",
    { expression = expression, awaitPromise = true, returnByValue = true, userGesture = true })
  local failed = answer.exceptionDetails
  if failed then
    error((failed.exception or {}).description or failed.text, 2)
  end
  return answer.result.value
end

local codes = { Enter = 13, Tab = 9, Escape = 27, ArrowLeft = 37, ArrowUp = 38, ArrowRight = 39, ArrowDown = 40 }

--- "Enter", "ArrowRight", "Tab" and the like, where the focus is.
function Browser:key(name)
  local code = codes[name]
  local text = name == "Enter" and "\r" or nil
  self:send("Input.dispatchKeyEvent",
    { type = "keyDown", key = name, code = name, windowsVirtualKeyCode = code, text = text })
  self:send("Input.dispatchKeyEvent", { type = "keyUp", key = name, code = name, windowsVirtualKeyCode = code })
end

--- Texts of all that went wrong since show(): exceptions, console errors and warnings, blocked requests.
function Browser:complaints()
  self:send "Runtime.getIsolateId" -- whatever was on its way is here then
  local out = {}
  for _, event in ipairs(self.events) do
    local p = event.params
    if event.method == "Runtime.exceptionThrown" then
      out[#out + 1] = p.exceptionDetails.text .. " " .. ((p.exceptionDetails.exception or {}).description or "")
    elseif event.method == "Log.entryAdded" and p.entry.level ~= "verbose" and p.entry.level ~= "info" then
      out[#out + 1] = p.entry.text
    elseif event.method == "Runtime.consoleAPICalled" and (p.type == "error" or p.type == "warning") then
      out[#out + 1] = json.encode(p.args)
    end
  end
  return out
end

--- Addresses that were asked for since show(), the page's own and data: left out.
function Browser:requests(own)
  local out = {}
  for _, event in ipairs(self.events) do
    local url = event.method == "Network.requestWillBeSent" and event.params.request.url
    if url and not url:find "^data:" and url ~= "file://" .. own then
      out[#out + 1] = url
    end
  end
  return out
end

function Browser:close()
  pcall(self.send, self, "Browser.close")
  self.writer:close()
  self.reader:close()
  os.execute("rm -rf " .. self.dir)
end

return M
