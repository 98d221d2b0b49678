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

--- Control characters other than newline and tab made visible: a program must not drive the terminal.
--- C1 controls (U+0080..U+009F) do the same in UTF-8; other bytes pass.
---@param text string
---@return string
function M.harmless(text)
  text = text:gsub("[%z\1-\8\11-\31\127]", function(c)
    return ("\\x%02x"):format(c:byte())
  end)
  return (text:gsub("\xc2([\x80-\x9f])", function(c)
    return ("\\u{%02x}"):format(c:byte())
  end))
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
