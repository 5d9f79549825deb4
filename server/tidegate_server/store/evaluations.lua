-- Count the evaluations of reports: called by reports.lua once nothing can be wrong any more.
--
-- KEYS: 10 when flags were evaluated, 11 who asked for them, 12 flags that do not exist, 13 who asked
--   for those, 14 flags, 15 the beginning of the keys of the series.
-- A report has application and host (who asked, and where; may be empty), and evaluations
--   {{flag, estimated, {variant, total, ...}}, ...}; the variant '' is the default.
-- settings.steps is {{name, seconds, how many seconds it is kept}, ...}.

local ESTIMATED = '~'
local SINCE = '|'

local flags = {}
local series
local unknown, unknown_number = {}, 0

local function is_flag(key)
  if flags[key] == nil then
    flags[key] = redis.call('HEXISTS', KEYS[14], key) == 1
  end
  return flags[key]
end

-- Return the counts of the present steps of time: {their hash, what is added, how long it is kept}.
local function present_series()
  if not series then
    series = {}
    for i, step in ipairs(settings.steps) do
      local number = string.format('%d', math.floor(now / 1000 / step[2]))
      local key = KEYS[15] .. ':' .. step[1] .. ':' .. number
      series[i] = {hash_of(key), {}, step[3]}
    end
  end
  return series
end

-- Count the evaluations of a report beside those of its instance; return whether its application
-- asked for a flag for the first time. A total grew by `most` at most.
local function add_evaluations(report, instance, most)
  local entries = report.evaluations
  if #entries == 0 then -- as in most reports
    return false
  end
  local evaluated, askers = hash_of(KEYS[10]), hash_of(KEYS[11])
  local application, is_first = report.application, false
  local all, asking = {}, {}
  for i, entry in ipairs(entries) do
    local flag, totals = entry[1], entry[3]
    for j = 1, #totals, 2 do
      all[#all + 1] = flag .. '|' .. totals[j]
    end
    asking[i] = flag .. '|' .. application
  end
  size_of(instance)
  read_fields(instance, all)
  if application ~= '' then
    read_fields(askers, asking)
  end
  local place = 0
  for i, entry in ipairs(entries) do
    local flag, totals = entry[1], entry[3]
    local known, grew = is_flag(flag), false
    for j = 2, #totals, 2 do
      place = place + 1
      local field, total = all[place], totals[j]
      local last = number_in(instance, field)
      if total > last and has_room(instance, field, settings.limits.evaluated) then
        put(instance, field, total)
        grew = true
        if known then
          put(evaluated, field, now)
          for _, each in ipairs(present_series()) do
            each[2][field] = (each[2][field] or 0) + math.min(total - last, most)
          end
        end
      end
    end
    if grew and known then
      put(evaluated, flag, now)
      if entry[2] then
        for _, each in ipairs(present_series()) do
          put(each[1], flag .. '|' .. ESTIMATED, 1)
        end
      end
      local asker = asking[i]
      if application ~= '' and has_room(askers, asker, settings.limits.askers) then
        is_first = is_first or not askers.fields[asker]
        put(askers, asker, string.format('%.0f ', now) .. report.host)
      end
    elseif grew and unknown_number < settings.limits.unknown then
      -- More than are remembered would only be written to be removed again.
      unknown_number = unknown_number + (unknown[flag] and 0 or 1)
      unknown[flag] = application
    end
  end
  present_series()
  return is_first
end

-- Put what was added to the series into their hashes.
local function put_series()
  for _, each in ipairs(series or {}) do
    local hash, added, names = each[1], each[2], {}
    for name in pairs(added) do
      names[#names + 1] = name
    end
    read_fields(hash, names)
    size_of(hash)
    for _, name in ipairs(names) do
      if has_room(hash, name, settings.limits.series) then
        raise(hash, name, added[name], settings.limits.total)
      end
    end
  end
end

-- Write what does not belong to hashes; these are written already.
local function end_evaluations()
  if not series then
    return
  end
  redis.call('HSETNX', KEYS[10], SINCE, now)
  for _, each in ipairs(series) do
    redis.call('EXPIRE', each[1].key, each[3])
  end
  if next(unknown) == nil then
    return
  end
  set_fields(KEYS[13], unknown)
  for flag in pairs(unknown) do
    redis.call('ZADD', KEYS[12], now, flag)
  end
  local surplus = redis.call('ZCARD', KEYS[12]) - settings.limits.unknown
  if surplus > 0 then
    local oldest = redis.call('ZPOPMIN', KEYS[12], surplus)
    for i = 1, #oldest, 2 do
      redis.call('HDEL', KEYS[13], oldest[i])
    end
  end
end
