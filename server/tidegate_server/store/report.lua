-- Add one report of one SDK instance: all of it or none.
--
-- KEYS: 1 the instance, 2 instances by the time of their last report, 3 the environment's
--   version, 4 kills, 5 receipts, 6 releases; then for each release of the report: its
--   evidence, its failing users, their filter; then the values of each step of a release.
-- ARGV[1] is a MessagePack map:
--   instance, sequence, continues, version, about ({name, value, ...}), expiry (seconds)
--   releases {id, ...}
--   totals   {{index of the release, field prefix, {exposures, outcomes, errors,
--             microseconds}}, ...}
--   failing  {{index of the release, field prefix, {user, ...}, overflow}, ...}
--   values   {{index of the key, index of the release, the instance's field prefix, the
--             release's field prefix, {bucket, count, ...}}, ...}, values_expiry (seconds)
--   trips    {{index of the release, the instance's field prefix, count, milliseconds}, ...}
--   room (size limit of a set of failing users), bits (size of the filter for more)
--
-- Returns {"done", the environment's version} or {"forgotten"}.

local report = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local instance = KEYS[1]

local before = redis.call('HMGET', instance, 'sequence', 'version')
if not before[1] and report.continues then
  return {'forgotten'}
end
local newest = tonumber(redis.call('GET', KEYS[3]) or '0')
if before[1] and report.sequence <= tonumber(before[1]) then
  -- A later report has already been added; its totals include these.
  return {'done', newest}
end

if before[2] then
  local kills = redis.call('HGETALL', KEYS[4])
  for i = 1, #kills, 2 do
    local version, at = string.match(kills[i + 1], '^(%d+) (%d+)$')
    if tonumber(version) > tonumber(before[2]) and tonumber(version) <= report.version then
      redis.call('HSETNX', KEYS[5], kills[i] .. '|' .. report.instance,
        string.format('%d', now - tonumber(at)))
    end
  end
end

local function add(evidence, prefix, measure, total, seen)
  local field = prefix .. measure
  seen[#seen + 1] = field
  seen[#seen + 1] = string.format('%.0f', total)
  local old = tonumber(redis.call('HGET', instance, field) or '0')
  if total > old then
    local measured = string.match(field, '^[^|]*|(.*)$')
    redis.call('HINCRBY', evidence, measured, string.format('%.0f', total - old))
  end
end

local function is_new(members, filter, user)
  if redis.call('SISMEMBER', members, user) == 1 then
    return false
  end
  if redis.call('SCARD', members) < report.room then
    redis.call('SADD', members, user)
    return true
  end
  -- Double hashing over the two halves of the 64-bit hash (Kirsch and Mitzenmacher 2006).
  local a = tonumber(string.sub(user, 1, 8), 16)
  local b = tonumber(string.sub(user, 9, 16), 16)
  local new = false
  for i = 0, 5 do
    if redis.call('SETBIT', filter, (a + i * b) % report.bits, 1) == 0 then
      new = true
    end
  end
  return new
end

local known = {}
for number, id in ipairs(report.releases) do
  known[number] = redis.call('HEXISTS', KEYS[6], id) == 1
end

local seen = {}
local measures = {'exposures', 'outcomes', 'errors', 'microseconds'}
for _, group in ipairs(report.totals) do
  if known[group[1]] then
    for i, measure in ipairs(measures) do
      add(KEYS[4 + 3 * group[1]], group[2], measure, group[3][i], seen)
    end
  end
end
for _, group in ipairs(report.failing) do
  if known[group[1]] then
    local base = 4 + 3 * group[1]
    local new = 0
    for _, user in ipairs(group[3]) do
      if is_new(KEYS[base + 1], KEYS[base + 2], user) then
        new = new + 1
      end
    end
    if new > 0 then
      local measured = string.match(group[2], '^[^|]*|(.*)$')
      redis.call('HINCRBY', KEYS[base], measured .. 'failing', new)
    end
    add(KEYS[base], group[2], 'overflow', group[4], seen)
  end
end

for _, group in ipairs(report.values) do
  if known[group[2]] then
    local key, buckets = KEYS[group[1]], group[5]
    for i = 1, #buckets, 2 do
      local field, total = group[3] .. buckets[i], buckets[i + 1]
      seen[#seen + 1] = field
      seen[#seen + 1] = string.format('%.0f', total)
      local old = tonumber(redis.call('HGET', instance, field) or '0')
      if total > old then
        redis.call('HINCRBY', key, group[4] .. buckets[i], string.format('%.0f', total - old))
      end
    end
    redis.call('EXPIRE', key, report.values_expiry)
  end
end

for _, each in ipairs(report.trips) do
  if known[each[1]] then
    local evidence = KEYS[4 + 3 * each[1]]
    add(evidence, each[2], 'trips', each[3], seen)
    add(evidence, each[2], 'trip_milliseconds', each[4], seen)
  end
end

-- Only these totals are kept: an instance that stops reporting a total never resumes it.
redis.call('DEL', instance)
redis.call('HSET', instance, 'sequence', string.format('%d', report.sequence),
  'version', string.format('%d', report.version), 'seen', string.format('%d', now),
  unpack(report.about))
for i = 1, #seen, 1000 do
  redis.call('HSET', instance, unpack(seen, i, math.min(i + 999, #seen)))
end
redis.call('EXPIRE', instance, report.expiry)
redis.call('ZADD', KEYS[2], now, report.instance)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - report.expiry * 1000)
return {'done', newest}
