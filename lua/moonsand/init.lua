--- moonsand: run code that you do not trust in containers.
---
---     local moonsand = require "moonsand"
---     local engine = assert(moonsand.connect())
---     local box = engine:sandbox { image = "python:3.10-slim", memory = "512m", timeout = "5m" }
---     local result = assert(box:run("sma_cross.py", { args = { "--fast", "10" } }))
---
--- Misuse (wrong types, unknown options, closed handles) raises. The world returns `nil, err`, where
--- err has `code`, `message`, `op`, `status`, `cause`. A run that fails is a result, not an error.
--- Everything blocks when called plainly, and yields inside spawn() and map().
local core = require "moonsand.core"
local engine = require "moonsand.engine"
local executor = require "moonsand.sweep.executor"
local json = require "moonsand.json"
local plugin = require "moonsand.sweep.plugin"
local sched = require "moonsand.sched"
local space = require "moonsand.sweep.space"
local study = require "moonsand.study"
local sweep = require "moonsand.sweep"

local M = {}

M.version = core.version

--- JSON's null in result.value.
M.null = json.null

--- CLOCK_MONOTONIC in seconds.
M.monotonic = core.monotonic

M.connect = engine.connect
M.images = require "moonsand.images"
M.spawn = sched.spawn
M.map = sched.map
M.sleep = sched.sleep

--- Parameters' values: see moonsand.sweep.space.
M.range, M.uniform, M.log_uniform = space.range, space.uniform, space.log_uniform
M.integers, M.choice, M.when = space.integers, space.choice, space.when

--- moonsand.sweep { script =, space =, objective =, ... } -> a sweep, to be run(box). See moonsand.sweep.new.
---@param options table
---@return moonsand.Sweep
function M.sweep(options)
  local made = sweep.new(options, 2) -- no tail call: an error names the caller's line
  return made
end

--- The study of a journal.
---@param path string
---@return moonsand.Study? study, moonsand.Error? err
function M.study(path)
  return study.load(path)
end

--- moonsand.executors.noop { f = function(params) -> metrics }: a sweep without sandboxes.
M.executors = { noop = executor.noop }

--- A plugin's table, by its name or path, and the directories where names are looked for.
M.plugin, M.plugin_path = plugin.get, plugin.places

return M
