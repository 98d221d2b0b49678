--- Text that others wrote, made fit to be shown and kept.
local M = {}

-- What turns the direction of writing around, or is not seen at all: a name could look like another one.
local hidden = {}
for _, range in ipairs { { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff } } do
  for code = range[1], range[2] do
    hidden[utf8.char(code)] = ""
  end
end

-- Broken bytes go one by one, so that what follows them stays.
local function valid(s)
  local out, i = {}, 1
  while i <= #s do
    local _, bad = utf8.len(s, i)
    out[#out + 1] = s:sub(i, bad and bad - 1)
    if not bad then
      break
    end
    out[#out + 1] = "\u{FFFD}"
    i = bad + 1
  end
  return table.concat(out)
end

--- One line of valid UTF-8 without control characters and without characters that are not seen; runs of
--- blanks and line ends become one blank. What is longer than max bytes is cut, at a whole character,
--- and ends in "...".
---@param s string
---@param max integer? bytes; 1000
---@return string
function M.harmless(s, max)
  max = max or 1000
  local cut = #s > 4 * max -- no more of it is even looked at
  if cut then
    s = s:sub(1, 4 * max)
  end
  if not utf8.len(s) then
    s = valid(s)
  end
  s = s:gsub("[%c\127 ]+", " "):gsub("\xc2[\x80-\x9f]", ""):gsub("[\xe2\xef][\x80-\xbf][\x80-\xbf]", hidden)
  s = s:match "^ ?(.-) ?$"
  if #s > max then
    local stop = max
    while stop > 0 and s:byte(stop + 1) & 0xc0 == 0x80 do
      stop = stop - 1
    end
    s, cut = s:sub(1, stop), true
  end
  return cut and s .. "..." or s
end

--- harmless() of a string; nil for anything else and for what is empty then.
---@param value any
---@param max integer?
---@return string?
function M.maybe(value, max)
  local s = type(value) == "string" and M.harmless(value, max) or ""
  return s ~= "" and s or nil
end

return M
