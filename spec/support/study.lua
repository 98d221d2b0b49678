--- Stand-ins for a study, as the report reads one: trials, meta, and methods; and a real one.
local returns = require "moonsand.study.returns"
local studies = require "moonsand.study"

local M = {}

-- Numbers that are the same in every run.
local function numbers(seed)
  return function()
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return seed / 0x7fffffff
  end
end

local kinds = { "sma", "ema", "wma" }
local reasons = { "error", "timeout", "oom" }

local function series(rnd, n)
  local equity, index, x = {}, {}, 10000
  for i = 1, n do
    x = x * (1 + (rnd() - 0.485) * 0.03)
    equity[i], index[i] = x, os.date("!%Y-%m-%d", 1092873600 + i * 86400)
  end
  return { equity = equity, ["equity.index"] = index }
end

--- n trials over three parameters; every 25th failed, of a long study every 10th pruned; the objective falls with the
--- distance from fast = 10, slow = 15.
---@param n integer
---@param metrics integer? metrics of each trial; 20
---@return table study
function M.new(n, metrics)
  local rnd, trials = numbers(7), {}
  for i = 1, n do
    local params = { fast = 5 + i % 5 * 5, slow = 10 + i // 5 % 12 * 5, kind = kinds[i % 3 + 1] }
    local value = 77829 - 40 * (params.fast - 10) ^ 2 - 9 * (params.slow - 15) ^ 2 + rnd() * 500
    local trial = {
      number = i, params = params, state = "complete", value = value, metrics = { Final = value },
      wall_s = 0.02 + rnd() / 99, cpu_s = 0.02, memory_peak = 9e7, started = 1.7e9 + i * 0.02, attempts = 1,
    }
    for k = 1, metrics or 20 do
      trial.metrics["Metric " .. k] = (rnd() - 0.3) * 10 ^ (k % 5)
    end
    if i % 25 == 0 then
      local reason = reasons[i // 25 % 3 + 1]
      trial.state, trial.value, trial.metrics, trial.reason = "failed", nil, {}, reason
      trial.message = reason == "error" and "ZeroDivisionError: division by zero" or "killed"
    elseif n > 100 and i % 10 == 0 then
      trial.state = "pruned"
    end
    if n <= 100 or i % 100 == 1 then
      trial.series = series(rnd, 300)
    end
    trials[i] = trial
  end
  local windows = {}
  for i = 1, 5 do
    windows[i] = {
      in_sample = { from = ("200%d-01-01"):format(i), to = ("200%d-12-31"):format(i) },
      out_of_sample = { from = ("200%d-01-01"):format(i + 1), to = ("200%d-06-30"):format(i + 1) },
      params = { fast = 5 * i, slow = 50 }, in_value = 1 + rnd(), out_value = rnd(),
      reason = i == 4 and "stopped before the end" or nil,
    }
  end
  return {
    trials = trials,
    meta = {
      objective = "Final", direction = "maximize", script = "sma_cross.py", sampler = "grid", started = 1.7e9,
      ended = 1.7e9 + n * 0.02, stopped = "the space is exhausted", walkforward = { windows = windows },
      params = { { name = "fast", kind = "range", low = 5, high = 25, step = 5 } },
    },
    warnings = { "a plugin raised" },
    importance = function()
      return { fast = 0.61, slow = 0.3, kind = 0.09 }
    end,
  }
end

--- A real study, of trials with equity curves of the same 300 days: plateau(), deflated_sharpe(),
--- overfit_probability(), importance() and pareto() have answers.
---@param n integer
---@param objectives any of the meta; "Sharpe"
---@return moonsand.Study
function M.real(n, objectives)
  local rnd, trials = numbers(11), {}
  for i = 1, n do
    local curve = series(rnd, 300)
    local r = returns.of(curve.equity)
    local fast, slow = 5 + i % 5 * 5, 10 + i // 5 % 12 * 5
    local sharpe = returns.sharpe(r, 252) - (fast - 10) ^ 2 / 200 - (slow - 15) ^ 2 / 2000
    local metrics = { Sharpe = sharpe, Trades = 10 + math.floor(100 * rnd()) }
    trials[i] = {
      number = i, params = { fast = fast, slow = slow }, state = "complete", metrics = metrics, series = curve,
      started = 1.7e9 + i, wall_s = 0.5,
    }
    if objectives then
      trials[i].values = { metrics.Sharpe, metrics.Trades }
    else
      trials[i].value = sharpe
    end
  end
  return studies.new { trials = trials, meta = { objective = objectives or "Sharpe", script = "real.py",
    params = { { name = "fast", kind = "range", low = 5, high = 25, step = 5 },
      { name = "slow", kind = "range", low = 10, high = 65, step = 5 } } } }
end

return M
