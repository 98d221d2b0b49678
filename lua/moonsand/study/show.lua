--- A study as a few lines of text, for print().
local text = require "moonsand.text"

local M = {}

local most_rows, most_columns, widest = 5, 8, 20

local function cell(value)
  local kind = type(value)
  if kind == "number" then
    return math.type(value) == "integer" and ("%d"):format(value) or ("%.6g"):format(value)
  elseif kind == "string" then
    return text.harmless(value, widest)
  end
  return kind == "boolean" and tostring(value) or "-"
end

local function width(s)
  return utf8.len(s) or #s
end

-- Numbers to the right, the rest to the left.
local function lay_out(rows, out)
  local widths, right = {}, {}
  for i, row in ipairs(rows) do
    for j, value in ipairs(row) do
      widths[j] = math.max(widths[j] or 0, width(value))
      if i > 1 then
        right[j] = right[j] ~= false and tonumber(value) ~= nil
      end
    end
  end
  for _, row in ipairs(rows) do
    local parts = {}
    for j, value in ipairs(row) do
      local blanks = (" "):rep(widths[j] - width(value))
      parts[j] = right[j] and blanks .. value or value .. blanks
    end
    out[#out + 1] = "  " .. table.concat(parts, "  "):gsub(" +$", "")
  end
end

local function counts(study)
  local parts = {}
  for _, state in ipairs { "complete", "pruned", "failed", "running", "waiting" } do
    local n = study.states[state]
    if n then
      local part = ("%d %s"):format(n, state)
      if state == "failed" then
        local reasons = {}
        for reason, times in pairs(study.failures) do
          reasons[#reasons + 1] = ("%d %s"):format(times, text.harmless(reason, widest))
        end
        table.sort(reasons)
        part = part .. " (" .. table.concat(reasons, ", ") .. ")"
      end
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts, ", ")
end

--- How many trials there are in which state, what is sought, and the five best with their parameters.
---@param study moonsand.Study
---@return string
function M.table(study)
  local n = #study
  local head = ("moonsand.Study: %d trial%s"):format(n, n == 1 and "" or "s")
  if n > 0 then
    head = head .. ": " .. counts(study)
  end
  local wanted = {}
  for k, objective in ipairs(study.objectives) do
    wanted[k] = objective.direction .. " " .. text.harmless(objective.name, 60)
  end
  local out = { head, table.concat(wanted, ", ") }
  local best = study:top(most_rows)
  if #best == 0 then
    out[#out + 1] = "no trial has a value"
    return table.concat(out, "\n")
  end
  local names = study:columns().params
  local shown = math.min(#names, most_columns)
  local rows = { { "trial" } }
  for _, objective in ipairs(study.objectives) do
    table.insert(rows[1], text.harmless(objective.name, widest))
  end
  for j = 1, shown do
    table.insert(rows[1], text.harmless(names[j], widest))
  end
  for _, trial in ipairs(best) do
    local row = { cell(trial.number) }
    for k in ipairs(study.objectives) do
      row[#row + 1] = cell(study:value(trial, k))
    end
    for j = 1, shown do
      row[#row + 1] = cell(trial.params[names[j]])
    end
    rows[#rows + 1] = row
  end
  lay_out(rows, out)
  if shown < #names then
    out[#out + 1] = ("  (%d more parameters)"):format(#names - shown)
  end
  return table.concat(out, "\n")
end

return M
