--- CSV as RFC 4180 has it: one row for each trial, CR LF at the end of each line, UTF-8 without a mark.
---
--- Texts come from programs that are not trusted, and spreadsheets calculate what looks like a formula, which can
--- send data away. So control characters, tabs, line ends, characters that are not seen and blanks in front are taken
--- out of texts, as for a terminal, and what then begins with = + - @ (or the full-width forms of these) gets an
--- apostrophe in front, unless all of it is a plain number. JSON lines keep texts as they were.
---
--- Numbers are written so that the same number is read back; NaN is NaN, infinities are inf and -inf, true and false
--- are words, and what is not there is empty.
local file = require "moonsand.study.file"
local text = require "moonsand.text"
local wide = require "moonsand.study.wide"

local M = {}

local longest = 32000 -- a cell of the usual spreadsheets holds 32,767 characters

local risky = { ["\u{FF1D}"] = true, ["\u{FF0B}"] = true, ["\u{FF0D}"] = true, ["\u{FF20}"] = true }

--- A text as one cell, in quotes when it needs them.
---@param value string
---@return string
function M.text(value)
  -- Looked at when it is clean: something that is not seen could have hidden the "=".
  local clean = text.harmless(value, longest):gsub("^ +", "")
  if (clean:find "^[=+%-@]" or risky[clean:sub(1, 3)]) and not clean:find "^[+-]?%d+%.?%d*$" then
    clean = "'" .. clean
  end
  -- More than RFC 4180 asks for: a reader that takes ; or a tab for the separator must not find a cell inside.
  if clean:find "[^%w _./%%()%[%]#:-]" then
    return '"' .. clean:gsub('"', '""') .. '"'
  end
  return clean
end

--- Any value as one cell.
---@param value any
---@return string
function M.cell(value)
  local kind = type(value)
  if kind == "number" then
    if value ~= value then
      return "NaN"
    elseif value == math.huge or value == -math.huge then
      return value > 0 and "inf" or "-inf"
    end
    return wide.number(value)
  elseif kind == "string" then
    return M.text(value)
  end
  return kind == "boolean" and tostring(value) or ""
end

--- study:csv(path, options).
---@param study moonsand.Study
---@param path string
---@param options { metrics: string[]? } which metrics, and in which order; all of them, by name
---@return boolean? ok
---@return moonsand.Error? err
function M.write(study, path, options)
  local columns, err = wide.columns(study, options)
  if not columns then
    return nil, err
  end
  local n, cell = #columns, M.cell
  return file.write(path, function(put)
    local row = {}
    for j = 1, n do
      row[j] = M.text(columns[j].name)
    end
    put(table.concat(row, ",", 1, n) .. "\r\n")
    for _, trial in ipairs(study:trials()) do
      for j = 1, n do
        row[j] = cell(columns[j].get(trial))
      end
      if not put(table.concat(row, ",", 1, n) .. "\r\n") then
        return
      end
    end
  end)
end

return M
