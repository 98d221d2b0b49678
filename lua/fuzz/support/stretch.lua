--- Long inputs out of short ones: what is quadratic shows only there, and a fuzzer's inputs are short.
local M = {}

--- As long as a program, an engine or a web page may make a word that comes to a parser.
M.length = 65536

--- The text with one of its bytes repeated until it has `M.length` bytes, for some bytes in turn. A
--- text of one kind of byte with another one at its end is what makes a pattern go back and forth.
---@param text string
---@return fun(): string?
function M.each(text)
  local step = math.max(1, #text // 6)
  local i = 1 - step
  return function()
    i = i + step
    if i > #text then
      return nil
    end
    return text:sub(1, i - 1) .. text:sub(i, i):rep(math.max(1, M.length - #text)) .. text:sub(i + 1)
  end
end

return M
