--- A small random forest of regression trees, for the importance of parameters: deterministic, and quick enough in
--- plain Lua because values are sorted into at most 64 bins once.
local M = {}

local max_bins = 64

--- SplitMix64: a generator of our own, so that a result depends on nothing but the trials.
---@param seed integer
---@return fun(n: integer): integer below an integer from 1 to n
function M.generator(seed)
  local state = seed
  return function(n)
    state = state + 0x9e3779b97f4a7c15
    local z = state
    z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
    z = (z ~ (z >> 27)) * 0x94d049bb133111eb
    return (((z ~ (z >> 31)) >> 11) % n) + 1
  end
end

--- Turns one parameter's values into bin numbers from 1. Numbers keep their order (equal shares of the trials to a
--- bin when there are many); texts and mixtures are categories; "not there" is a bin of its own, below all others.
---@param values any[] one for each trial, nil where the parameter is not active
---@param n integer number of trials
---@return { bins: integer[], count: integer, ordered: boolean, present: boolean[] }
function M.bin(values, n)
  local seen, distinct, ordered = {}, {}, true
  local present = {}
  for i = 1, n do
    local value = values[i]
    present[i] = value ~= nil and value == value
    if present[i] then
      ordered = ordered and type(value) == "number"
      local count = seen[value]
      if not count then
        distinct[#distinct + 1] = value
      end
      seen[value] = (count or 0) + 1
    end
  end
  local bin_of, count = {}, 1 -- bin 1: not there
  if ordered then
    table.sort(distinct)
    local share, filled = math.max(1, n // (max_bins - 1)), math.huge
    for _, value in ipairs(distinct) do
      if #distinct < max_bins or filled >= share then
        count, filled = count + 1, 0
      end
      filled = filled + seen[value]
      bin_of[value] = count
    end
  else
    -- The most frequent categories have a bin each; the rest share the last.
    table.sort(distinct, function(a, b)
      if seen[a] ~= seen[b] then
        return seen[a] > seen[b]
      end
      return type(a) .. tostring(a) < type(b) .. tostring(b)
    end)
    for _, value in ipairs(distinct) do
      count = math.min(count + 1, max_bins)
      bin_of[value] = count
    end
  end
  local bins = {}
  for i = 1, n do
    bins[i] = present[i] and bin_of[values[i]] or 1
  end
  return { bins = bins, count = count, ordered = ordered, present = present }
end

-- The best cut of one parameter in one node: bins in their order, categories in the order of their mean (which
-- contains the best of all ways to part them). Returns the gain and the last bin, or the set of bins, that goes left.
local function best_cut(column, rows, y, min_leaf, sums, counts)
  local bins, used = column.bins, {}
  for _, row in ipairs(rows) do
    local b = bins[row]
    if counts[b] then
      sums[b], counts[b] = sums[b] + y[row], counts[b] + 1
    else
      sums[b], counts[b] = y[row], 1
      used[#used + 1] = b
    end
  end
  local gain, cut = 0.0, nil
  if #used > 1 then
    if column.ordered then
      table.sort(used)
    else
      table.sort(used, function(a, b)
        local x, z = sums[a] / counts[a], sums[b] / counts[b]
        if x ~= z then
          return x < z
        end
        return a < b
      end)
    end
    local n, total = #rows, 0.0
    for _, b in ipairs(used) do
      total = total + sums[b]
    end
    local base, left, sum = total * total / n, 0, 0.0
    for k = 1, #used - 1 do
      left, sum = left + counts[used[k]], sum + sums[used[k]]
      local right = n - left
      if left >= min_leaf and right >= min_leaf then
        local rest = total - sum
        local here = sum * sum / left + rest * rest / right - base
        if here > gain then
          gain, cut = here, k
        end
      end
    end
  end
  local edge, set
  if cut and column.ordered then
    edge = (used[cut] + used[cut + 1]) // 2 -- bins that the node has not seen go with their neighbours
  elseif cut then
    set = {}
    for k = 1, cut do
      set[used[k]] = true
    end
  end
  for _, b in ipairs(used) do
    sums[b], counts[b] = nil, nil
  end
  return gain, edge, set
end

local function goes_left(node, bin)
  if node.edge then
    return bin <= node.edge
  end
  return node.set[bin] -- a category that the node has not seen goes right
end

local function grow(columns, rows, y, options, depth)
  local sum, squares = 0.0, 0.0
  for _, row in ipairs(rows) do
    sum, squares = sum + y[row], squares + y[row] * y[row]
  end
  local node = { value = sum / #rows }
  local spread = squares - sum * node.value
  if depth >= 32 or #rows < 2 * options.min_leaf or spread <= 1e-12 * squares then
    return node
  end
  local best = spread * 1e-9
  for k = 1, #columns do
    local gain, edge, set = best_cut(columns[k], rows, y, options.min_leaf, options.sums, options.counts)
    -- The first of equals: the caller puts parameters on which others depend first.
    if gain > best * (1 + 1e-9) then
      best, node.column, node.edge, node.set = gain, k, edge, set
    end
  end
  if not node.column then
    return node
  end
  local bins, left, right = columns[node.column].bins, {}, {}
  for _, row in ipairs(rows) do
    local side = goes_left(node, bins[row]) and left or right
    side[#side + 1] = row
  end
  node.left = grow(columns, left, y, options, depth + 1)
  node.right = grow(columns, right, y, options, depth + 1)
  return node
end

--- What a tree says of a point, given as one bin for each parameter.
---@param tree table
---@param point integer[]
---@return number
function M.predict(tree, point)
  while tree.column do
    tree = goes_left(tree, point[tree.column]) and tree.left or tree.right
  end
  return tree.value
end

--- Grows trees, each on as many trials as there are, drawn with replacement.
---@param columns table[] from bin()
---@param y number[]
---@param options { trees: integer, min_leaf: integer, seed: integer }
---@return table[] trees
---@return boolean[][] drawn for each tree: which trials it has seen
function M.grow(columns, y, options)
  local n, draw = #y, M.generator(options.seed)
  local trees, drawn = {}, {}
  local how = { min_leaf = options.min_leaf, sums = {}, counts = {} }
  for t = 1, options.trees do
    local rows, seen = {}, {}
    for i = 1, n do
      rows[i] = draw(n)
      seen[rows[i]] = true
    end
    trees[t], drawn[t] = grow(columns, rows, y, how, 0), seen
  end
  return trees, drawn
end

return M
