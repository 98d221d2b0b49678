--- The Deflated Sharpe Ratio: is the best of many still good when one knows how many were tried?
---
--- D. H. Bailey and M. Lopez de Prado, The Deflated Sharpe Ratio: Correcting for Selection Bias, Backtest
--- Overfitting and Non-Normality, Journal of Portfolio Management 40(5), 2014. All Sharpe ratios here are those of
--- one period (a day's, say), not annual ones.
local errors = require "moonsand.errors"
local numbers = require "moonsand.study.numbers"
local returns = require "moonsand.study.returns"

local M = {}

local euler = 0.57721566490153286 -- Euler's and Mascheroni's constant

--- The highest Sharpe ratio that is to be expected of n trials none of which has any skill.
---@param trials number how many independent trials; below 2 there was no choice, and it is 0
---@param variance number of the trials' Sharpe ratios, of one period
---@return number
function M.expected_maximum(trials, variance)
  if trials < 2 then
    return 0.0
  end
  -- The inverse at 1 - q is minus the inverse at q, where q has all its digits.
  return math.sqrt(variance)
    * (-(1 - euler) * numbers.normal_inverse(1 / trials) - euler * numbers.normal_inverse(math.exp(-1) / trials))
end

--- The probability that the true Sharpe ratio is above `benchmark`, given one that was seen.
---@param sharpe number of one period
---@param benchmark number of one period
---@param observations integer number of returns
---@param skewness number
---@param kurtosis number 3 for a normal distribution
---@return number? probability nil when the moments contradict each other (the variance would not be positive)
function M.probabilistic(sharpe, benchmark, observations, skewness, kurtosis)
  local spread = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe * sharpe
  if spread > 0 then
    return numbers.normal((sharpe - benchmark) * math.sqrt(observations - 1) / math.sqrt(spread))
  end
  return nil
end

--- From the figures alone. The example in the paper:
---
---     local d = deflated.from_figures {
---       sharpe = 2.5 / math.sqrt(250), observations = 1250, skewness = -3, kurtosis = 10,
---       trials = 100, variance = 0.5 / 250,
---     }
---     print(d.benchmark, d.probability)     --> 0.1132 0.9004
---
---@param figures table sharpe, observations, trials, variance; skewness (0), kurtosis (3)
---@return table? result the figures, benchmark and probability
---@return moonsand.Error? err
function M.from_figures(figures)
  local result = {}
  for name, value in pairs(figures) do
    result[name] = value
  end
  result.skewness, result.kurtosis = figures.skewness or 0, figures.kurtosis or 3
  result.benchmark = M.expected_maximum(figures.trials, figures.variance)
  result.probability = M.probabilistic(
    figures.sharpe, result.benchmark, figures.observations, result.skewness, result.kurtosis
  )
  if not result.probability then
    return errors.fail(
      "invalid",
      ("the skewness %g and kurtosis %g do not go with a Sharpe ratio of %g a period"):format(
        result.skewness, result.kurtosis, figures.sharpe
      )
    )
  end
  return result
end

--- How many independent trials a set of correlated ones amounts to: r + (1 - r) n, with r the mean correlation of
--- all pairs (the paper's appendix). The sum over all pairs comes from the sum of the standardised series, so it
--- costs n times their length.
---@param sets { returns: number[] }[] of one length; others are not looked at
---@param n integer? how many there are, when not all have returns
---@return number
function M.independent(sets, n)
  n = n or #sets
  local length = sets[1] and #sets[1].returns or 0
  local sum, used = {}, 0
  for t = 1, length do
    sum[t] = 0.0
  end
  for _, set in ipairs(sets) do
    local moments = #set.returns == length and numbers.moments(set.returns)
    if moments and moments.m2 > 0 then
      local scale = 1 / math.sqrt(moments.m2)
      used = used + 1
      for t = 1, length do
        sum[t] = sum[t] + (set.returns[t] - moments.mean) * scale
      end
    end
  end
  if used < 2 then
    return n
  end
  local squares = 0.0
  for t = 1, length do
    squares = squares + sum[t] * sum[t]
  end
  local r = math.max(0, (squares / length - used) / (used * (used - 1)))
  return r + (1 - r) * n
end

--- For one trial among others, from their equity curves. A curve that was too long to be kept whole has returns over
--- several periods each: the probability is that of those, and the figures are turned into those of one period.
---@param sets { trial: table, returns: number[], periods: number }[]
---@param chosen { trial: table, returns: number[], periods: number }
---@param options { trials: number, independent: boolean?, variance: number?, periods_per_year: number? }
---@return table? result
---@return moonsand.Error? err
function M.from_returns(sets, chosen, options)
  local ratios = {}
  for _, set in ipairs(sets) do
    local ratio = returns.sharpe(set.returns) -- a flat curve has none and was no bet
    ratios[#ratios + 1] = ratio and ratio / math.sqrt(set.periods)
  end
  local moments, sharpe = numbers.moments(chosen.returns), returns.sharpe(chosen.returns)
  if not sharpe then
    return errors.fail("invalid", ("the equity of trial %d does not move: it has no Sharpe ratio"):format(
      chosen.trial.number
    ))
  end
  local trials = options.trials
  if options.independent then
    trials = M.independent(sets, trials)
  end
  local variance, periods = options.variance or numbers.variance(ratios) or 0.0, chosen.periods
  local result, err = M.from_figures {
    sharpe = sharpe,
    observations = #chosen.returns,
    skewness = moments.m3 / moments.m2 ^ 1.5,
    kurtosis = moments.m4 / moments.m2 ^ 2,
    trials = trials,
    variance = variance * periods,
  }
  if result then
    result.trial, result.periods = chosen.trial, periods
    result.sharpe, result.benchmark = sharpe / math.sqrt(periods), result.benchmark / math.sqrt(periods)
    result.variance, result.observations = variance, math.floor(#chosen.returns * periods + 0.5)
    local root = math.sqrt(options.periods_per_year or 1)
    result.annual_sharpe = options.periods_per_year and result.sharpe * root or nil
    result.annual_benchmark = options.periods_per_year and result.benchmark * root or nil
  end
  return result, err
end

return M
