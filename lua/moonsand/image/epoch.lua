--- Times as engines write them.

-- Days since 1970-01-01 of a date of the Gregorian calendar.
local function days(y, m, d)
  y = m <= 2 and y - 1 or y
  local era = y // 400
  local yoe = y - era * 400
  local doy = (153 * (m + (m > 2 and -3 or 9)) + 2) // 5 + d - 1
  return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468
end

--- Seconds since the epoch of "2026-11-23T01:02:03.4Z" or with an offset as "+01:00"; 0 for anything else,
--- and for what lies before 1970.
---@param s any
---@return integer
local function epoch(s)
  if math.type(s) == "integer" then
    return math.max(s, 0)
  elseif type(s) ~= "string" or #s > 64 then
    return 0
  end
  local y, mo, d, h, mi, sec, rest = s:match "^(%d%d%d%d)-(%d%d)-(%d%d)[T ](%d%d):(%d%d):(%d%d)%.?%d*(.*)$"
  if not y then
    return 0
  end
  local sign, oh, om = rest:match "^([+-])(%d%d):?(%d%d)$"
  local offset = sign and (tonumber(oh) * 3600 + tonumber(om) * 60) * (sign == "-" and -1 or 1) or 0
  local day = days(math.tointeger(y), math.tointeger(mo), math.tointeger(d))
  return math.max(math.tointeger(day * 86400 + h * 3600 + mi * 60 + sec - offset), 0)
end

return epoch
