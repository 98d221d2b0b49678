--- Who proposes the points of a sweep. A sampler is a table that answers ask() with parameters, or nil when it has
--- no more; users write their own:
---
---     sampler = {
---       name = "hill",
---       setup = function(self, ctx) self.space, self.rng = ctx.space, ctx.rng end,
---       ask = function(self) return self.space:sample(self.rng) end,
---       tell = function(self, trial) ... end,   -- each finished trial
---     }
local errors = require "moonsand.errors"
local named = require "moonsand.sweep.named"
local options = require "moonsand.options"
local random = require "moonsand.sweep.random"
local space_module = require "moonsand.sweep.space"

local M = {}

--- Points that `where` may refuse in a row before the sampler gives up.
M.patience = 1000000

M.names = { "grid", "random", "latin", "sobol", "tpe" }

---@class moonsand.SamplerContext
---@field space moonsand.Space
---@field seed integer
---@field direction "maximize"|"minimize"
---@field max_trials integer?
---@field rng moonsand.Random

---@class moonsand.Sampler
---@field name string
---@field setup fun(self, ctx: moonsand.SamplerContext)?
---@field ask fun(self): table?
---@field tell fun(self, trial: table)?

--- Raises the error that says that `where` refused everything.
---@param refused integer points in a row
---@param admitted integer points before them
---@param last table? the last that was refused
---@param what "all"|"own"|nil "all": there are no others; "own": a user's sampler, which has no option patience
function M.refused(refused, admitted, last, what)
  local counted = ("%d points"):format(refused)
  local message
  if what == "all" then
    message = ("where refused all %s of the grid: there is nothing to run"):format(counted)
  else
    message = ("where refused %s in a row%s; make the space smaller where it says no%s"):format(counted,
      admitted > 0 and (" after %d that it wanted"):format(admitted) or "",
      what ~= "own" and ", or raise the sampler's option patience" or "")
  end
  if last then
    message = message .. ("; the last was %s"):format(space_module.show(last))
  end
  error(errors.new("invalid", message), 0)
end

--- The next of `propose` that `where` wants and that was not asked before.
---@param self table has space, patience, admitted (a count, kept here), and seen when repeats are to be left out
---@param propose fun(self): table
---@return table? params nil when all there is was asked
function M.next_admitted(self, propose)
  local space, seen = self.space, self.seen
  local size = space:size() or math.huge
  local refused, repeats, params = 0, 0, nil
  while refused + repeats < self.patience do
    params = propose(self)
    local key = seen and space:key(params)
    if key and seen[key] then
      repeats = repeats + 1
      space:refuse()
    elseif not space:admits(params) then
      refused = refused + 1
    else
      self.admitted = self.admitted + 1
      if key then
        seen[key] = true
      end
      return params
    end
    -- After so many draws a grid has given each of its points, but for a chance of less than one in a million.
    if repeats > 0 and (self.admitted == size or refused + repeats > 1000 + 40 * size) then
      return nil
    end
  end
  if repeats == 0 then
    M.refused(refused, self.admitted, params)
  end
  return nil -- so many draws and no new one: what there is has been asked
end

-- What a user's sampler proposes is as good as what a user writes into a space: scalars by name.
local function check_params(name, params, space)
  local function wrong(why)
    error(errors.new("invalid", ("sampler '%s': ask() returned %s"):format(name, why)), 0)
  end
  if type(params) ~= "table" then
    wrong(("a %s; it returns a table of parameters, or nil when it has no more"):format(type(params)))
  end
  for key, value in pairs(params) do
    local kind = type(value)
    if type(key) ~= "string" or not space.dimensions[key] then
      wrong(("the parameter %s, which the space does not have"):format(options.show(key)))
    elseif kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      wrong(("a %s for '%s'; a parameter is a text, a number, true or false"):format(kind, key))
    elseif kind == "number" and (value ~= value or value == math.huge or value == -math.huge) then
      wrong(("%s for '%s'"):format(tostring(value), key))
    end
  end
  local out = {} -- a sampler may use its table again; a trial keeps its own
  for key, value in pairs(params) do
    out[key] = value
  end
  return out
end

local function wrapped(given, name, ctx)
  if given.setup then
    given:setup(ctx)
  end
  local admitted = 0
  -- What `where` refuses is no trial, whoever proposes it: it is asked for another one.
  local function ask()
    local params
    for _ = 1, M.patience do
      params = given:ask()
      if params == nil then
        return nil
      end
      params = check_params(name, params, ctx.space)
      if ctx.space:admits(params) then
        admitted = admitted + 1
        return params
      end
    end
    return M.refused(M.patience, admitted, params, "own")
  end
  return {
    name = name,
    inner = given,
    ask = ask,
    tell = function(_, trial)
      if given.tell then
        given:tell(trial)
      end
    end,
  }
end

local what = { kind = "sampler", names = M.names, method = "ask", others = { "setup", "tell" } }

--- The sampler that a sweep's option means, ready to be asked: a name, { name = "tpe", ...options }, or a table of
--- the user's with ask. Without any: the grid when there is one, else random. Raises for misuse.
---@param given string|table|nil
---@param ctx moonsand.SamplerContext rng may be left away
---@param extra table<string, fun(options: table): moonsand.Sampler>? samplers that plugins bring
---@param level integer? whom to blame
---@return moonsand.Sampler it has tell, in any case
function M.new(given, ctx, extra, level)
  level = (level or 1) + 1
  ctx.seed = ctx.seed or 0
  ctx.rng = ctx.rng or random.new(ctx.seed, "sampler")
  ctx.direction = ctx.direction or "maximize"
  if given == nil then
    given = ctx.space:size() and "grid" or "random"
  end
  local name, custom, module, own = named.resolve(what, given, extra, level)
  if custom then
    return wrapped(custom, name, ctx)
  end
  local sampler = module.new(own, ctx, level)
  sampler.name = name
  return sampler
end

return M
