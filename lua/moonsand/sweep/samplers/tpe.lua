--- Tree-structured Parzen estimator (Bergstra et al. 2011), in the multivariate form: proposes what looks like the
--- best trials so far and unlike the others. Trials that were pruned or that failed by themselves count as bad ones,
--- and so do those that still run, so that many workers do not all try the same place.
local options = require "moonsand.options"
local ordered = require "moonsand.sweep.ordered"
local parzen = require "moonsand.sweep.parzen"
local random = require "moonsand.sweep.random"
local random_sampler = require "moonsand.sweep.samplers.random"

local M = {}

local function fraction(name, value, level)
  if type(value) ~= "number" or not (value > 0 and value < 1) then
    error(("option '%s': %s is not the share of good trials, above 0 and below 1"):format(name, options.show(value)),
      (level or 1) + 1)
  end
  return value
end

M.options = {
  startup_trials = options.count, candidates = options.count, gamma = fraction, patience = options.count,
}

local most_good = 25
local most_bad = 80 -- more are thinned out: the density of the bad hardly changes, its cost does

-- Failures that tell of the parameters; the others tell of the machine.
local own_fault = { error = true, timeout = true, oom = true, output_limit = true, invalid_value = true }

---@class moonsand.Tpe: moonsand.Sampler
local Tpe = {}
Tpe.__index = Tpe

---@param own { startup_trials: integer?, candidates: integer?, gamma: number?, patience: integer? } startup_trials:
--- random ones before the model is asked, 10; candidates: of which the best is taken, 24; gamma: the share of trials
--- that count as good, 0.1 and at most 25 trials
---@param ctx moonsand.SamplerContext
function M.new(own, ctx)
  local self = setmetatable({
    space = ctx.space, sign = ctx.direction == "minimize" and -1 or 1,
    startup = own.startup_trials or 10, candidates = own.candidates or 24, gamma = own.gamma or 0.1,
    random = random_sampler.new({ patience = own.patience }, ctx), rng = random.new(ctx.seed, "tpe"),
    parameters = {}, place = {}, ranked = ordered.new(), failed = {}, pending = {}, asked = 0, told = 0, seen = {},
  }, Tpe)
  for _, entry in ipairs(ctx.space.order) do
    local dimension = entry.dimension
    local one = { entry = entry, dimension = dimension }
    if not dimension.ordered then
      one.names = dimension.count
    else
      one.least = math.max(0.005, dimension.count and math.min(0.25, 0.5 / dimension.count) or 0)
    end
    self.parameters[#self.parameters + 1] = one
  end
  return self
end

-- Parameters as the row that the densities know; nil when they are not of this space.
local function row_of(self, params)
  local u = self.space:to_unit(params)
  if not u then
    return nil
  end
  local row = {}
  for d, parameter in ipairs(self.parameters) do
    local name = parameter.entry.name
    if u[name] == nil then
      row[d] = false
    elseif parameter.names then
      row[d] = parameter.dimension:find(params[name])
    else
      row[d] = u[name]
    end
  end
  return row
end

--- Takes a finished trial in, one of its own or any other of the same space.
---@param trial table
function Tpe:tell(trial)
  local row = row_of(self, trial.params)
  if not row then
    return
  end
  local key = self.space:key(trial.params)
  self.seen[key] = true
  self.pending[key] = nil
  local value = trial.value or type(trial.values) == "table" and trial.values[1] or nil
  local state = trial.state or "complete"
  if state == "complete" and type(value) == "number" and value - value == 0 then
    self.ranked:add(row, self.sign * value)
  elseif state == "complete" or state == "pruned" or own_fault[trial.reason] then
    self.failed[#self.failed + 1] = row
  end
end

local function good_and_bad(self)
  local ranked, failed = self.ranked, self.failed
  local all = ranked.count + #failed
  local most = math.min(math.ceil(self.gamma * all), most_good, ranked.count)
  local good = {}
  for i = 1, most do
    good[i] = ranked:at(i)
  end
  local running = {}
  for _, entry in pairs(self.pending) do
    running[#running + 1] = entry
  end
  table.sort(running, function(a, b)
    return a.number < b.number
  end)
  local bad, rest = {}, all - most
  local keep = math.min(rest, most_bad)
  for i = 1, keep do
    local at = most + (i - 1) * rest // keep + 1
    bad[i] = at <= ranked.count and ranked:at(at) or failed[at - ranked.count]
  end
  for i = 1, math.min(#running, most_bad) do
    bad[#bad + 1] = running[i].row
  end
  return parzen.new(good, self.parameters), parzen.new(bad, self.parameters)
end

-- A point like a good one: parameter by parameter, because what exists depends on those before.
local function propose(self, density)
  local kernel, rng = density:kernel(self.rng), self.rng
  local params, row = {}, {}
  for d, parameter in ipairs(self.parameters) do
    local dimension, entry = parameter.dimension, parameter.entry
    row[d] = false
    if self.space.exists(entry, params) then
      local x = density:draw(rng, d, kernel)
      if parameter.names then
        params[entry.name] = dimension:at(x)
      else
        params[entry.name] = dimension:from_unit(x)
        if dimension.count then
          x = (math.floor(x * dimension.count) + 0.5) / dimension.count
        end
      end
      row[d] = x
    end
  end
  return params, row
end

local function remember(self, params, key, row)
  self.asked = self.asked + 1
  self.seen[key] = true
  self.pending[key] = { number = self.asked, row = row }
  return params
end

local function ask_random(self)
  while true do
    local params = self.random:ask()
    local key = params and self.space:key(params)
    if not params then
      return nil
    elseif not self.seen[key] then
      return remember(self, params, key, row_of(self, params))
    end
  end
end

--- The next point: never one that was asked before.
---@return table? params nil when all of a grid has been asked
function Tpe:ask()
  if self.ranked.count == 0 or self.ranked.count + #self.failed < self.startup then
    return ask_random(self)
  end
  local good, bad = good_and_bad(self)
  local best, best_key, best_row, best_score
  local found = 0
  for _ = 1, 10 * self.candidates do
    local params, row = propose(self, good)
    local key = self.space:key(params)
    if not self.seen[key] and self.space:admits(params) then
      found = found + 1
      local score = good:density(row) / bad:density(row)
      if not best or score > best_score then
        best, best_key, best_row, best_score = params, key, row, score
      end
      if found == self.candidates then
        break
      end
    end
  end
  if not best then -- all of the neighbourhood is known
    return ask_random(self)
  end
  return remember(self, best, best_key, best_row)
end

return M
