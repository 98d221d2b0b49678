--- A density over points of the unit cube that some observations make: a kernel around each of them, and the uniform
--- density as one more, so that no place is impossible. A kernel is a product over the parameters: a normal
--- distribution cut off at 0 and 1 for numbers, mostly the same value for names. Densities are relative to the uniform
--- one, which is 1 in each parameter: a parameter that an observation does not have counts as that.
---
--- Rows are arrays with one entry per parameter: a number from 0 to 1, the index of a name, or false.
local M = {}

local root = math.sqrt(2 * math.pi)
local exp = math.exp

-- The normal distribution function, to 2e-4: the weight of a kernel's part inside is all that it is for.
local function below(z)
  return 1 / (1 + exp(-z * (1.5976 + 0.07056 * z * z)))
end

---@class moonsand.Parzen
---@field rows table[]
---@field widths (number|false)[] false for names
---@field narrow (number|false)[] one divided by them
local Parzen = {}
Parzen.__index = Parzen

-- Silverman's rule over the observations and one more that is spread evenly: few observations make wide kernels,
-- many that agree make narrow ones.
local function width(rows, d, exponent, least)
  local n, sum, squares = 0, 0.0, 0.0
  for _, row in ipairs(rows) do
    local x = row[d]
    if x then
      n, sum, squares = n + 1, sum + x, squares + x * x
    end
  end
  local mean = n > 0 and sum / n or 0.5
  local variance = (math.max(0, squares - n * mean * mean) + 1 / 12) / (n + 1)
  return math.max(least, 1.06 * math.sqrt(variance) * (n + 1) ^ exponent)
end

--- Of rows, and what is known of each parameter: { names = count } or { least = the narrowest that a kernel may be }.
---@param rows table[]
---@param parameters { names: integer?, least: number? }[]
---@return moonsand.Parzen
function M.new(rows, parameters)
  local numeric = 0
  for _, parameter in ipairs(parameters) do
    numeric = numeric + (parameter.names and 0 or 1)
  end
  local self = setmetatable({ parameters = parameters, widths = {}, narrow = {}, same = {}, other = {} }, Parzen)
  local kernels = {}
  for k = 1, #rows do
    kernels[k] = table.move(rows[k], 1, #parameters, 1, {})
  end
  local n, many = #rows + 1, #parameters
  for d, parameter in ipairs(parameters) do
    local names = parameter.names
    if names then
      self.widths[d], self.narrow[d] = false, false
      self.same[d] = (1 + 1 / n) / (1 + names / n) * names
      self.other[d] = (1 / n) / (1 + names / n) * names
    else
      local h = width(rows, d, -1 / (numeric + 4), parameter.least)
      self.widths[d], self.narrow[d] = h, 1 / h
      for k = 1, #rows do
        local x = rows[k][d]
        -- Beside the observation stands what its kernel is divided by.
        kernels[k][many + d] = x and 1 / (h * root * (below((1 - x) / h) - below(-x / h)))
      end
    end
  end
  self.rows = kernels
  return self
end

--- The density at a row.
---@param at table
---@return number
function Parzen:density(at)
  local rows, narrow, same, other = self.rows, self.narrow, self.same, self.other
  local many, sum = #narrow, 1.0
  for k = 1, #rows do
    local row, factor, far = rows[k], 1.0, 0.0
    for d = 1, many do
      local x, y = at[d], row[d]
      if x and y then
        local h = narrow[d]
        if h then
          local z = (x - y) * h
          far, factor = far + z * z, factor * row[many + d]
        else
          factor = factor * (x == y and same[d] or other[d])
        end
      end
    end
    if far < 80 then
      sum = sum + factor * exp(-0.5 * far)
    end
  end
  return sum / (#rows + 1)
end

--- A random kernel's row, or nil for the uniform one.
---@param rng moonsand.Random
---@return table?
function Parzen:kernel(rng)
  return self.rows[rng:below(#self.rows + 1) + 1]
end

--- A random entry for parameter d from a kernel: a number from 0 (1 left out) or the index of a name.
---@param rng moonsand.Random
---@param d integer
---@param kernel table? nil, or without the parameter: from the uniform one
---@return number
function Parzen:draw(rng, d, kernel)
  local y, h, names = kernel and kernel[d], self.widths[d], self.parameters[d].names
  if not h then
    -- `other` is relative to the uniform density, and so just the chance of drawing evenly.
    return y and rng:float() >= self.other[d] and y or rng:below(names)
  elseif y then
    for _ = 1, 20 do
      local x = y + h * rng:normal()
      if x >= 0 and x < 1 then
        return x
      end
    end
  end
  return rng:float()
end

return M
