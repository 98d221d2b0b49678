--- Base64 (RFC 4648), both alphabets.
local M = {}

local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local of_value, of_digit = {}, {}
for i = 1, #digits do
  of_value[i - 1], of_digit[digits:byte(i)] = digits:sub(i, i), i - 1
end

--- With padding.
---@param bytes string
---@return string
function M.encode(bytes)
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local n = a << 16 | (b or 0) << 8 | (c or 0)
    out[#out + 1] = of_value[n >> 18] .. of_value[n >> 12 & 63]
      .. (b and of_value[n >> 6 & 63] or "=") .. (c and of_value[n & 63] or "=")
  end
  return table.concat(out)
end

--- The alphabet for URLs and headers ("-" and "_"), with padding.
---@param bytes string
---@return string
function M.encode_url(bytes)
  return (M.encode(bytes):gsub("[+/]", { ["+"] = "-", ["/"] = "_" }))
end

--- Either alphabet; padding and blanks may be there or not.
---@param text string
---@return string? bytes nil when it is not base64
function M.decode(text)
  text = text:gsub("%s+", ""):gsub("[-_]", { ["-"] = "+", ["_"] = "/" })
  text = text:match "^([%w+/]*)=?=?$"
  if not text or #text % 4 == 1 then
    return nil
  end
  local out = {}
  for i = 1, #text, 4 do
    local a, b, c, d = text:byte(i, i + 3)
    local n = of_digit[a] << 18 | of_digit[b] << 12 | (c and of_digit[c] or 0) << 6 | (d and of_digit[d] or 0)
    out[#out + 1] = string.char(n >> 16, n >> 8 & 255, n & 255):sub(1, d and 3 or c and 2 or 1)
  end
  return table.concat(out)
end

return M
