--- The probability of backtest overfitting, by combinatorially symmetric cross-validation.
---
--- D. H. Bailey, J. M. Borwein, M. Lopez de Prado and Q. J. Zhu, The Probability of Backtest Overfitting, Journal of
--- Computational Finance 20(4), 2015. The returns of all trials are cut into S blocks of time. For each choice of
--- S/2 blocks the trial that is best in them (in sample) is looked at in the other half (out of sample): at which
--- share w of the ranks does it come there? The logit ln(w / (1 - w)) is below 0 when the winner is worse than the
--- median. The share of choices where it is not above 0 is the probability.
local numbers = require "moonsand.study.numbers"

local M = {}

-- Sharpe ratio of one period out of count, sum and sum of squares of what was left after the trial's own mean was
-- taken away: large means leave no digits otherwise. A flat stretch without a gain counts as 0.
local function sharpe(count, sum, squares, mean)
  local off = sum / count
  local variance = (squares - sum * off) / (count - 1)
  local level = mean + off
  if variance > 1e-30 + 1e-13 * squares / count then
    return level / math.sqrt(variance)
  end
  return level > 1e-15 and math.huge or level < -1e-15 and -math.huge or 0.0
end

-- For each trial, each block's sum and sum of squares; all blocks have lengths that differ by 1 at most.
local function blocks_of(sets, length, blocks)
  local starts, sums, squares, means = {}, {}, {}, {}
  for b = 1, blocks + 1 do
    starts[b] = (b - 1) * length // blocks + 1
  end
  for b = 1, blocks do
    sums[b], squares[b] = {}, {}
  end
  for i, set in ipairs(sets) do
    local list = set.returns
    local mean = numbers.mean(list)
    means[i] = mean
    for b = 1, blocks do
      local sum, square = 0.0, 0.0
      for t = starts[b], starts[b + 1] - 1 do
        local d = list[t] - mean
        sum, square = sum + d, square + d * d
      end
      sums[b][i], squares[b][i] = sum, square
    end
  end
  return starts, sums, squares, means
end

-- Calls visit(count, sum, squares) once for each choice of half the blocks. The sums of a choice are made from those
-- of its beginning, so one more block costs one addition for each trial.
local function choices(starts, sums, squares, trials, visit)
  local blocks = #sums
  local half = blocks // 2
  local sum_at, square_at = {}, {}
  for depth = 0, half do
    sum_at[depth], square_at[depth] = {}, {}
  end
  for i = 1, trials do
    sum_at[0][i], square_at[0][i] = 0.0, 0.0
  end

  local function descend(depth, first, count)
    if depth == half then
      visit(count, sum_at[depth], square_at[depth])
      return
    end
    local sum, square = sum_at[depth], square_at[depth]
    local sum_next, square_next = sum_at[depth + 1], square_at[depth + 1]
    for b = first, blocks - (half - depth) + 1 do
      local sum_b, square_b = sums[b], squares[b]
      for i = 1, trials do
        sum_next[i], square_next[i] = sum[i] + sum_b[i], square[i] + square_b[i]
      end
      descend(depth + 1, b + 1, count + starts[b + 1] - starts[b])
    end
  end
  descend(0, 1, 0)
end

-- Out of sample on in sample, of the winners: does more in sample mean more, or less, out of sample?
local function degradation(inside, outside)
  local xs, ys = {}, {}
  for k = 1, #inside do
    if numbers.finite(inside[k]) and numbers.finite(outside[k]) then
      xs[#xs + 1], ys[#ys + 1] = inside[k], outside[k]
    end
  end
  local r, x, y = numbers.pearson(xs, ys), numbers.moments(xs), numbers.moments(ys)
  if not r then
    return nil
  end
  local slope = r * math.sqrt(y.m2 / x.m2)
  return { slope = slope, intercept = y.mean - slope * x.mean, r2 = r * r }
end

--- How many choices of half the blocks there are.
---@param blocks integer even
---@return integer
function M.combinations(blocks)
  local out = 1
  for k = 1, blocks // 2 do
    out = out * (blocks - blocks // 2 + k) // k
  end
  return out
end

--- The whole computation. Costs combinations(blocks) times the number of trials.
---@param sets { returns: number[] }[] at least two, all of one length, at least 2 * blocks long
---@param blocks integer S: even, 2 to 20
---@return table result
---  probability: share of choices with a logit of at most 0;
---  logits: one for each choice; median_logit;
---  loss_probability: share of choices whose winner has a Sharpe ratio below 0 out of sample;
---  degradation: { slope, intercept, r2 } of the winners' Sharpe ratios out of sample on those in sample, or nil;
---  inside, outside: those Sharpe ratios (one period), for a chart;
---  combinations, blocks, trials, observations.
function M.cscv(sets, blocks)
  local trials, length = #sets, #sets[1].returns
  local starts, sums, squares, means = blocks_of(sets, length, blocks)
  local total_sum, total_square = {}, {}
  for i = 1, trials do
    local sum, square = 0.0, 0.0
    for b = 1, blocks do
      sum, square = sum + sums[b][i], square + squares[b][i]
    end
    total_sum[i], total_square[i] = sum, square
  end
  local logits, inside, outside, losses, overfit = {}, {}, {}, 0, 0
  local out = {}

  choices(starts, sums, squares, trials, function(count, sum, square)
    local best, winner = -math.huge, 1
    for i = 1, trials do
      local ratio = sharpe(count, sum[i], square[i], means[i])
      if ratio > best then
        best, winner = ratio, i
      end
      out[i] = sharpe(length - count, total_sum[i] - sum[i], total_square[i] - square[i], means[i])
    end
    local won, below, equal = out[winner], 0, 0
    for i = 1, trials do
      if out[i] < won then
        below = below + 1
      elseif out[i] == won then
        equal = equal + 1
      end
    end
    -- Equal ones share their ranks; the winner is among them.
    local share = (below + (equal + 1) / 2) / (trials + 1)
    local k = #logits + 1
    logits[k], inside[k], outside[k] = math.log(share / (1 - share)), best, won
    overfit = overfit + (share <= 0.5 and 1 or 0)
    losses = losses + (won < 0 and 1 or 0)
  end)

  return {
    probability = overfit / #logits,
    logits = logits,
    median_logit = numbers.median(logits),
    loss_probability = losses / #logits,
    degradation = degradation(inside, outside),
    inside = inside,
    outside = outside,
    combinations = #logits,
    blocks = blocks,
    trials = trials,
    observations = length,
  }
end

return M
