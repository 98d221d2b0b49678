--- Sections that plugins and callers add: { title =, text =, columns =, rows = }. They carry what programs said.
local facts = require "moonsand.report.facts"
local text = require "moonsand.text"

local M = {}

local most, most_rows, most_columns, longest = 50, 1000, 50, 20000

local function cell(value)
  if type(value) == "number" and value == value and value ~= math.huge and value ~= -math.huge then
    return value
  end
  return facts.show(value, 500) or ""
end

-- Rows are lists in the order of the columns, or tables with the columns' names.
local function rows_of(given, columns, width)
  local out = {}
  for i = 1, math.min(#given, most_rows) do
    local row, cells = given[i], {}
    for k = 1, width do
      if type(row) == "table" then
        local value = row[k]
        if value == nil and columns[k] ~= nil then
          value = row[columns[k]]
        end
        cells[k] = cell(value)
      else
        cells[k] = k == 1 and cell(row) or ""
      end
    end
    out[i] = cells
  end
  return out
end

local function paragraphs(given)
  local out = {}
  if type(given) == "string" then
    for part in (given:sub(1, longest) .. "\n\n"):gmatch "(.-)\r?\n%s*\n" do
      out[#out + 1] = text.maybe(part, 2000)
    end
  end
  return out
end

local function one(given, i)
  if type(given) ~= "table" then
    return { title = ("Section %d"):format(i), text = { "It is no table, so there is nothing to show." } }
  end
  local columns = type(given.columns) == "table" and given.columns or {}
  local rows = type(given.rows) == "table" and given.rows or {}
  local width = math.min(#columns, most_columns)
  if width == 0 and type(rows[1]) == "table" then
    width = math.min(#rows[1], most_columns)
  end
  local names = {}
  for k = 1, math.min(#columns, width) do
    names[k] = facts.show(columns[k], 120) or ""
  end
  local out = {
    title = facts.show(given.title, 120) or ("Section %d"):format(i), text = paragraphs(given.text),
    columns = names, rows = rows_of(rows, columns, width),
  }
  if #rows > most_rows then
    out.text[#out.text + 1] = ("The first %d of %d rows."):format(most_rows, #rows)
  end
  return out
end

--- Harmless and bounded copies, in their order.
---@param given table[]?
---@return table[]
function M.of(given)
  local out = {}
  for i = 1, math.min(#(given or {}), most) do
    out[i] = one(given[i], i)
  end
  return out
end

return M
