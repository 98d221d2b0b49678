--- JSON lines: one trial in each line, whole, with series and reports.
---
--- JSON has no NaN and no infinities: they are null, and a member "nonfinite" of the trial tells where they were,
--- {"metrics.Sharpe Ratio": "nan", "series.equity.3": "inf"}, positions counted from 1.
local file = require "moonsand.study.file"
local json = require "moonsand.json"

local M = {}

local members = {
  "number", "state", "reason", "message", "params", "key", "value", "values", "metrics", "series", "reports",
  "attempts", "cached", "dropped", "started", "ended", "wall_s", "cpu_s", "queue_s", "memory_peak",
}

-- A copy without what JSON does not have, or the thing itself when there is nothing to change in it.
local function plain(value, path, nonfinite, depth)
  local kind = type(value)
  if kind == "number" then
    if value ~= value then
      nonfinite[path] = "nan"
      return json.null
    elseif value == math.huge or value == -math.huge then
      nonfinite[path] = value > 0 and "inf" or "-inf"
      return json.null
    end
  elseif kind == "table" and depth < json.max_depth - 2 then
    local copy
    for k, v in pairs(value) do
      local new = plain(v, path .. "." .. tostring(k), nonfinite, depth + 1)
      if new ~= v then
        copy = copy or {}
        copy[k] = new
      end
    end
    if copy then
      for k, v in pairs(value) do
        if copy[k] == nil then
          copy[k] = v
        end
      end
      return copy
    end
  end
  return value
end

--- One trial as a line without its end.
---@param trial table
---@return string
function M.line(trial)
  local record, nonfinite = {}, {}
  for _, name in ipairs(members) do
    local value = trial[name]
    if value ~= nil then
      record[name] = plain(value, name, nonfinite, 0)
    end
  end
  if next(nonfinite) then
    record.nonfinite = nonfinite
  end
  for _, name in ipairs { "values", "reports" } do
    if record[name] and next(record[name]) == nil then
      record[name] = json.array {}
    end
  end
  return json.encode(record)
end

--- study:jsonl(path).
---@param study moonsand.Study
---@param path string
---@return boolean? ok
---@return moonsand.Error? err
function M.write(study, path)
  return file.write(path, function(put)
    for _, trial in ipairs(study:trials()) do
      if not put(M.line(trial) .. "\n") then
        return
      end
    end
  end)
end

return M
