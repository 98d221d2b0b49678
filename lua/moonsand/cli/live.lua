--- What a sweep is at, on stderr: one line that is drawn anew on a terminal, a plain line every few seconds elsewhere.
local core = require "moonsand.core"
local sched = require "moonsand.sched"
local term = require "moonsand.cli.term"
local text = require "moonsand.text"

local M = {}

local redraw = 0.2 -- seconds between two drawings
local plain_every = 5 -- and between two plain lines

---@class moonsand.cli.Live
local Live = {}
Live.__index = Live

--- "45 ms", "0.8 s", "12 s", "3:05 min", "2 h 07 min", "3 d 4 h".
---@param s number
---@return string
function M.seconds(s)
  if s ~= s or s == math.huge then
    return "?"
  elseif s < 0.1 then
    return ("%.0f ms"):format(1000 * s)
  elseif s < 10 then
    return ("%.1f s"):format(s)
  elseif s < 60 then
    return ("%.0f s"):format(s)
  elseif s < 3600 then
    return ("%d:%02d min"):format(s // 60, s // 1 % 60)
  elseif s < 86400 then
    return ("%d h %02d min"):format(s // 3600, s % 3600 // 60)
  end
  return ("%d d %d h"):format(s // 86400, s % 86400 // 3600)
end

--- A parameter's or a metric's value, short and harmless.
---@param value any
---@return string
function M.value(value)
  if math.type(value) == "float" then
    -- 77829.05 and not 7.783e+04; small ones keep their digits.
    local size = math.abs(value)
    if size >= 1000 and size < 1e12 then
      return ("%.2f"):format(value)
    end
    return ("%.5g"):format(value)
  end
  return text.harmless(tostring(value), 60)
end

--- "n1=10, n2=15"
---@param params table<string, any>
---@return string
function M.params(params)
  local names, parts = {}, {}
  for name in pairs(params) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = ("%s=%s"):format(text.harmless(name, 60), M.value(params[name]))
  end
  return table.concat(parts, ", ")
end

-- The first so many characters.
local function fit(s, columns)
  local stop = utf8.offset(s, columns + 1)
  return stop and s:sub(1, stop - 1) or s
end

local function whole(n)
  return math.tointeger(n) and ("%d"):format(n) or ("%.3g"):format(n)
end

-- Of several objectives the best is not one trial: then there is none here.
local function best_of(p)
  local best = p.best
  if type(best) ~= "table" or type(best.params) ~= "table" then
    return nil
  end
  local value = best.value
  if value == nil and type(best.values) == "table" then
    local parts = {}
    for i, v in ipairs(best.values) do
      parts[i] = M.value(v)
    end
    return "best " .. table.concat(parts, " / "), M.params(best.params)
  end
  return value ~= nil and "best " .. M.value(value) or nil, M.params(best.params)
end

--- The parts of a line: what there is of them, in order.
local function parts_of(p, ending)
  local done = p.total and ("%s of %s done"):format(whole(p.done), whole(p.total)) or whole(p.done) .. " done"
  local counts = { done, ("%d running"):format(p.running or 0), ("%d failed"):format(p.failed or 0) }
  if (p.pruned or 0) > 0 then
    counts[#counts + 1] = ("%d pruned"):format(p.pruned)
  end
  local tail = {}
  if (p.rate or 0) > 0 and not ending then
    tail[#tail + 1] = ("%.*f trials/s"):gsub("%*", p.rate < 10 and "1" or "0"):format(p.rate)
  end
  if ending then
    tail[#tail + 1] = ending
  elseif p.eta_s and p.total and p.done < p.total then
    tail[#tail + 1] = M.seconds(p.eta_s) .. " left"
  end
  return table.concat(counts, ", "), table.concat(tail, ", ")
end

--- One line of a sweep's progress. columns: what there is room for (nil: all); the parameters give way first.
---@param p table of sweep:progress()
---@param columns integer?
---@param ending string? instead of the time left
---@return string
function M.line(p, columns, ending)
  local counts, tail = parts_of(p, ending)
  local best, params = best_of(p)
  local line = counts
  if best then
    line = ("%s; %s (%s)"):format(counts, best, params)
  end
  local whole_line = tail ~= "" and line .. "; " .. tail or line
  if not columns or utf8.len(whole_line) <= columns then
    return whole_line
  end
  local rest = tail ~= "" and "; " .. tail or ""
  local room = columns - utf8.len(counts) - utf8.len(rest)
  if best and room >= #best + 2 then
    local shown = best
    if room >= #best + 12 then
      local inner = fit(params, room - #best - 8)
      shown = ("%s (%s...)"):format(best, inner)
    end
    return counts .. "; " .. shown .. rest
  end
  return fit(counts .. rest, columns)
end

--- A new line. sweep: what has progress(). quiet: show nothing. live: draw (default: when stderr is a terminal that
--- can).
---@param sweep { progress: fun(self): table }
---@param given { quiet: boolean?, live: boolean?, columns: integer?, every: number?, write: fun(s: string)? }?
---@return moonsand.cli.Live
function M.new(sweep, given)
  given = given or {}
  local self = setmetatable({
    sweep = sweep, quiet = given.quiet, live = given.live, columns = given.columns, drawn = false,
    write = given.write or function(s)
      io.stderr:write(s)
      io.stderr:flush()
    end,
  }, Live)
  if self.live == nil then
    self.live = term.is_terminal(2) and os.getenv "TERM" ~= "dumb"
  end
  self.every = given.every or (self.live and redraw or plain_every)
  if not self.quiet then
    self:_tick()
  end
  return self
end

function Live:_tick()
  self.timer = sched.later(self.every, function()
    self:draw()
    self:_tick()
  end)
end

--- Shows what the sweep is at now.
function Live:draw()
  if self.quiet or self.closed then
    return
  end
  local progress = self.sweep:progress()
  if not progress then
    return -- it has not begun
  end
  if not self.live then
    local line = M.line(progress, nil, self.ending)
    -- Nothing new is no news; but a minute without a sign is too long.
    local now = core.monotonic()
    if line ~= self.last or now - (self.said or now) >= 60 then
      self.last, self.said = line, now
      self.write(line .. "\n")
    end
    return
  end
  local columns = self.columns or core.terminal_size(2) or 80
  self.write("\r\27[K" .. M.line(progress, columns - 1, self.ending))
  self.drawn = true
end

--- Takes the line away; it comes again with the next drawing.
function Live:clear()
  if self.drawn then
    self.write "\r\27[K"
    self.drawn = false
  end
end

--- A line that stays.
---@param line string
function Live:note(line)
  self:clear()
  self.write("moonsand: " .. text.harmless(line, 1000) .. "\n")
end

--- What stands instead of the time left from now on.
---@param ending string
function Live:set_ending(ending)
  self.ending = ending
  self:draw()
end

--- Ends it. Safe twice.
function Live:close()
  if self.timer then
    sched.forget(self.timer)
    self.timer = nil
  end
  self:clear()
  self.closed = true
end

Live.__close = Live.close

return M
