--- Progress events as people see them, on stderr: bars on a terminal, a line for each news elsewhere. What is
--- shown comes from engines and registries, and is made harmless once more.
local core = require "moonsand.core"
local sched = require "moonsand.sched"
local term = require "moonsand.cli.term"
local text = require "moonsand.text"

local M = {}

local redraw = 0.1 -- seconds between two drawings
local tick = 0.5 -- a quiet step still shows that time goes on
local max_items, max_lines = 1000, 2000 -- of one transfer; more are counted, not shown
local max_shown = 8

---@class moonsand.cli.Bars
local Bars = {}
Bars.__index = Bars

-- By characters, which are cells for all that is not East Asian; a line that wraps would spoil the next frame.
local function fit(s, columns)
  local stop = utf8.offset(s, columns + 1)
  return stop and s:sub(1, stop - 1) or s
end

local function seconds(s)
  if s < 60 then
    return ("%.1f s"):format(s)
  end
  return ("%d:%02d min"):format(s // 60, math.tointeger(s // 1 % 60))
end

--- "[=====>    ]" of that many columns.
---@param part number
---@param whole number
---@param columns integer
---@return string
function M.bar(part, whole, columns)
  local inner = columns - 2
  local filled = math.floor(inner * math.min(part / whole, 1))
  local tip = filled < inner and ">" or ""
  return "[" .. ("="):rep(filled) .. tip .. (" "):rep(inner - filled - #tip) .. "]"
end

local function bytes_of(item)
  if item.current and item.total then
    return ("%s / %s"):format(term.bytes(math.min(item.current, item.total)), term.bytes(item.total))
  end
  return item.current and term.bytes(item.current) or ""
end

--- New bars. title: what goes on, "pull python:3.10-slim". quiet: show nothing. live: draw bars (default: when
--- stderr is a terminal that can).
---@param title string
---@param given { quiet: boolean?, live: boolean?, columns: integer?, write: fun(s: string)?, now: (fun(): number)? }?
---@return moonsand.cli.Bars
function M.new(title, given)
  given = given or {}
  local self = setmetatable({
    title = text.harmless(title, 200), quiet = given.quiet, columns = given.columns, live = given.live,
    write = given.write or function(s)
      io.stderr:write(s)
      io.stderr:flush()
    end,
    now = given.now or core.monotonic,
    items = {}, order = {}, last = {}, drawn = 0, printed = 0,
  }, Bars)
  if self.live == nil then
    self.live = term.is_terminal(2) and os.getenv "TERM" ~= "dumb"
  end
  self.began, self.next = self.now(), 0
  if self.live and not self.quiet then
    self:_tick()
  end
  return self
end

function Bars:_tick()
  self.timer = sched.later(tick, function()
    self:_draw()
    self:_tick()
  end)
end

function Bars:_item(event)
  local id = event.id or ""
  local item = self.items[id]
  if not item then
    if #self.order >= max_items then
      return nil
    end
    item = { id = id }
    self.items[id] = item
    self.order[#self.order + 1] = item
  end
  return item
end

local function note(self, event)
  if event.step or event.steps then
    if event.step ~= self.step then
      self.line = nil
    end
    self.step, self.steps, self.name = event.step, event.steps, event.name or self.name
    self.cached = event.cached
  end
  if event.line then
    self.line = event.line
    return
  end
  local item = event.status and self:_item(event)
  if item then
    item.status = event.status
    item.current, item.total = event.current or nil, event.total or event.current and item.total or nil
    -- A layer counts with what was sent or fetched of it, also while it is unpacked and when it is done.
    if event.current and not event.status:lower():find "extract" then
      item.moved = event.current
    end
    item.size = event.total or item.size
    item.at = self.now()
  end
end

local function bar_width(columns)
  return math.max(6, math.min(22, columns - 60))
end

function Bars:_headline(columns)
  local elapsed = self.now() - self.began
  local moved, size, known = 0, 0, true
  for _, item in ipairs(self.order) do
    moved, size = moved + (item.moved or 0), size + (item.size or 0)
    known = known and (item.size ~= nil or item.moved == nil)
  end
  local parts, width = {}, bar_width(columns)
  if self.steps and self.steps > 0 then
    local bar = M.bar(self.step or 0, self.steps, width)
    parts[#parts + 1] = ("%s step %d/%d"):format(bar, self.step or 0, self.steps)
  elseif moved > 0 then
    if known and size > 0 then
      parts[#parts + 1] = M.bar(moved, size, width)
    end
    parts[#parts + 1] = bytes_of { current = moved, total = known and size > 0 and size or nil }
    parts[#parts + 1] = term.bytes(math.floor(moved / math.max(elapsed, 0.001))) .. "/s"
  end
  parts[#parts + 1] = seconds(elapsed)
  -- What a narrow terminal has no room for is missing from the title.
  local rest = "  " .. table.concat(parts, "  ")
  return fit(fit(self.title, math.max(columns - #rest, 8)) .. rest, columns)
end

-- Those of which there was news last.
function Bars:_active(count)
  local list = {}
  for _, item in ipairs(self.order) do
    if item.id ~= "" then
      list[#list + 1] = item
    end
  end
  table.sort(list, function(a, b)
    return a.at > b.at
  end)
  local out = {}
  for i = 1, math.min(count, #list) do
    out[i] = list[i]
  end
  table.sort(out, function(a, b)
    return a.id < b.id
  end)
  return out
end

function Bars:_lines(columns, rows)
  local lines = { self:_headline(columns) }
  if self.name then
    lines[#lines + 1] = fit("  " .. text.harmless(self.name, 300) .. (self.cached and "  (cached)" or ""), columns)
  end
  if self.line then
    lines[#lines + 1] = fit("    " .. text.harmless(self.line, 300), columns)
  end
  for _, item in ipairs(self:_active(math.min(max_shown, rows - #lines - 1))) do
    local line = ("  %-14s %-20s"):format(fit(text.harmless(item.id, 40), 14), fit(text.harmless(item.status, 60), 20))
    if item.current and item.total then
      line = ("%s %s %s"):format(line, M.bar(item.current, item.total, bar_width(columns)), bytes_of(item))
    elseif item.current then
      line = line .. " " .. bytes_of(item)
    end
    lines[#lines + 1] = fit(line, columns)
  end
  return lines
end

function Bars:_draw()
  local columns, rows = core.terminal_size(2)
  columns, rows = self.columns or columns or 80, rows or 24
  local lines = self:_lines(columns - 1, rows)
  local out = { self.drawn > 0 and ("\27[%dA"):format(self.drawn) or "", "\r\27[J" }
  for i, line in ipairs(lines) do
    out[#out + 1] = (i == 1 and line or term.colour(2, "dim", line)) .. "\n"
  end
  self.drawn, self.next = #lines, self.now() + redraw
  self.write(table.concat(out))
end

function Bars:_print(event)
  local line
  if event.line then
    line = "  " .. event.line
  elseif event.name and event.step then
    line = ("step %d/%s: %s%s"):format(event.step, event.steps or "?", event.name, event.cached and " (cached)" or "")
    if line == self.last.step then
      return
    end
    self.last.step = line
  elseif event.status then
    local item = self.items[event.id or ""]
    if not item or self.last[item] == event.status then
      return -- only bytes are new
    end
    self.last[item] = event.status
    line = event.id and ("%s: %s"):format(event.id, event.status) or event.status
  end
  if not line then
    return
  end
  self.printed = self.printed + 1
  if self.printed <= max_lines or event.line then
    self.write(text.harmless(line, 1000) .. "\n")
  end
end

--- Takes a progress event of engine:pull() and its like; see moonsand.Progress.
---@param event table
function Bars:event(event)
  if self.quiet or self.closed then
    return
  end
  note(self, event)
  if not self.live then
    self:_print(event)
  elseif self.now() >= self.next then
    self:_draw()
  end
end

--- Takes the bars away. Safe twice.
function Bars:close()
  if self.timer then
    sched.forget(self.timer)
    self.timer = nil
  end
  if self.drawn > 0 then
    self.write(("\27[%dA\r\27[J"):format(self.drawn))
    self.drawn = 0
  end
  self.closed = true
end

Bars.__close = Bars.close

return M
