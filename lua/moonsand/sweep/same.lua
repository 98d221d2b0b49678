--- Is a journal the journal of this sweep?
local errors = require "moonsand.errors"
local json = require "moonsand.json"
local opts = require "moonsand.options"
local text = require "moonsand.text"

local M = {}

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for k, v in pairs(a) do
    if not same(v, b[k]) then
      return false
    end
  end
  for k in pairs(b) do
    if a[k] == nil then
      return false
    end
  end
  return true
end

local function show(v)
  if v == nil then
    return "nothing"
  end
  return text.harmless(type(v) == "table" and json.encode(v) or opts.show(v), 80)
end

local function by_name(list)
  local out = {}
  for _, item in pairs(type(list) == "table" and list or {}) do
    if type(item) == "table" and type(item.name) == "string" then
      out[item.name] = item
    end
  end
  return out
end

-- What differs, in words. `unlike` are members that differ between two runs of one sweep.
local unlike = {
  type = true, version = true, signature = true, started = true, image = true, engine = true, jobs = true, title = true,
}
-- Members whose names say too little.
local called = {
  data_hash = "the data (by the hash of its files)", args = "the program's args", program = "the program (by its hash)",
}

local function differences(there, here)
  local out = {}
  local function compare(what, a, b)
    if not same(a, b) then
      out[#out + 1] = ("%s is %s there and %s here"):format(what, show(a), show(b))
    end
  end
  local function compare_all(what, a, b)
    local names = {}
    for _, t in ipairs { a, b } do
      for name in pairs(t) do
        names[name] = true
      end
    end
    local list = {}
    for name in pairs(names) do
      list[#list + 1] = tostring(name)
    end
    table.sort(list)
    for _, name in ipairs(list) do
      if what ~= "" or not unlike[name] and name ~= "params" then
        compare(what == "" and called[name] or what .. text.harmless(name, 80), a[name], b[name])
      end
    end
  end
  compare_all("parameter ", by_name(there.params), by_name(here.params))
  compare_all("", there, here)
  return out
end

--- nil when it is; else the error, code "conflict". What is equal for a signature is the same whatever else differs.
---@param path string
---@param there table the journal's header
---@param here table
---@return moonsand.Error?
function M.refusal(path, there, here)
  local differ = {}
  if there.signature == nil or here.signature == nil or there.signature ~= here.signature then
    differ = differences(there, here)
    if #differ == 0 and there.signature ~= here.signature then
      differ[1] = ("its signature is %s there and %s here"):format(show(there.signature), show(here.signature))
    end
  end
  if #differ == 0 then
    return nil
  end
  local more = #differ > 5 and (", and %d more"):format(#differ - 5) or ""
  return errors.new("conflict", ("%s is the journal of another sweep: %s%s; give another path, or what that sweep " ..
    "began with"):format(path, table.concat(differ, ", ", 1, math.min(#differ, 5)), more))
end

return M
