--- Items kept in the order of their values, the largest first, in blocks: to put one among 100,000 moves a few hundred
--- of them and not all that are behind it.
local M = {}

local most = 512 -- in a block; a longer one is halved

---@class moonsand.Ordered
---@field count integer
local Ordered = {}
Ordered.__index = Ordered

---@return moonsand.Ordered
function M.new()
  return setmetatable({ count = 0, blocks = { {} } }, Ordered)
end

-- The first place in a list of so many whose value is smaller.
local function search(n, value_at, value)
  local low, high = 1, n + 1
  while low < high do
    local middle = (low + high) // 2
    if value_at(middle) >= value then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

--- Of equals, the one that was added first comes first.
---@param item any
---@param value number not NaN
function Ordered:add(item, value)
  local blocks = self.blocks
  -- The last block takes what is smaller than all.
  local at = search(#blocks - 1, function(i)
    local block = blocks[i]
    return block[#block].value
  end, value)
  local block = blocks[at]
  table.insert(block, search(#block, function(i)
    return block[i].value
  end, value), { item = item, value = value })
  self.count = self.count + 1
  if #block > most then
    local half = #block // 2
    table.insert(blocks, at + 1, table.move(block, half + 1, #block, 1, {}))
    for i = #block, half + 1, -1 do
      block[i] = nil
    end
  end
end

--- Number i, from 1; nil when there are not so many.
---@param i integer
---@return any item
function Ordered:at(i)
  for _, block in ipairs(self.blocks) do
    if i <= #block then
      return block[i] and block[i].item
    end
    i = i - #block
  end
  return nil
end

return M
