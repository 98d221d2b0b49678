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
local json = require "moonsand.json"
local sched = require "moonsand.sched"

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

return M
