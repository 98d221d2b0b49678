--- A sandbox: an image plus limits. Runs start from it.
local budget = require "moonsand.budget"
local data = require "moonsand.image.data"
local options = require "moonsand.options"
local pool = require "moonsand.pool"
local pool_options = require "moonsand.pool_options"
local program = require "moonsand.program"
local reference = require "moonsand.image.reference"
local run = require "moonsand.run"
local sizing = require "moonsand.sizing"
local store = require "moonsand.image.store"
local used = require "moonsand.image.used"

local M = {}

---@class moonsand.Sandbox
---@field engine moonsand.Engine
---@field image string id of the image, fixed when the sandbox was made
---@field image_ref string? the name that led to it then
---@field pool moonsand.Pool? its containers that are kept ready
---@field data string[] names of the files in /data, sorted
---@field data_hash string? of their names and contents; nil without data
local Sandbox = {}
Sandbox.__index = Sandbox
Sandbox.__name = "moonsand.Sandbox"

local function image(_, value, level)
  reference.check_any(value, level + 1)
  return value
end

--- { ["/host/dir"] = "/inside" } -> the core's list, in a fixed order.
local function binds(name, value, level)
  if type(value) ~= "table" then
    error(("option '%s' is a table { [\"/host/dir\"] = \"/inside\" }, got %s"):format(name, type(value)), level + 1)
  end
  local out = {}
  for source, target in pairs(value) do
    if type(source) ~= "string" or type(target) ~= "string" then
      error(("option '%s' is a table { [\"/host/dir\"] = \"/inside\" }"):format(name), level + 1)
    end
    out[#out + 1] = { source = source, target = target }
  end
  table.sort(out, function(a, b)
    return a.target < b.target
  end)
  return out
end

--- Options of engine:sandbox, with the core's names.
M.schema = {
  image = image,
  cpus = options.cpus,
  memory = options.size,
  timeout = options.duration,
  pids = options.count,
  disk = options.size,
  disk_inodes = options.count,
  shm = options.size,
  file_size = options.size,
  open_files = options.count,
  output = options.size,
  stdout = options.size,
  stderr = options.size,
  artefacts = options.size,
  artefact_count = options.count,
  value = options.size,
  network = options.one_of { "none", "bridge" },
  binds = binds,
  exec_tmp = options.flag,
  runtime = options.text,
  data = data.option,
  platform = store.platform_option,
}
for name, check in pairs(pool_options.schema) do
  M.schema[name] = check
end

-- The others are the core's; how many workers fit a machine is decided here.
local default_cpus, default_memory = 0.5, 512 << 20

local core_names = {
  memory = "memory_bytes", disk = "disk_bytes", shm = "shm_bytes", file_size = "file_bytes",
  stdout = "stdout_bytes", stderr = "stderr_bytes", artefacts = "artefact_bytes", value = "value_bytes",
}

-- A name means one image for as long as the sandbox lives: what it leads to later is for later sandboxes.
local function pin(engine, given, platform)
  local ref = type(given) == "string" and not reference.id(given) and given or nil
  local facts, err = store.inspect(engine, given)
  if not facts then
    if err.code == "not_found" then
      local way_out = ref and "get it with `moonsand image pull %s` or `moonsand image import TAR %s`"
        or "it was removed after it was named"
      err.message = err.message .. "; " .. way_out:format(ref, ref)
    end
    return nil, err
  end
  local good
  good, err = store.check_platform(engine, ref or given.id or given, facts, platform)
  if not good then
    return nil, err
  end
  used.touch(facts.id)
  return facts, nil, ref
end

--- engine:sandbox(options). Raises for options that do not exist or make no sense by themselves; what
--- the engine or the machine lacks is nil, err.
---
--- image (required): a name, "name@sha256:...", a full id, or a moonsand.Image. A name is looked up once: the
--- sandbox keeps to the image that it leads to now (sandbox.image, its id). err.code is "not_found" when it is
--- not on the engine, "unsupported" when it is for another platform than the engine; platform, for example
--- "linux/arm64", says that the engine emulates that one.
--- cpus 0.5; memory "512m"; timeout 300 (seconds, from the program's start); pids 128;
--- disk "64m" (/tmp, which is memory); disk_inodes 8192; shm "16m"; file_size (largest file; disk);
--- open_files 512; stdout, stderr "16m" (output sets both); artefacts (all together; disk);
--- artefact_count 256; value "1m".
--- data { ["GOOG.csv"] = "host/path" or { data = "..." } }, or a list of paths: files that go in once, and that each
--- run can read in /data ($MOONSAND_DATA). They are one more layer on the image, made when there is none yet with
--- just these contents: sandbox.data are their names, sandbox.data_hash is of names and contents, and preload_script
--- finds them, too. err.op is "data" for files that cannot be read; links are not followed.
--- Exceptions: network "bridge", binds { ["/host/dir"] = "/inside" }
--- (read-only), exec_tmp true. Tighter: runtime "runsc".
---
--- Containers that wait for runs (sandbox.pool): mode "container" with pool = N or "auto": fresh ones, each used once;
--- mode "fork" with workers = N or "auto" (1): each run is a fork of an interpreter that waits in one of them.
--- preload: list of modules; preload_script: a path or { code = }, what the interpreter runs while it is made ready;
--- language "python" or "lua"; interpreter: a program of the image's PATH ("python3", "lua5.4"); require "landlock" or
--- "namespaces": what a fork must have at least, otherwise runs are refused; max_runs, max_age (seconds): when a
--- container is replaced; on_pool: function(event), see moonsand.PoolEvent.
---@param engine moonsand.Engine
---@param given table
---@param level integer
---@return moonsand.Sandbox? sandbox, moonsand.Error? err
function M.new(engine, given, level)
  level = level + 1
  local o = options.check("engine:sandbox", given, M.schema, level)
  if not o.image then
    error("engine:sandbox: option 'image' is required, for example image = \"python:3.10-slim\"", level)
  end
  o.stdout, o.stderr = o.stdout or o.output, o.stderr or o.output
  o.cpus, o.memory = o.cpus or default_cpus, o.memory or default_memory
  local kept, err = pool_options.take(o, level)
  if kept == nil then
    return nil, err
  end
  local facts, ref
  facts, err, ref = pin(engine, o.image, o.platform)
  if not facts then
    err.op = err.op or "sandbox"
    return nil, err
  end
  local input
  if o.data then
    input, err = data.make(engine, facts, o.data, ref)
    if not input then
      return nil, err
    end
  end
  o.output, o.platform, o.data, o.image = nil, nil, nil, input and input.id or facts.id
  local plain = {}
  for name, value in pairs(o) do
    plain[core_names[name] or name] = value
  end
  local want
  if kept then
    want = { cpus = o.cpus, memory = o.memory, workers = kept.workers }
    for name, value in pairs(kept) do
      plain[name] = value
    end
    plain.workers = budget.preview(engine:facts(), want)
    plain.on_pool, plain.pool_events = nil, kept.on_pool ~= nil
  end
  local raw
  raw, err = engine._raw:sandbox(plain)
  if not raw then
    return nil, err
  end
  local environment = sizing.environment(o.cpus)
  environment.MOONSAND_DATA = input and data.dir or nil
  return setmetatable({
    _raw = raw, engine = engine, image = facts.id, image_ref = ref, _environment = environment,
    data = input and input.names or {}, data_hash = input and input.hash or nil,
    prepared = kept and { -- what runs before a program, and may change what that does
      language = kept.language, interpreter = kept.interpreter, preload_script = kept.preload_script,
    } or {},
    pool = kept and pool.new(raw, engine, want, kept.on_pool) or nil,
  }, Sandbox)
end

--- What a pool's callback raised comes out here, too.
local function build(self, script, given, level)
  if self.pool then
    self.pool:_raise()
  end
  local what, err = program.build(script, given, level + 1, self._environment)
  return what, err -- no tail call: an error names the caller's line
end

--- Starts a program and returns at once. Raises for misuse.
---
--- script is the path of a file of this machine, whose name (.py, .sh, .lua) or first line (#!) says what
--- interprets it; or the table of options with one of argv, code, script in it.
--- args: list; files: { ["data/prices.csv"] = "host/path" or { data = "..." } } or a list of host paths,
--- which go under their base names; env: { NAME = "value" }; stdin: string, or a function that returns
--- pieces, "" for "nothing yet", nil at the end; timeout: shorter than the sandbox's; params: a table,
--- JSON in the file $MOONSAND_PARAMS; on_stdout, on_stderr: called with pieces as they come, which are
--- then not in the result; on_report: called with each JSON object that the program writes, a line each, to the file
--- $MOONSAND_REPORTS, as a table with harmless texts (numbers may be nan and inf); what it returns is nil, or "prune",
--- which cancels the run (and no more reports come); result.reports and reports_dropped count them;
--- language: "python" (default for code), "sh", "lua"; trust_key: in fork mode, runs with different keys never share a
--- container (without one: the sandbox's own). A variable that env does not set: OMP_NUM_THREADS and its like say as
--- many threads as the sandbox has processors.
---@param script string|table
---@param given table?
---@return moonsand.Run? run, moonsand.Error? err
function Sandbox:start(script, given)
  local what, err = build(self, script, given, 2)
  if not what then
    return nil, err
  end
  return run.start(self, what)
end

--- As start(), and waits for the result. A run that fails is a result, too; nil, err is for what kept us
--- from running it. Raises what a callback raised.
---@param script string|table
---@param given table?
---@return moonsand.Result? result, moonsand.Error? err
function Sandbox:run(script, given)
  local what, err = build(self, script, given, 2)
  if not what then
    return nil, err
  end
  local handle
  handle, err = run.start(self, what)
  if not handle then
    return nil, err
  end
  -- When the task is cancelled or Ctrl-C comes, the program must not go on.
  local _ <close> = handle
  return handle:wait()
end

--- Runs of it go on; containers that wait for others end. Safe twice.
function Sandbox:close()
  self._raw:close()
  if self.pool then
    self.pool:_close()
  end
end

Sandbox.__close = Sandbox.close

return M
