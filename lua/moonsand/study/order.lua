--- Sorting, the best n, groups and the pivot table, for hundreds of thousands of trials.
local numbers = require "moonsand.study.numbers"

local M = {}

-- Each class of values is sorted by itself: numbers, then texts, then false and true.
local function class(value)
  local kind = type(value)
  if kind == "number" then
    return value == value and 1 or nil -- NaN is in no order with anything
  end
  return kind == "string" and 2 or kind == "boolean" and 3 or nil
end

-- Values are put into buckets first and only the distinct ones are sorted, without a comparison function: that is
-- stable, several times faster than table.sort with one, and cannot meet an inconsistent order. Most values come
-- once: `first` holds their trial, and `more` a list only where there are others.
local function distribute(trials, get)
  local first, more, classes, nan, none = {}, {}, { {}, {}, {} }, {}, {}
  for i = 1, #trials do
    local trial = trials[i]
    local value = get(trial)
    local kind = class(value)
    if kind then
      if first[value] == nil then
        first[value] = trial
        local list = classes[kind]
        list[#list + 1] = value
      else
        local list = more[value]
        if list then
          list[#list + 1] = trial
        else
          more[value] = { trial }
        end
      end
    elseif value ~= value then
      nan[#nan + 1] = trial
    else
      none[#none + 1] = trial
    end
  end
  table.sort(classes[1])
  table.sort(classes[2])
  local values = table.move(classes[2], 1, #classes[2], #classes[1] + 1, classes[1])
  for _, flag in ipairs { false, true } do
    if first[flag] then
      values[#values + 1] = flag
    end
  end
  return values, first, more, nan, none
end

--- The distinct values of a list of trials in ascending order, each with its trials in the order of the list.
---@param trials table[]
---@param get fun(trial: table): any
---@return any[] values
---@return table<any, table[]> buckets
---@return table[] rest trials whose value is NaN, then those without one
function M.buckets(trials, get)
  local values, first, more, nan, none = distribute(trials, get)
  local buckets = {}
  for _, value in ipairs(values) do
    local others = more[value] or {}
    buckets[value] = table.move(others, 1, #others, 2, { first[value] })
  end
  return values, buckets, table.move(none, 1, #none, #nan + 1, nan)
end

--- A new list in order; stable. NaN and trials without the value come last, whatever the direction.
---@param trials table[]
---@param get fun(trial: table): any
---@param descending boolean?
---@return table[]
function M.sort(trials, get, descending)
  local values, first, more, nan, none = distribute(trials, get)
  local out, n = {}, 0
  local from, to, step = 1, #values, 1
  if descending then
    from, to, step = to, from, -1
  end
  for i = from, to, step do
    local value = values[i]
    n = n + 1
    out[n] = first[value]
    local others = more[value]
    if others then
      table.move(others, 1, #others, n + 1, out)
      n = n + #others
    end
  end
  table.move(nan, 1, #nan, n + 1, out)
  table.move(none, 1, #none, n + #nan + 1, out)
  return out
end

--- The n best of a list, best first, by a heap of n whose root is the worst that is still in.
---@param trials table[]
---@param score fun(trial: table): number? more is better; nil: not in question
---@param n integer
---@param ahead fun(a: table, b: table): boolean decides between equal scores
---@return table[]
function M.top(trials, score, n, ahead)
  local heap, scores, size = {}, {}, 0

  local function worse(i, j)
    local a, b = scores[i], scores[j]
    if a ~= b then
      return a < b
    end
    return ahead(heap[j], heap[i])
  end

  local function swap(i, j)
    heap[i], heap[j] = heap[j], heap[i]
    scores[i], scores[j] = scores[j], scores[i]
  end

  local function sink(i, limit)
    while true do
      local child = 2 * i
      if child > limit then
        return
      elseif child < limit and worse(child + 1, child) then
        child = child + 1
      end
      if not worse(child, i) then
        return
      end
      swap(i, child)
      i = child
    end
  end

  if n < 1 then
    return heap
  end
  for k = 1, #trials do
    local trial = trials[k]
    local s = score(trial)
    if s and size < n then
      size = size + 1
      heap[size], scores[size] = trial, s
      local i = size
      while i > 1 and worse(i, i // 2) do
        swap(i, i // 2)
        i = i // 2
      end
    elseif s and (s > scores[1] or s == scores[1] and ahead(trial, heap[1])) then
      heap[1], scores[1] = trial, s
      sink(1, size)
    end
  end
  -- Taking the worst away to the end, one after another, leaves them best first.
  for limit = size, 2, -1 do
    swap(1, limit)
    sink(1, limit - 1)
  end
  return heap
end

-- Not math.min(table.unpack(list)): the stack has an end, and a cell may hold 100,000 trials.
local function fold(pick)
  return function(list)
    local out = list[1]
    for i = 2, #list do
      out = pick(out, list[i])
    end
    return out
  end
end

--- What a pivot's cell says of the numbers in it.
M.aggregates = {
  mean = numbers.mean,
  median = numbers.median,
  min = fold(math.min),
  max = fold(math.max),
  count = function(list)
    return #list
  end,
  first = function(list)
    return list[1]
  end,
}

--- Rows by columns: one number for each pair of values that some trial has.
---@param trials table[]
---@param row fun(trial: table): any
---@param column fun(trial: table): any
---@param metric fun(trial: table): any
---@param aggregate fun(list: number[]): number?
---@return table pivot rows, columns, cells, counts, min, max, left_out
function M.pivot(trials, row, column, metric, aggregate)
  local rows, in_row = M.buckets(trials, row)
  local columns = M.buckets(trials, column)
  local column_index = {}
  for j, value in ipairs(columns) do
    column_index[value] = j
  end
  local pivot = { rows = rows, columns = columns, cells = {}, counts = {}, left_out = #trials }
  for i, value in ipairs(rows) do
    local lists = {}
    for _, trial in ipairs(in_row[value]) do
      local c, number = column(trial), metric(trial)
      local j = c ~= nil and c == c and column_index[c]
      if j and type(number) == "number" and number == number then
        local list = lists[j]
        if not list then
          list = {}
          lists[j] = list
        end
        list[#list + 1] = number
        pivot.left_out = pivot.left_out - 1
      end
    end
    local cells, counts = {}, {}
    for j = 1, #columns do
      local list = lists[j] or {}
      counts[j] = #list
      if #list > 0 then
        local cell = aggregate(list)
        cells[j] = cell
        if numbers.finite(cell) then
          pivot.min = math.min(pivot.min or cell, cell)
          pivot.max = math.max(pivot.max or cell, cell)
        end
      end
    end
    pivot.cells[i], pivot.counts[i] = cells, counts
  end
  return pivot
end

return M
