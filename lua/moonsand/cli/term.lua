--- The terminal: progress, colours, and making a program's output harmless.
local core = require "moonsand.core"

local M = {}

local progress_shown = false
local terminals = {}

--- Is the descriptor a terminal?
---@param fd integer
---@return boolean
function M.is_terminal(fd)
  if terminals[fd] == nil then
    terminals[fd] = core.isatty(fd)
  end
  return terminals[fd]
end

local colours = { red = 31, green = 32, yellow = 33, dim = 2, bold = 1 }

--- Text in a colour, where that descriptor shows colours and NO_COLOR is not set.
---@param fd integer
---@param colour string
---@param text string
---@return string
function M.colour(fd, colour, text)
  local no = os.getenv "NO_COLOR"
  if (no and no ~= "") or os.getenv "TERM" == "dumb" or not M.is_terminal(fd) then
    return text
  end
  return ("\27[%dm%s\27[0m"):format(colours[colour], text)
end

local function as_byte(c)
  return ("\\x%02x"):format(c:byte())
end

local function as_character(c)
  return ("\\u{%02x}"):format(c:byte())
end

--- Control characters other than newline and tab made visible: a program must not drive the terminal.
--- C1 controls (U+0080..U+009F) do the same, in UTF-8 as characters, elsewhere as single bytes; other
--- bytes pass.
---@param text string
---@return string
function M.harmless(text)
  text = text:gsub("[%z\1-\8\11-\31\127]", as_byte)
  local out, from = {}, 1
  while from <= #text do
    local _, bad = utf8.len(text, from)
    out[#out + 1] = text:sub(from, (bad or #text + 1) - 1):gsub("\xc2([\x80-\x9f])", as_character)
    if not bad then
      break
    end
    out[#out + 1] = text:sub(bad, bad):gsub("[\x80-\x9f]", as_byte)
    from = bad + 1
  end
  return table.concat(out)
end

--- The same for a stream that comes in pieces: a character that is cut by the end of a piece, which the
--- program decides, waits for its rest. Call it without a piece at the end.
---@return fun(piece: string?): string
function M.filter()
  local kept = ""
  return function(piece)
    local text = kept .. (piece or "")
    kept = ""
    if piece then
      local tail = text:match "[\xc2-\xf4][\x80-\xbf]?[\x80-\xbf]?$" or ""
      local first = tail:byte() or 0
      if #tail > 0 and #tail < (first >= 0xf0 and 4 or first >= 0xe0 and 3 or 2) then
        text, kept = text:sub(1, -#tail - 1), tail
      end
    end
    return M.harmless(text)
  end
end

--- One line of text that came from elsewhere.
function M.line(text)
  return (M.harmless(text):gsub("[\n\t]+", " "))
end

--- A line on stderr that the next one replaces; only on a terminal.
---@param text string
function M.progress(text)
  if M.is_terminal(2) then
    io.stderr:write("\r\27[K", M.colour(2, "dim", M.line(text):sub(1, 78)))
    io.stderr:flush()
    progress_shown = true
  end
end

--- Takes the progress line away.
function M.clear()
  if progress_shown then
    io.stderr:write "\r\27[K"
    io.stderr:flush()
    progress_shown = false
  end
end

--- "moonsand: ..." on stderr.
---@param text string
function M.complain(text)
  M.clear()
  io.stderr:write(M.colour(2, "red", "moonsand:"), " ", M.harmless(text), "\n")
end

--- Bytes for people: "512 MiB".
---@param n number
---@return string
function M.bytes(n)
  local units, i = { "B", "KiB", "MiB", "GiB", "TiB" }, 1
  while n >= 1024 and i < #units do
    n, i = n / 1024, i + 1
  end
  return (i == 1 and "%d %s" or "%.1f %s"):format(n, units[i])
end

return M
