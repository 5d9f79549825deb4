-- Add one report of one SDK instance: all of it or none.
--
-- Everything that can be wrong is found before the first write, and no write can fail: a counter
-- that is full stays full.
--
-- KEYS: 1 the instance, 2 instances by the time of their last report, 3 the environment's
--   version, 4 kills, 5 receipts, 6 releases, 7 the intake, 8 the sizes of instances, 9 notices of
--   instances, 10 the descriptions of instances; then for each release of the report: its evidence,
--   its failing users, their filter; then the samples and the values of each step of a release.
-- ARGV[1] is a MessagePack map:
--   instance, sequence, continues, version, expiry (seconds)
--   uptime, version_age (milliseconds; -1: not known), leaving
--   releases {{id, revision}, ...}
--   totals   {{index of the release, field prefix, {exposures, outcomes, errors,
--             microseconds}}, ...}
--   failing  {{index of the release, field prefix, {user, ...}, overflow}, ...}
--   samples  {{index of the key, index of the release, step, stratum, bits,
--             {{arm, {hash, ...}}, ...}}, ...}, samples_expiry (seconds)
--   values   {{index of the key, the instance's field prefix, the release's field prefix,
--             {bucket, count, ...}}, ...}, values_expiry (seconds)
--   trips    {{index of the release, the instance's field prefix, count, milliseconds}, ...}
--   evaluations (see evaluations.lua)
--   deletions {index of the key, the environment, the whole project}: none of these may exist
--   ignored  (how many parts of the report were left out)
--   limits   {total, per_second, grace_seconds, users, bits, sampled, sample_bits, buckets,
--             instances, fields, new_per_minute, receipts, notices, evaluated, series, askers,
--             unknown}
-- ARGV[2] is the description of the instance: see instances.py.
--
-- Returns {"done", the environment's version, how many parts were ignored} or, without a write:
--   {"forgotten"}   the instance continues totals that are not here
--   {"deleted"}     the environment was deleted
--   {"changed"}     a release is not at the given revision
--   {"growth", number in totals, number of the measure, growth, most}
--   {"crowded", milliseconds to wait}
--   {"malformed"}   a number or a user that no caller may send

local FIRST_RELEASE = 10
local AT_ONCE = 1000
local MEASURES = {'exposures', 'outcomes', 'errors', 'microseconds'}

local report = cmsgpack.unpack(ARGV[1])
local limits = report.limits
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local instance = KEYS[1]

local reported = {}
local fields = redis.call('HGETALL', instance)
for i = 1, #fields, 2 do
  reported[fields[i]] = fields[i + 1]
end
local known = reported.sequence ~= nil
if not known and report.continues then
  return {'forgotten'}
end
local newest = tonumber(redis.call('GET', KEYS[3]) or '0')
if known and report.sequence <= tonumber(reported.sequence) then
  -- A later report has already been added; its totals include these.
  return {'done', newest, 0}
end

for _, release in ipairs(report.releases) do
  local stored = redis.call('HGET', KEYS[6], release[1])
  if not stored or tonumber(string.match(stored, '^%d+')) ~= release[2] then
    return {'changed'}
  end
end

if redis.call('HEXISTS', KEYS[report.deletions[1]], report.deletions[2]) == 1
    or redis.call('HEXISTS', KEYS[report.deletions[1]], report.deletions[3]) == 1 then
  return {'deleted'}
end

local intake = redis.call('HMGET', KEYS[7], 'minute', 'new', 'fields')
local minute = string.format('%d', math.floor(now / 60000))
local new = 0
if not known then
  new = 1 + (intake[1] == minute and tonumber(intake[2]) or 0)
  if new > limits.new_per_minute then
    return {'crowded', 60000 - now % 60000}
  end
end

-- Plan.

local function evidence_key(number)
  return KEYS[FIRST_RELEASE + 3 * number - 2]
end

local function is_count(total)
  return type(total) == 'number' and total >= 0 and total <= limits.total
    and total == math.floor(total)
end

local seen = {}

-- Return how much a total grew since the instance's last report.
local function growth(field, total)
  local last = tonumber(seen[field] or reported[field] or '0')
  seen[field] = string.format('%.0f', math.max(total, tonumber(seen[field] or '0')))
  return math.max(0, total - last)
end

local function without_release(field)
  return string.match(field, '^[^|]*|(.*)$')
end

local most = math.huge
if known then
  local seconds = math.max(0, now - tonumber(reported.seen)) / 1000 + limits.grace_seconds
  most = math.floor(seconds * limits.per_second)
end
local arms = {}
for number, group in ipairs(report.totals) do
  local arm = {evidence_key(group[1]), without_release(group[2])}
  for i, measure in ipairs(MEASURES) do
    if not is_count(group[3][i]) then
      return {'malformed'}
    end
    local grown = growth(group[2] .. measure, group[3][i])
    if grown > most and measure ~= 'microseconds' then
      return {'growth', number, i, grown, most}
    end
    arm[2 + i] = grown
  end
  arms[#arms + 1] = arm
end

local additions = {}
for _, group in ipairs(report.failing) do
  for _, user in ipairs(group[3]) do
    if type(user) ~= 'string' or #user ~= 16 or not string.match(user, '^%x+$') then
      return {'malformed'}
    end
  end
  if not is_count(group[4]) then
    return {'malformed'}
  end
  additions[#additions + 1] = {
    evidence_key(group[1]), without_release(group[2]) .. 'overflow',
    growth(group[2] .. 'overflow', group[4])}
end
for _, each in ipairs(report.trips) do
  if not is_count(each[3]) or not is_count(each[4]) then
    return {'malformed'}
  end
  local evidence = evidence_key(each[1])
  additions[#additions + 1] = {evidence, 'trips', growth(each[2] .. 'trips', each[3])}
  additions[#additions + 1] = {
    evidence, 'trip_milliseconds', growth(each[2] .. 'trip_milliseconds', each[4])}
end

for _, sample in ipairs(report.samples) do
  local bits = sample[5]
  if not is_count(bits) or bits > limits.sample_bits then
    return {'malformed'}
  end
  for _, arm in ipairs(sample[6]) do
    for _, user in ipairs(arm[2]) do
      if not is_count(user) or user >= 2 ^ 32 or user % 2 ^ bits ~= 0 then
        return {'malformed'}
      end
    end
  end
end

local ignored = report.ignored
local room = {}
for _, group in ipairs(report.values) do
  local key, buckets = KEYS[group[1]], group[4]
  room[key] = room[key] or limits.buckets - redis.call('HLEN', key)
  local left_out = false
  for i = 1, #buckets, 2 do
    if not is_count(buckets[i + 1]) then
      return {'malformed'}
    end
    local target = group[3] .. buckets[i]
    local fits = redis.call('HEXISTS', key, target) == 1
    if not fits and room[key] > 0 then
      room[key] = room[key] - 1
      fits = true
    end
    if fits then
      additions[#additions + 1] = {key, target, growth(group[2] .. buckets[i], buckets[i + 1])}
    else
      left_out = true
    end
  end
  if left_out then
    ignored = ignored + 1
  end
end

-- Write.

-- Add to a counter, which never goes down and never above `limit`; return its value.
local function add(key, field, more, limit)
  local total = tonumber(redis.call('HGET', key, field) or '0')
  local raised = math.min(total + more, limit)
  if raised > total then
    redis.call('HSET', key, field, string.format('%.0f', raised))
    return raised
  end
  return total
end

local function is_new(members, filter, user)
  if redis.call('SISMEMBER', members, user) == 1 then
    return false
  end
  if redis.call('SCARD', members) < limits.users then
    redis.call('SADD', members, user)
    return true
  end
  -- Double hashing over the two halves of the 64-bit hash (Kirsch and Mitzenmacher 2006).
  local a = tonumber(string.sub(user, 1, 8), 16)
  local b = tonumber(string.sub(user, 9, 16), 16)
  local is_first = false
  for i = 0, 5 do
    if redis.call('SETBIT', filter, (a + i * b) % limits.bits, 1) == 0 then
      is_first = true
    end
  end
  return is_first
end

-- Give a stratum's sample so many bits; drop the users whose hash does not end in as many zeros.
-- Return how many are left.
local function thin(samples, stratum, bits)
  local size = 0
  for _, field in ipairs(redis.call('HKEYS', samples)) do
    local user = string.match(field, '^' .. stratum .. '|(%d+)$')
    if user and tonumber(user) % 2 ^ bits == 0 then
      size = size + 1
    elseif user then
      redis.call('HDEL', samples, field)
    end
  end
  redis.call('HSET', samples, stratum .. '|bits', bits, stratum .. '|size', size)
  return size
end

-- Both arms count with the same bits, so that neither counts more of its users than the other.
local function add_sample(sample)
  local samples, evidence = KEYS[sample[1]], evidence_key(sample[2])
  local stratum = string.format('%d', sample[4])
  local bits = tonumber(redis.call('HGET', samples, stratum .. '|bits') or '0')
  local size = tonumber(redis.call('HGET', samples, stratum .. '|size') or '0')
  if sample[5] > bits then
    bits = sample[5]
    size = thin(samples, stratum, bits)
  end
  for _, arm in ipairs(sample[6]) do
    local counted = 0
    for _, user in ipairs(arm[2]) do
      if user % 2 ^ bits == 0
          and redis.call('HSETNX', samples, string.format('%s|%.0f', stratum, user), '') == 1 then
        counted = counted + 1
      end
    end
    size = size + counted
    local prefix = string.format('%d|%s|%s|', sample[3], stratum, arm[1])
    local outcomes = tonumber(redis.call('HGET', evidence, prefix .. 'outcomes') or '0')
    add(evidence, prefix .. 'sampled', counted, outcomes)
  end
  redis.call('HSET', samples, stratum .. '|size', size)
  while size >= limits.sampled and bits < limits.sample_bits do
    bits = bits + 1
    size = thin(samples, stratum, bits)
  end
  redis.call('EXPIRE', samples, report.samples_expiry)
end

-- There are no errors and no users of the sample without outcomes, and no failing users without
-- errors, so what a report has beyond them is not counted.
for _, arm in ipairs(arms) do
  local fields, totals, raised = {}, {}, {}
  for i, measure in ipairs(MEASURES) do
    fields[i] = arm[2] .. measure
  end
  for i, stored in ipairs(redis.call('HMGET', arm[1], unpack(fields))) do
    local total = tonumber(stored or '0')
    local limit = MEASURES[i] == 'errors' and totals[i - 1] or limits.total
    totals[i] = math.max(total, math.min(total + arm[2 + i], limit))
    if totals[i] > total then
      raised[#raised + 1] = fields[i]
      raised[#raised + 1] = string.format('%.0f', totals[i])
    end
  end
  if #raised > 0 then
    redis.call('HSET', arm[1], unpack(raised))
  end
end
for _, each in ipairs(additions) do
  add(each[1], each[2], each[3], limits.total)
end
for _, group in ipairs(report.failing) do
  local evidence, prefix = evidence_key(group[1]), without_release(group[2])
  local base = FIRST_RELEASE + 3 * group[1] - 2
  local failing = 0
  for _, user in ipairs(group[3]) do
    if is_new(KEYS[base + 1], KEYS[base + 2], user) then
      failing = failing + 1
    end
  end
  local errors = tonumber(redis.call('HGET', evidence, prefix .. 'errors') or '0')
  add(evidence, prefix .. 'failing', failing, errors)
end
for _, sample in ipairs(report.samples) do
  add_sample(sample)
end
for key in pairs(room) do
  redis.call('EXPIRE', key, report.values_expiry)
end

local killed = redis.call('HGETALL', KEYS[4])
if reported.version then
  for i = 1, #killed, 2 do
    local version, at = string.match(killed[i + 1], '^(%d+) (%d+)$')
    if version and tonumber(version) > tonumber(reported.version)
        and tonumber(version) <= report.version then
      redis.call('HSETNX', KEYS[5], killed[i] .. '|' .. report.instance,
        string.format('%d', now - tonumber(at)))
    end
  end
end

-- Add an instance to the receipts of the versions that it has applied since its last report. One that
-- missed many is added to the latest of them only. RATIO is in store/receipts.py, too.
local RATIO = 1.05
local function confirm(first, last)
  for version = math.max(first, last - limits.receipts + 1), last do
    local receipt = KEYS[5] .. string.format(':%d', version)
    local at = redis.call('HGET', receipt, 'at')
    if at then
      local age = math.max(0, report.version_age)
      local elapsed = math.max(0, now - age - tonumber(at))
      local bucket = math.floor(math.log(math.max(1, elapsed)) / math.log(RATIO))
      redis.call('HINCRBY', receipt, 'confirmed', 1)
      redis.call('HINCRBY', receipt, string.format('b%d', bucket), 1)
      if elapsed > tonumber(redis.call('HGET', receipt, 'slowest') or '-1') then
        redis.call('HSET', receipt, 'slowest', string.format('%.0f', elapsed))
      end
    end
  end
end

local function notice(what)
  if limits.notices > 0 then
    redis.call('XADD', KEYS[9], 'MAXLEN', '~', limits.notices, '*', 'instance', report.instance,
      'version', string.format('%d', report.version), 'what', what)
  end
end
if report.leaving then
  notice('left')
elseif not known then
  notice('joined')
elseif report.version ~= tonumber(reported.version) then
  notice('applied')
end
if reported.version and report.version > tonumber(reported.version) and report.version <= newest then
  confirm(tonumber(reported.version) + 1, report.version)
end

local started = reported.started
if not started and report.uptime >= 0 then
  started = string.format('%.0f', now - report.uptime)
end

local version, at = string.format('%d', report.version), string.format('%d', now)
redis.call('HSET', KEYS[10], report.instance,
  version .. ' ' .. at .. ' ' .. (started or '-') .. ' ' .. ARGV[2])

-- Only these totals are kept: an instance that stops reporting a total never resumes it.
redis.call('DEL', instance)
local size = 0
local kept_totals = {
  'sequence', string.format('%d', report.sequence), 'version', version, 'seen', at}
if started then
  kept_totals[#kept_totals + 1] = 'started'
  kept_totals[#kept_totals + 1] = started
end
for field, total in pairs(seen) do
  size = size + 1
  kept_totals[#kept_totals + 1] = field
  kept_totals[#kept_totals + 1] = total
  if #kept_totals >= AT_ONCE then
    redis.call('HSET', instance, unpack(kept_totals))
    kept_totals = {}
  end
end
if #kept_totals > 0 then
  redis.call('HSET', instance, unpack(kept_totals))
end
redis.call('EXPIRE', instance, report.expiry)
if add_evaluations(report.evaluations, now, most, report.expiry, limits) then
  notice('asked')
end
local evaluations = KEYS[report.evaluations.instance]
size = size + redis.call('HLEN', evaluations)
redis.call('ZADD', KEYS[2], now, report.instance)

local kept = tonumber(intake[3] or '0') + size
  - tonumber(redis.call('HGET', KEYS[8], report.instance) or '0')
redis.call('HSET', KEYS[8], report.instance, size)

-- Forget instances: it costs them a new id, and no count.
local prefix = string.sub(instance, 1, -1 - #report.instance)
local evaluations_prefix = string.sub(evaluations, 1, -1 - #report.instance)
local function forget(id)
  redis.call('UNLINK', prefix .. id, evaluations_prefix .. id)
  redis.call('ZREM', KEYS[2], id)
  for i = 1, #killed, 2 do
    redis.call('HDEL', KEYS[5], killed[i] .. '|' .. id)
  end
  kept = kept - tonumber(redis.call('HGET', KEYS[8], id) or '0')
  redis.call('HDEL', KEYS[8], id)
  redis.call('HDEL', KEYS[10], id)
end
local silent = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - report.expiry * 1000,
  'LIMIT', 0, 1000)
for _, id in ipairs(silent) do
  forget(id)
end
local count = redis.call('ZCARD', KEYS[2])
while count > 1 and (count > limits.instances or kept > limits.fields) do
  forget(redis.call('ZRANGE', KEYS[2], 0, 0)[1])
  count = count - 1
end

if not known then
  redis.call('HSET', KEYS[7], 'minute', minute, 'new', string.format('%d', new))
end
redis.call('HSET', KEYS[7], 'fields', string.format('%.0f', math.max(0, kept)))
if ignored > 0 then
  add(KEYS[7], 'ignored', ignored, limits.total)
end
return {'done', newest, ignored}
