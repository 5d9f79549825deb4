-- Count the evaluations of one report: called by report.lua once nothing can be wrong any more.
--
-- evaluations is a map:
--   instance, evaluated, askers, unknown, unknown_askers, flags, series (numbers of keys)
--   application, host (who asked, and where; may be empty)
--   entries {{flag, estimated, {variant, total, ...}}, ...}; the variant '' is the default
--   steps   {{name, seconds, how many seconds it is kept}, ...}
-- Returns whether an application asked for a flag for the first time.

local ESTIMATED = '~'
local SINCE = '|'

-- Return a function that says whether a hash has a field, or room for it; it is asked for so many
-- fields at most.
local function room_in(key, most, asked)
  local room = most - redis.call('HLEN', key)
  if room >= asked then
    return function()
      return true
    end
  end
  return function(field)
    if redis.call('HEXISTS', key, field) == 1 then
      return true
    end
    room = room - 1
    return room >= 0
  end
end

local function add_evaluations(evaluations, now, most, expiry, limits)
  local instance, evaluated = KEYS[evaluations.instance], KEYS[evaluations.evaluated]
  if #evaluations.entries == 0 then -- as in most reports
    redis.call('EXPIRE', instance, expiry)
    return false
  end
  local is_first = false
  local askers, unknown = KEYS[evaluations.askers], KEYS[evaluations.unknown]
  local application = evaluations.application
  local at = string.format('%d', now)
  local asked = 0
  for _, entry in ipairs(evaluations.entries) do
    asked = asked + #entry[3] / 2
  end
  local fits = room_in(instance, limits.evaluated, asked)
  local asker_fits = room_in(askers, limits.askers, #evaluations.entries)

  local series = {}
  for _, step in ipairs(evaluations.steps) do
    local number = string.format('%d', math.floor(now / 1000 / step[2]))
    local key = KEYS[evaluations.series] .. ':' .. step[1] .. ':' .. number
    series[#series + 1] = {key, room_in(key, limits.series, asked), step[3]}
  end

  local function add_to_series(field, more)
    for _, each in ipairs(series) do
      if each[2](field) then
        redis.call('HINCRBY', each[1], field, string.format('%.0f', more))
      end
    end
  end

  local function mark_estimated(flag)
    for _, each in ipairs(series) do
      redis.call('HSETNX', each[1], flag .. '|' .. ESTIMATED, 1)
    end
  end

  for _, entry in ipairs(evaluations.entries) do
    local flag, totals = entry[1], entry[3]
    local known = redis.call('HEXISTS', KEYS[evaluations.flags], flag) == 1
    local seen, fields, changed = {flag, at}, {}, {}
    for i = 1, #totals, 2 do
      fields[#fields + 1] = flag .. '|' .. totals[i]
    end
    local before = redis.call('HMGET', instance, unpack(fields))
    for i, field in ipairs(fields) do
      local last, total = tonumber(before[i] or '0'), totals[2 * i]
      if total > last and fits(field) then
        changed[#changed + 1] = field
        changed[#changed + 1] = string.format('%.0f', total)
        if known then
          add_to_series(field, math.min(total - last, most))
        end
        seen[#seen + 1] = field
        seen[#seen + 1] = at
      end
    end
    if #changed > 0 then
      redis.call('HSET', instance, unpack(changed))
    end
    if #seen > 2 and known then
      redis.call('HSET', evaluated, unpack(seen))
      if entry[2] then
        mark_estimated(flag)
      end
      local asker = flag .. '|' .. application
      if application ~= '' and asker_fits(asker) then
        is_first = redis.call('HSET', askers, asker, at .. ' ' .. evaluations.host) == 1 or is_first
      end
    elseif #seen > 2 then
      redis.call('ZADD', unknown, at, flag)
      redis.call('HSET', KEYS[evaluations.unknown_askers], flag, application)
    end
  end

  redis.call('HSETNX', evaluated, SINCE, at)
  for _, each in ipairs(series) do
    redis.call('EXPIRE', each[1], each[3])
  end
  local surplus = redis.call('ZCARD', unknown) - limits.unknown
  if surplus > 0 then
    local oldest = redis.call('ZPOPMIN', unknown, surplus)
    for i = 1, #oldest, 2 do
      redis.call('HDEL', KEYS[evaluations.unknown_askers], oldest[i])
    end
  end
  redis.call('EXPIRE', instance, expiry)
  return is_first
end
