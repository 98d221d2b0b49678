--- The result of a run, as users see it.
local errors = require "moonsand.errors"
local json = require "moonsand.json"

local M = {}

---@class moonsand.Result
---@field status string "ok", "exit", "signal", "timeout", "oom", "output_limit", "cancelled", "tampered", "lost"
---@field ok boolean status == "ok"
---@field reason string one sentence when the status is not ok, exit or signal; else ""
---@field exit_code integer -1 when the program did not exit by itself
---@field signal integer 0 when no signal ended it
---@field stdout string what was kept; "" when a callback took it
---@field stderr string
---@field stdout_bytes integer what the program wrote, as far as it was read
---@field stderr_bytes integer
---@field stdout_truncated boolean the limit cut it
---@field stderr_truncated boolean
---@field wall_s number of the program
---@field cpu_s number of the program and its children
---@field overhead_s number from start() to the result, less wall_s
---@field create_s number
---@field queue_s number part of create_s: waiting for a worker of the pool
---@field start_s number
---@field finish_s number
---@field memory_peak integer bytes, of the whole container; 0 when the kernel does not tell
---@field oom_kills integer
---@field stragglers_killed integer
---@field pids_refused integer
---@field reports integer that on_report got, or would have got
---@field reports_dropped integer longer than 64 KiB, beyond 10000 or 16 MiB in all, or no JSON object
---@field artefacts { path: string, data: string, mode: integer }[]
---@field rejected_artefacts { path: string, reason: string }[]
---@field value any decoded from the program's result file; hostile, like all that comes out; numbers may be nan and inf
---@field value_error string? why there is no value although the program wrote one
---@field isolation table what was really applied
---@field engine table kind, version, api_version, endpoint, rootless
---@field image string id
---@field image_ref string? the name that led to it when the sandbox was made
---@field container string
local Result = {}
Result.__index = Result
Result.__name = "moonsand.Result"

local function describe(engine)
  local ok, facts = pcall(engine.facts, engine)
  if not ok then
    return {} -- closed meanwhile
  end
  return {
    kind = facts.kind, version = facts.engine_version, api_version = facts.api_version,
    endpoint = facts.endpoint, rootless = facts.rootless,
  }
end

--- From the fields of the core's Run:result().
---@param fields table
---@param raw moonsand.core.Run? kept for save(), when there is something to save
---@param engine moonsand.Engine?
---@param image_ref string?
---@return moonsand.Result
function M.new(fields, raw, engine, image_ref)
  local self = {}
  for k, v in pairs(fields) do
    self[k] = v
  end
  self.ok = fields.status == "ok"
  self.stdout, self.stderr = fields.stdout or "", fields.stderr or ""
  self.artefacts = fields.artefacts or {}
  self.rejected_artefacts = fields.rejected or {}
  self.rejected = nil
  self.isolation = json.decode(fields.isolation or "{}") or {}
  for name, value in pairs(self.isolation) do
    if value == json.null then
      self.isolation[name] = nil -- what there is none of
    end
  end
  self.engine = engine and describe(engine) or {}
  self.image_ref = image_ref
  self.value = nil
  if fields.value then
    local value, why = json.decode(fields.value, { nonfinite = true })
    self.value = value
    if value == nil then
      self.value_error = "the result file is not JSON: " .. tostring(why):gsub("[%c\127]+", " ")
    end
  end
  if raw then
    if #self.artefacts > 0 then
      self._raw = raw
    else
      raw:close() -- what C holds is not seen by the collector: it goes now
    end
  end
  return setmetatable(self, Result)
end

--- The artefact of that path, or nil.
---@param path string
---@return { path: string, data: string, mode: integer }?
function Result:artefact(path)
  for _, a in ipairs(self.artefacts) do
    if a.path == path then
      return a
    end
  end
  return nil
end

--- Writes the artefacts below dir, which is created when missing (its parent must exist). Links that
--- were there before are never followed. Nothing to save is a success.
---@param dir string
---@return boolean? ok, moonsand.Error? err
function Result:save(dir)
  if type(dir) ~= "string" or dir == "" then
    error("result:save wants a directory, got " .. type(dir), 2)
  end
  if #self.artefacts == 0 then
    return true
  elseif not self._raw then
    return errors.fail("invalid", "this result came from no run")
  end
  return self._raw:save(dir)
end

local function what_happened(self)
  if self.status == "exit" then
    return "exit " .. self.exit_code
  elseif self.status == "signal" then
    return "signal " .. self.signal
  end
  return self.status
end

--- "timeout (5.02 s): ran longer than its time limit of 5 s"
function Result:__tostring()
  local text = ("%s (%.2f s)"):format(what_happened(self), self.wall_s or 0)
  if self.reason and self.reason ~= "" then
    text = text .. ": " .. self.reason
  end
  return text
end

local nonfinite_names = { [math.huge] = "inf", [-math.huge] = "-inf" }

--- A copy that JSON can hold: null for NaN and infinities, which are noted in found by their place ("a.b", "list.1").
local function finite(value, place, found)
  if type(value) == "number" and (value ~= value or nonfinite_names[value]) then
    found[place] = value ~= value and "nan" or nonfinite_names[value]
    return json.null
  elseif type(value) ~= "table" then
    return value
  end
  local out = setmetatable({}, getmetatable(value))
  for k, v in pairs(value) do
    out[k] = finite(v, (place ~= "" and place .. "." or "") .. tostring(k), found)
  end
  return out
end

--- Plain table for JSON: without methods, artefacts without their bytes. In value, NaN and infinities are null, and
--- value_nonfinite says what they were: { ["a.b"] = "nan" }, "" for the value itself.
---@return table
function Result:summary()
  local out = {}
  for k, v in pairs(self) do
    if k:sub(1, 1) ~= "_" then
      out[k] = v
    end
  end
  out.artefacts = json.array {}
  for i, a in ipairs(self.artefacts) do
    out.artefacts[i] = { path = a.path, bytes = #a.data, mode = a.mode }
  end
  out.rejected_artefacts = json.array(self.rejected_artefacts)
  local found = {}
  out.value = finite(self.value, "", found)
  out.value_nonfinite = next(found) and found or nil
  for _, list in ipairs { "exceptions", "capabilities", "namespaces" } do
    if type(out.isolation[list]) == "table" then
      json.array(out.isolation[list])
    end
  end
  return out
end

return M
