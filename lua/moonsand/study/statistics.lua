--- The methods of a study that calculate: each chooses the trials and checks the options; the work is done in the
--- file of the subject.
local columns = require "moonsand.study.columns"
local errors = require "moonsand.errors"
local numbers = require "moonsand.study.numbers"
local options_ = require "moonsand.options"

local Study = {}

-- The trial meant: the one given, or that with the number given, or the best. nil, err when there is none.
local function chosen(self, trial, op, level)
  if math.type(trial) == "integer" then
    local number = trial
    trial = self:trial(number)
    if not trial then
      error(("%s: there is no trial %d"):format(op, number), level + 1)
    end
  elseif trial ~= nil and (type(trial) ~= "table" or type(trial.params) ~= "table") then
    error(("%s wants a trial or its number, got %s"):format(op, options_.show(trial)), level + 1)
  end
  trial = trial or self:best()
  if not trial then
    return errors.fail("invalid", op .. ": no trial is complete")
  end
  return trial
end

local function number_above(bound, wanted)
  return function(name, value, level)
    if not numbers.finite(value) or value <= bound then
      error(("option '%s': %s is not %s"):format(name, options_.show(value), wanted), level + 1)
    end
    return value
  end
end

local function any_number(name, value, level)
  if not numbers.finite(value) then
    error(("option '%s': %s is not a number"):format(name, options_.show(value)), level + 1)
  end
  return value
end

local function one_trial(_, value)
  return value -- looked at by chosen()
end

local function share(name, value, level)
  if not numbers.finite(value) or value <= 0 or value > 1 then
    error(("option '%s': %s is not a share above 0 and at most 1"):format(name, options_.show(value)), level + 1)
  end
  return value
end

--- The trials that are not beaten in all objectives at once by any other.
---
---     study:pareto { { "Sharpe Ratio", "maximize" }, { "Max. Drawdown [%]", "maximize" } }
---
---@param objectives { [1]: string|fun(trial: table): number, [2]: string }[]? the sweep's own
---@return table[] trials best first in the first objective; complete ones that have all of them as numbers
function Study:pareto(objectives)
  local gets, signs = {}, {}
  if objectives == nil then
    for k, objective in ipairs(self.objectives) do
      gets[k] = function(trial)
        return self:value(trial, k)
      end
      signs[k] = objective.direction == "maximize" and 1 or -1
    end
  elseif type(objectives) ~= "table" or #objectives == 0 then
    error('study:pareto wants a list of objectives, { { "Sharpe Ratio", "maximize" }, ... }', 2)
  else
    for k, objective in ipairs(objectives) do
      local direction = type(objective) == "table" and (objective.direction or objective[2])
      if direction ~= "maximize" and direction ~= "minimize" then
        error(('study:pareto: objective %d must be { name, "maximize" } or { name, "minimize" }'):format(k), 2)
      end
      gets[k] = columns.getter(self, objective.name or objective[1], "study:pareto", 2)
      signs[k] = direction == "maximize" and 1 or -1
    end
  end
  local points = {}
  for _, trial in ipairs(self:trials "complete") do
    local scores = {}
    for k = 1, #gets do
      local value = gets[k](trial)
      scores[k] = numbers.finite(value) and signs[k] * value or nil
    end
    if #scores == #gets and scores[1] ~= nil then
      points[#points + 1] = { trial = trial, scores = scores }
    end
  end
  return require "moonsand.study.pareto".front(points)
end

--- How two columns go together, over the complete trials that have a finite number in both.
---
---     local pearson, spearman, pairs = study:correlation("fast", "Sharpe Ratio")
---
---@param a string|fun(trial: table): any
---@param b string|fun(trial: table): any
---@return number? pearson -1 to 1: do they lie on a line? nil for fewer than two pairs or a side that never changes
---@return number? spearman the same of their ranks: does one rise with the other?
---@return integer pairs that were counted
function Study:correlation(a, b)
  local get_a = columns.getter(self, a, "study:correlation", 2)
  local get_b = columns.getter(self, b, "study:correlation", 2)
  local xs, ys, n = {}, {}, 0
  for _, trial in ipairs(self:trials "complete") do
    local x, y = get_a(trial), get_b(trial)
    if numbers.finite(x) and numbers.finite(y) then
      n = n + 1
      xs[n], ys[n] = x, y
    end
  end
  return numbers.pearson(xs, ys), numbers.pearson(numbers.ranks(xs), numbers.ranks(ys)), n
end

--- How much each parameter matters: moonsand.study.importance says how that is found. Sums to 1.
---
---     for _, p in ipairs(assert(study:importance())) do print(p.name, p.importance) end
---
---@param name nil|string|fun(trial: table): any for what; the (first) objective
---@return { name: string, importance: number }[]? list largest first
---@return table|moonsand.Error facts shares: by name; explained: R2 on unseen trials; trials: how many were looked at.
---Or why there is no list: fewer than 4 complete trials, or nothing varies
function Study:importance(name)
  local trials, score = self:_scored()
  if name ~= nil then
    score, trials = columns.getter(self, name, "study:importance", 2), {}
    for _, trial in ipairs(self:trials "complete") do
      if numbers.finite(score(trial)) then
        trials[#trials + 1] = trial
      end
    end
  end
  return require "moonsand.study.importance".of(self, trials, score)
end

local plateau_options = {
  threshold = share, radius = share, diagonal = options_.flag,
}

--- Is the trial's neighbourhood good too? moonsand.study.plateau says what a neighbour is.
---
---     local around = study:plateau()
---     print(around.verdict)  --> plateau: 5 of 6 neighbours are within 0.7 of it (mean 1.2, worst 0.9)
---
---@param trial nil|integer|table the best
---@param options { threshold: number?, radius: number?, diagonal: boolean? }? threshold: the share of the trial's
---objective that a good neighbour reaches (0.7, as in Lean); radius: the step of a continuous parameter, as a share
---of its range (0.1); diagonal: neighbours may differ by one step in several parameters
---@return table? result kind, verdict, neighbours, share, mean, min, max, worst, edge, failed, beaten, ...
---@return moonsand.Error? err no trial is complete, or this one is not
function Study:plateau(trial, options)
  options = options_.check("study:plateau", options or {}, plateau_options, 2)
  local err
  trial, err = chosen(self, trial, "study:plateau", 2)
  if not trial then
    return nil, err
  end
  local score = self:_score()
  if not score(trial) then
    return errors.fail("invalid", ("study:plateau: trial %d has no objective"):format(trial.number))
  end
  return require "moonsand.study.plateau".around(self, trial, score, {
    threshold = options.threshold or 0.7,
    radius = options.radius or 0.1,
    diagonal = options.diagonal,
    maximize = self.objectives[1].direction == "maximize",
  })
end

local function trials_count(name, value, level)
  if value == "independent" then
    return value
  end
  return number_above(0, 'a number of trials above 0, or "independent"')(name, value, level + 1)
end

local deflated_options = {
  trial = one_trial,
  series = options_.text,
  metric = options_.text,
  periods_per_year = number_above(0, "a number of periods above 0, for example 252"),
  trials = trials_count,
  variance = number_above(0, "a variance above 0"),
  observations = number_above(1, "a number of returns above 1"),
  skewness = any_number,
  kurtosis = number_above(0, "a kurtosis above 0 (3 for a normal distribution)"),
}

-- From a metric that is an annual Sharpe ratio: for trials that have no equity curve.
local function deflated_by_metric(self, trial, options, level)
  local deflated = require "moonsand.study.deflated"
  if not options.periods_per_year or not options.observations then
    error("study:deflated_sharpe: with metric, periods_per_year and observations must be given, too", level + 1)
  end
  local get = columns.getter(self, options.metric, "study:deflated_sharpe", level)
  local root, ratios = math.sqrt(options.periods_per_year), {}
  for _, other in ipairs(self:trials "complete") do
    local value = get(other)
    if numbers.finite(value) then
      ratios[#ratios + 1] = value / root
    end
  end
  if not numbers.finite(get(trial)) then
    return errors.fail("invalid", ("trial %d has no %s"):format(trial.number, options_.show(options.metric)))
  elseif options.trials == "independent" then
    error('study:deflated_sharpe: trials = "independent" needs equity curves', level + 1)
  end
  local result, err = deflated.from_figures {
    sharpe = get(trial) / root,
    observations = options.observations,
    skewness = options.skewness,
    kurtosis = options.kurtosis,
    trials = options.trials or #ratios,
    variance = options.variance or numbers.variance(ratios) or 0.0,
  }
  if result then
    result.trial = trial
    result.annual_sharpe, result.annual_benchmark = result.sharpe * root, result.benchmark * root
  end
  return result, err
end

--- The Deflated Sharpe Ratio: the probability that the best trial's true Sharpe ratio is above what the best of as
--- many trials without any skill would show (moonsand.study.deflated). Above 0.95 is the usual bar.
---
---     local d = assert(study:deflated_sharpe { periods_per_year = 252 })
---     print(d.probability, d.annual_sharpe, d.annual_benchmark)
---
--- Returns come from the equity curves in the trials' series. Without those, `metric` names an annual Sharpe ratio;
--- then periods_per_year and observations (number of returns) must be given, and skewness and kurtosis should be.
---@param options table? trial (a trial or its number; the best); series ("equity"); metric; periods_per_year; trials:
---how many independent trials there were, or "independent" to estimate that from the curves' mean correlation (all
---complete trials, which is on the safe side); variance: of the Sharpe ratios of one period (from the trials);
---observations, skewness, kurtosis
---@return table? result probability; benchmark and sharpe (of one period), annual_sharpe, annual_benchmark, trials,
---variance, observations, skewness, kurtosis, trial; from curves also periods: how many one return is over, above 1 for
---a curve of more points than a trial keeps (its skewness and kurtosis are of such returns)
---@return moonsand.Error? err no complete trial, no curve
function Study:deflated_sharpe(options)
  options = options_.check("study:deflated_sharpe", options or {}, deflated_options, 2)
  local trial, err = chosen(self, options.trial, "study:deflated_sharpe", 2)
  if not trial then
    return nil, err
  elseif options.metric then
    local result
    result, err = deflated_by_metric(self, trial, options, 2)
    return result, err
  end
  local series, complete = options.series or "equity", self:trials "complete"
  local sets = require "moonsand.study.returns".all(complete, series)
  for _, set in ipairs(sets) do
    if set.trial == trial then
      return require "moonsand.study.deflated".from_returns(sets, set, {
        trials = tonumber(options.trials) or #complete,
        independent = options.trials == "independent",
        variance = options.variance,
        periods_per_year = options.periods_per_year,
      })
    end
  end
  return errors.fail("invalid", ("trial %d has no series %s with an equity curve; give it by result(), or "
    .. 'name an annual Sharpe ratio: { metric = "Sharpe Ratio", periods_per_year = 252, observations = 1250 }'):format(
    trial.number, options_.show(series)
  ))
end

local most_work = 3000000 -- trials times choices: a few seconds

local function usual_blocks(trials, length)
  local combinations = require "moonsand.study.overfit".combinations
  local blocks = 16
  while blocks > 4 and (length < 4 * blocks or combinations(blocks) * trials > most_work) do
    blocks = blocks - 2
  end
  return blocks
end

local function blocks_given(name, value, level)
  if math.type(value) ~= "integer" or value % 2 ~= 0 or value < 2 or value > 20 then
    local wanted = "an even number of blocks from 2 to 20"
    error(("option '%s': %s is not %s"):format(name, options_.show(value), wanted), level + 1)
  end
  return value
end

local overfit_options = { blocks = blocks_given, series = options_.text }

--- The probability of backtest overfitting: how often the winner of one half of the time is below the median in the
--- other (moonsand.study.overfit). Near 0: the choice holds. At 0.5: it says nothing. Above: it misleads.
---
--- Only curves of the same bars can be held against each other: of one length, with the same index (equity.index) where
--- they have one, of one data set in a sweep over several. Of all that is the largest group; filter() chooses another.
---
---     local o = assert(study:overfit_probability { blocks = 10 })
---     print(o.probability, o.loss_probability, #o.logits)
---
---@param options { blocks: integer?, series: string? }? blocks: even; 16, or fewer for short curves and many trials;
---series: "equity"
---@return table? result probability, logits, loss_probability, degradation, ..., left_out: complete trials without a
---usable curve of these bars; data: the data set, of several
---@return moonsand.Error? err fewer than two curves, or curves too short for the blocks
function Study:overfit_probability(options)
  options = options_.check("study:overfit_probability", options or {}, overfit_options, 2)
  local series, data_sets = options.series or "equity", self.meta.data
  local returns = require "moonsand.study.returns"
  local all, left_out = returns.all(self:trials "complete", series)
  local sets, data = returns.same_bars(all, series, type(data_sets) == "table" and #data_sets > 1)
  local length = sets[1] and #sets[1].returns or 0
  left_out = left_out + #all - #sets
  if #sets < 2 then
    return errors.fail("invalid", ("the probability of overfitting needs the equity curves of two complete trials or "
      .. "more, in series %s, of the same bars; there are %d"):format(options_.show(series), #sets))
  end
  local blocks = options.blocks or usual_blocks(#sets, length)
  if length < 2 * blocks then
    return errors.fail("invalid", ("curves with %d returns are too short for %d blocks: at least 2 for each"):format(
      length, blocks
    ))
  end
  local result = require "moonsand.study.overfit".cscv(sets, blocks)
  result.left_out, result.data = left_out, data
  return result
end

return Study
