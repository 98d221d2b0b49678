--- Writes each trial as a line of a CSV file when it has ended, to be looked at while the sweep goes on:
---
---     plugins = { { "csv", path = "trials.csv", metrics = { "Sharpe Ratio", "# Trades" } } }
---
--- Without `metrics`, the columns are those of the first complete trial; failed ones before it wait for it.
local fixed = { "number", "state", "reason", "attempts", "wall_s", "value", "message" }
local most_held = 1000

-- Cells that begin like a formula are one to a spreadsheet, and a program's texts are not to be trusted.
local function cell(value)
  if value == nil then
    return ""
  elseif type(value) == "number" then
    if math.type(value) == "integer" then
      return tostring(value)
    end
    local short = ("%.14g"):format(value)
    return tonumber(short) == value and short or ("%.17g"):format(value)
  end
  local s = tostring(value)
  if s:find "^[=+@\t\r-]" then
    s = "'" .. s
  end
  return s:find '[",\r\n]' and '"' .. s:gsub('"', '""') .. '"' or s
end

local function line(cells)
  return table.concat(cells, ",") .. "\n"
end

local function sorted(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function write(self, text)
  local ok, why = self.file:write(text)
  if not ok then
    error(("%s cannot be written: %s"):format(self.path, why), 0)
  end
end

local function row(self, trial)
  local cells = {}
  for i, name in ipairs(fixed) do
    cells[i] = cell(trial[name])
  end
  for _, name in ipairs(self.params) do
    cells[#cells + 1] = cell(trial.params[name])
  end
  for _, name in ipairs(self.metrics) do
    cells[#cells + 1] = cell((trial.metrics or {})[name])
  end
  return line(cells)
end

local function begin(self, metrics)
  self.metrics = metrics
  local cells = {}
  for _, list in ipairs { fixed, self.params, metrics } do
    for _, name in ipairs(list) do
      cells[#cells + 1] = cell(name)
    end
  end
  write(self, line(cells))
  for _, trial in ipairs(self.held) do
    write(self, row(self, trial))
  end
  self.held = {}
end

local function open(self, params)
  local file, why = io.open(self.path, "w")
  if not file then
    error(("%s cannot be written: %s"):format(self.path, why), 0)
  end
  file:setvbuf "line"
  self.file, self.params, self.held, self.metrics = file, params, {}, nil
  if self.given then
    begin(self, self.given)
  end
end

return {
  api = 1,
  name = "csv",
  options = {
    path = { type = "string", required = true },
    metrics = "table",
  },
  setup = function(host, opts)
    local self = { path = opts.path, given = opts.metrics }
    host:on("run", function(event)
      if event.type == "begin" then
        open(self, event.params)
      end
    end)
    host:on("trial", function(trial)
      if not self.file then
        return -- that it cannot be written has been said
      elseif not self.metrics and trial.state ~= "complete" and #self.held < most_held then
        self.held[#self.held + 1] = trial
        return
      elseif not self.metrics then
        begin(self, sorted(trial.metrics or {}))
      end
      write(self, row(self, trial))
    end)
    host:on("end", function()
      if self.file then
        if not self.metrics then
          begin(self, {})
        end
        self.file:close()
        self.file = nil
      end
    end)
  end,
}
