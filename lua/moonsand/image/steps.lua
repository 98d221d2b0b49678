--- What a builder says while it builds, as steps and lines: Docker's classic builder and Podman write text
--- with "Step 2/5 : RUN ..." in it, BuildKit records (image/trace.lua). All of it is foreign text: bounded,
--- and harmless before anybody sees it.
local base64 = require "moonsand.base64"
local progress = require "moonsand.image.progress"
local reference = require "moonsand.image.reference"
local text = require "moonsand.text"
local trace = require "moonsand.image.trace"

local M = {}

local max_line, max_name = 1000, 300 -- bytes
local kept = 200 -- lines, of which a failure shows the last of its step
local shown = 40
local max_vertices = 10000

---@class moonsand.BuildEvent
---@field phase "build"
---@field part string? "packages", "tree", "image"; nil for a Dockerfile of the user's
---@field step integer?
---@field steps integer?
---@field name string? text of the instruction
---@field cached boolean? it was there already
---@field stream "stdout"|"stderr"|nil of line; Docker's classic builder and Podman mix them
---@field line string? of output

local Reader = {}
Reader.__index = Reader

function Reader:_event(step, fields)
  if self.on_event then
    local event = { phase = "build", part = self.part, step = step and step.number, steps = step and step.count,
      name = step and step.name }
    for k, v in pairs(fields or {}) do
      event[k] = v
    end
    self.on_event(event)
  end
end

function Reader:_line(step, line, stream)
  line = line:gsub("\27%[[%d;?]*%a", ""):gsub("\r+$", ""):match "[^\r]*$" -- what a terminal would show in the end
  line = text.harmless(line, max_line)
  if line == "" then
    return
  end
  if self.markers then
    local code, message = line:match "^moonsand%-failure: ([%l_]+): (.*)$"
    local set, word = line:match "^moonsand%-set: (%x+) (%l+)$"
    if code then
      self.failed = { code = code, message = message }
      return
    elseif set then
      self.set, self.extends = set, word == "extends"
      return
    end
  end
  local n = self.count + 1
  self.count = n
  self.lines[n] = { step, line }
  self.lines[n - kept] = nil
  self:_event(step, { line = line, stream = stream })
end

--- Text of the classic builder and Podman, in any pieces.
function Reader:_text(piece)
  local s = self.rest .. piece
  local from = 1
  while true do
    local stop = s:find("\n", from, true)
    if not stop then
      break
    end
    self:_text_line(s:sub(from, stop - 1))
    from = stop + 1
  end
  self.rest = s:sub(from)
  if #self.rest > 4 * max_line then
    self:_text_line(self.rest)
    self.rest = ""
  end
end

function Reader:_text_line(line)
  line = line:gsub("\27%[[%d;?]*%a", "") -- Docker puts one after what a program wrote to stderr
  local number, count, name = line:match "^Step (%d+)/(%d+) : (.*)$"
  if not number then
    number, count, name = line:match "^STEP (%d+)/(%d+): (.*)$"
  end
  if not number then
    number, count, name = line:match "^%[%d+/%d+%] STEP (%d+)/(%d+): (.*)$"
  end
  if number and #number < 6 and #count < 6 then
    self.step = { number = math.tointeger(tonumber(number)), count = math.tointeger(tonumber(count)),
      name = text.harmless(name, max_name) }
    self:_event(self.step)
  elseif line:find "^ %-%-%-> Using cache" or line:find "^%-%-> Using cache" then
    self:_event(self.step, { cached = true })
  elseif line:find "^ %-%-%-> %x+$" then
    self.intermediate = line:match "%x+$"
  elseif not line:find "^ ?%-%-%-?> " and not line:find "^Removing intermediate container %x+$"
    and not line:find "^Successfully built %x+$" and not line:find "^COMMIT%s*$" and not line:find "^%x+$" then
    self:_line(self.step, line)
  end
end

function Reader:_vertex(v)
  local step = self.vertices[v.digest]
  if not step then
    if self.vertex_count >= max_vertices then
      return
    end
    self.vertex_count = self.vertex_count + 1
    local where, name = (v.name or ""):match "^%[([^%]]*)%] ?(.*)$"
    local number, count = (where or ""):match "(%d+)/(%d+)$"
    step = { name = text.harmless(name or v.name or "", max_name), internal = not number,
      number = number and #number < 6 and math.tointeger(tonumber(number)) or nil,
      count = count and #count < 6 and math.tointeger(tonumber(count)) or nil, rest = {} }
    self.vertices[v.digest] = step
  end
  if v.started and not step.started and not step.internal then
    step.started = true
    self:_event(step, { cached = v.cached or nil })
  end
  if v.error then
    self.step = step
  end
end

function Reader:_log(l)
  local step = self.vertices[l.digest]
  if not step then
    return
  end
  local s = (step.rest[l.stream] or "") .. l.data
  local from = 1
  while true do
    local stop = s:find("\n", from, true)
    if not stop then
      break
    end
    self:_line(step, s:sub(from, stop - 1), l.stream == 2 and "stderr" or "stdout")
    from = stop + 1
  end
  s = s:sub(from)
  if #s > 4 * max_line then
    self:_line(step, s, l.stream == 2 and "stderr" or "stdout")
    s = ""
  end
  step.rest[l.stream] = s
end

function Reader:_object(object)
  if object.id == "moby.buildkit.trace" then
    local bytes = type(object.aux) == "string" and base64.decode(object.aux)
    local record = bytes and trace.decode(bytes)
    if record then
      for _, v in ipairs(record.vertices) do
        self:_vertex(v)
      end
      for _, l in ipairs(record.logs) do
        self:_log(l)
      end
    end
  elseif type(object.aux) == "table" then
    self.id = reference.id(object.aux.ID) or self.id
  elseif type(object.stream) == "string" then
    self:_text(object.stream)
  end
end

--- The last lines of a step's output.
function Reader:_tail(step)
  local out = {}
  for i = math.max(1, self.count - kept + 1), self.count do
    local item = self.lines[i]
    if item and item[1] == step then
      out[#out + 1] = item[2]
    end
  end
  return table.move(out, math.max(1, #out - shown + 1), #out, 1, {})
end

---@class moonsand.BuildOutcome
---@field failure { message: string, code: string, exit_code: integer? }? what the builder says went wrong
---@field id string? of the image
---@field step string? the instruction that failed, or was at work last
---@field log string[] the last lines of its output
---@field set string? of the packages stage: the set's name
---@field extends boolean? the packages stage: an earlier set's image lacks only some of it
---@field failed { code: string, message: string }? of the packages stage: why it failed
---@field intermediate string? of the classic builder: the last image it made

--- Reads a build's stream. feed() takes it in any pieces; finish() at its end.
---@param o { on_event: function?, part: string?, markers: boolean? } markers: of the packages stage
---@return fun(piece: string) feed, fun(): moonsand.BuildOutcome finish
function M.reader(o)
  local self = setmetatable({ on_event = o.on_event, part = o.part, markers = o.markers, rest = "",
    lines = {}, count = 0, vertices = {}, vertex_count = 0 }, Reader)
  local feed, finish = progress.reader(nil, "build", function(object)
    self:_object(object)
  end)
  return feed, function()
    local failure = finish()
    if self.rest ~= "" then
      self:_text_line(self.rest)
      self.rest = ""
    end
    for _, step in pairs(self.vertices) do
      for stream, rest in pairs(step.rest) do
        if rest ~= "" then
          self:_line(step, rest, stream == 2 and "stderr" or "stdout")
        end
      end
    end
    return { failure = failure, id = self.id, step = self.step and self.step.name, log = self:_tail(self.step),
      set = self.set, extends = self.extends, failed = self.failed, intermediate = self.intermediate }
  end
end

return M
