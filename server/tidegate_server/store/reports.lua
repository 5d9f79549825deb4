-- Add reports of SDK instances, one after the other: of each all or none.
--
-- Everything that can be wrong with a report is found before it changes anything, and no change can
-- fail: a counter that is full stays full. What the reports change is written at the end, so that
-- reports of the same releases share most of the commands.
--
-- KEYS: 1 instances by the time of their last report, 2 the environment's version, 3 kills,
--   4 receipts, 5 releases, 6 the intake, 7 the sizes of instances, 8 notices of instances,
--   9 the descriptions of instances, 10 to 15 see evaluations.lua, 16 deletions, 17 and 18 the
--   beginnings of the keys of instances and of their evaluations; then for each release of the
--   batch: its evidence, its failing users, their filter; then others.
-- ARGV[1] is a MessagePack map, the same for all batches:
--   expiry, samples_expiry, values_expiry (seconds), steps (see evaluations.lua)
--   whole_project (the field of a deletion: neither it nor the environment's may exist)
--   limits   {total, per_second, grace_seconds, users, bits, sampled, sample_bits, buckets,
--             instances, fields, new_per_minute, receipts, notices, evaluated, series, askers,
--             unknown}
-- ARGV[2] is a MessagePack map:
--   environment
--   releases {{id, revision}, ...}
--   reports  {report, ...}, each a map:
--     instance, sequence, continues, version
--     uptime, version_age (milliseconds; -1: not known), leaving
--     releases {number, ...}: those that it is about
--     totals   {{number of the release, field prefix without the arm, control, treatment}, ...},
--               of each arm {exposures, outcomes, errors, microseconds}
--     failing  {{number of the release, field prefix, {user, ...}, overflow}, ...}
--     samples  {{number of the key, number of the release, step, stratum, bits,
--               {{arm, {hash, ...}}, ...}}, ...}
--     values   {{number of the key, the instance's field prefix, the release's field prefix,
--               {bucket, count, ...}}, ...}
--     trips    {{number of the release, count, milliseconds}, ...}
--     application, host, evaluations (see evaluations.lua)
--     ignored  (how many parts of the report were left out)
-- The other arguments are the descriptions of the reports' instances: see instances.py.
--
-- Returns, as MessagePack, for each report {"done", the environment's version, how many parts were
-- ignored} or, if it changed nothing:
--   {"forgotten"}   the instance continues totals that are not here
--   {"deleted"}     the environment was deleted
--   {"changed"}     a release is not at the given revision
--   {"growth", number in totals, arm, number of the measure, growth, most}
--   {"crowded", milliseconds to wait}
--   {"malformed"}   a number or a user that no caller may send

local FIRST_RELEASE = 18
local MEASURES = {'exposures', 'outcomes', 'errors', 'microseconds'}
local ARMS = {'control', 'treatment'}
local OVERFLOW, FAILING, SAMPLED = 5, 6, 7
local OTHERS = {[OVERFLOW] = 'overflow', [FAILING] = 'failing', [SAMPLED] = 'sampled'}

local limits = settings.limits
local minute = string.format('%d', math.floor(now / 60000))
local newest = tonumber(redis.call('GET', KEYS[2]) or '0')
local killed = redis.call('HGETALL', KEYS[3])
local intake, sizes = hash_of(KEYS[6]), hash_of(KEYS[7])
local descriptions = hash_of(KEYS[9])
read_fields(intake, {'minute', 'new', 'fields', 'ignored'})
local kept = number_in(intake, 'fields')
local is_deleted = redis.call('HEXISTS', KEYS[16], batch.environment) == 1
  or redis.call('HEXISTS', KEYS[16], settings.whole_project) == 1

local as_planned = {}
for number, release in ipairs(batch.releases) do
  local stored = redis.call('HGET', KEYS[5], release[1])
  as_planned[number] = stored and tonumber(string.match(stored, '^%d+')) == release[2]
end

local function evidence_key(number)
  return KEYS[FIRST_RELEASE + 3 * number - 2]
end

-- Return a group and arm of a release: its hash, and the names of its fields there and in those of
-- instances.
local groups = {}
local function group_of(number, prefix)
  local id = batch.releases[number][1]
  local name = id .. '|' .. prefix
  local place = number .. name
  local group = groups[place]
  if not group then
    group = {hash = hash_of(evidence_key(number)), fields = {}, own = {}}
    for i, measure in ipairs(MEASURES) do
      group.fields[i], group.own[i] = prefix .. measure, name .. measure
    end
    for i, measure in pairs(OTHERS) do
      group.fields[i], group.own[i] = prefix .. measure, name .. measure
    end
    read_fields(group.hash, group.fields)
    groups[place] = group
  end
  return group
end

local function is_count(total)
  return type(total) == 'number' and total >= 0 and total <= limits.total
    and total == math.floor(total)
end

-- What instances reported last: the fields that are stored, and those of the reports before.
local instances = {}
local function instance_of(id)
  local instance = instances[id]
  if not instance then
    local stored, fields = {}, redis.call('HGETALL', KEYS[17] .. id)
    for i = 1, #fields, 2 do
      stored[fields[i]] = fields[i + 1]
    end
    instance = {stored = stored, fields = stored}
    instances[id] = instance
  end
  return instance
end

local sets = {}
local function room_in_set(key)
  if not sets[key] then
    sets[key] = limits.users - redis.call('SCARD', key)
  end
  return sets[key]
end

-- Return whether a user is new, who may have no room in the set.
local function is_new(members, filter, user)
  if room_in_set(members) > 0 then
    return redis.call('SADD', members, user) == 1
  end
  if redis.call('SISMEMBER', members, user) == 1 then
    return false
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

-- Remember failing users; return how many are new.
local function add_failing(members, filter, users)
  local count = #users
  if count == 0 then
    return 0
  end
  local added = 0
  if count <= AT_ONCE and count <= room_in_set(members) then
    added = redis.call('SADD', members, unpack(users))
    sets[members] = sets[members] - added
    return added
  end
  for _, user in ipairs(users) do
    local has_room = room_in_set(members) > 0
    if is_new(members, filter, user) then
      added = added + 1
      sets[members] = sets[members] - (has_room and 1 or 0)
    end
  end
  return added
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
local expiring = {}
local function add_sample(sample)
  local samples = KEYS[sample[1]]
  local stratum = string.format('%d', sample[4])
  local kept_sample = redis.call('HMGET', samples, stratum .. '|bits', stratum .. '|size')
  local bits, size = tonumber(kept_sample[1] or '0'), tonumber(kept_sample[2] or '0')
  if sample[5] > bits then
    bits = sample[5]
    size = thin(samples, stratum, bits)
  end
  for _, arm in ipairs(sample[6]) do
    local counted, users = 0, {}
    local function write()
      counted = counted + redis.call('HSET', samples, unpack(users))
      users = {}
    end
    for _, user in ipairs(arm[2]) do
      if user % 2 ^ bits == 0 then
        users[#users + 1] = string.format('%s|%.0f', stratum, user)
        users[#users + 1] = ''
        if #users >= AT_ONCE then
          write()
        end
      end
    end
    if #users > 0 then
      write()
    end
    size = size + counted
    local group = group_of(sample[2], string.format('%d|%s|%s|', sample[3], stratum, arm[1]))
    raise(group.hash, group.fields[SAMPLED], counted, number_in(group.hash, group.fields[2]))
  end
  redis.call('HSET', samples, stratum .. '|size', size)
  while size >= limits.sampled and bits < limits.sample_bits do
    bits = bits + 1
    size = thin(samples, stratum, bits)
  end
  expiring[samples] = settings.samples_expiry
end

-- Add an instance to the receipts of the versions that it has applied since its last report. One
-- that missed many is added to the latest of them only. RATIO is in store/receipts.py, too.
local RATIO = 1.05
local function confirm(report, first, last)
  for version = math.max(first, last - limits.receipts + 1), last do
    local receipt = KEYS[4] .. string.format(':%d', version)
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

local function notice(report, what)
  if limits.notices > 0 then
    redis.call('XADD', KEYS[8], 'MAXLEN', '~', limits.notices, '*', 'instance', report.instance,
      'version', string.format('%d', report.version), 'what', what)
  end
end

local function confirm_kills(report, version_before)
  for i = 1, #killed, 2 do
    local version, at = string.match(killed[i + 1], '^(%d+) (%d+)$')
    if version and tonumber(version) > version_before and tonumber(version) <= report.version then
      redis.call('HSETNX', KEYS[4], killed[i] .. '|' .. report.instance,
        string.format('%d', now - tonumber(at)))
    end
  end
end

-- Add a report; return the answer to it.
local function add_report(report, description)
  local instance = instance_of(report.instance)
  local reported = instance.fields
  local known = reported.sequence ~= nil
  if not known and report.continues then
    return {'forgotten'}
  end
  if known and report.sequence <= tonumber(reported.sequence) then
    -- A later report has already been added; its totals include these.
    return {'done', newest, 0}
  end
  for _, number in ipairs(report.releases) do
    if not as_planned[number] then
      return {'changed'}
    end
  end
  if is_deleted then
    return {'deleted'}
  end
  local new = 0
  if not known then
    new = 1 + (intake.fields.minute == minute and number_in(intake, 'new') or 0)
    if new > limits.new_per_minute then
      return {'crowded', 60000 - now % 60000}
    end
  end

  -- Plan.

  local seen = {}
  -- Return how much a total grew since the instance's last report.
  local function growth(field, total)
    local before = seen[field]
    local last = before or tonumber(reported[field] or 0)
    seen[field] = math.max(total, before or 0)
    return math.max(0, total - last)
  end

  local most = math.huge
  if known then
    local seconds = math.max(0, now - tonumber(reported.seen)) / 1000 + limits.grace_seconds
    most = math.floor(seconds * limits.per_second)
  end
  local arms = {}
  for number, total in ipairs(report.totals) do
    for j, name in ipairs(ARMS) do
      local group, counts = group_of(total[1], total[2] .. name .. '|'), total[2 + j]
      local arm = {group}
      for i = 1, #MEASURES do
        if not is_count(counts[i]) then
          return {'malformed'}
        end
        local grown = growth(group.own[i], counts[i])
        if grown > most and MEASURES[i] ~= 'microseconds' then
          return {'growth', number, name, i, grown, most}
        end
        arm[1 + i] = grown
      end
      arms[#arms + 1] = arm
    end
  end

  local additions = {}
  for _, failing in ipairs(report.failing) do
    for _, user in ipairs(failing[3]) do
      if type(user) ~= 'string' or #user ~= 16 or not string.match(user, '^%x+$') then
        return {'malformed'}
      end
    end
    if not is_count(failing[4]) then
      return {'malformed'}
    end
    local group = group_of(failing[1], failing[2])
    additions[#additions + 1] = {
      group.hash, group.fields[OVERFLOW], growth(group.own[OVERFLOW], failing[4])}
  end
  for _, trips in ipairs(report.trips) do
    if not is_count(trips[2]) or not is_count(trips[3]) then
      return {'malformed'}
    end
    local evidence, own = hash_of(evidence_key(trips[1])), batch.releases[trips[1]][1] .. '|'
    read_fields(evidence, {'trips', 'trip_milliseconds'})
    additions[#additions + 1] = {evidence, 'trips', growth(own .. 'trips', trips[2])}
    additions[#additions + 1] = {
      evidence, 'trip_milliseconds', growth(own .. 'trip_milliseconds', trips[3])}
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
    local hash, targets, left_out = hash_of(key), {}, false
    for i = 1, #buckets, 2 do
      if not is_count(buckets[i + 1]) then
        return {'malformed'}
      end
      targets[#targets + 1] = group[3] .. buckets[i]
    end
    read_fields(hash, targets)
    room[key] = room[key] or limits.buckets - size_of(hash)
    for i, target in ipairs(targets) do
      local fits = hash.fields[target]
      if not fits and room[key] > 0 then
        room[key] = room[key] - 1
        fits = true
      end
      if fits then
        additions[#additions + 1] = {
          hash, target, growth(group[2] .. buckets[2 * i - 1], buckets[2 * i])}
      else
        left_out = true
      end
    end
    if left_out then
      ignored = ignored + 1
    end
  end

  -- Change.

  -- There are no errors and no users of the sample without outcomes, and no failing users without
  -- errors, so what a report has beyond them is not counted.
  for _, arm in ipairs(arms) do
    local hash, fields = arm[1].hash, arm[1].fields
    for i = 1, #MEASURES do
      local limit = MEASURES[i] == 'errors' and number_in(hash, fields[i - 1]) or limits.total
      raise(hash, fields[i], arm[1 + i], limit)
    end
  end
  for _, each in ipairs(additions) do
    raise(each[1], each[2], each[3], limits.total)
  end
  for _, failing in ipairs(report.failing) do
    local group, base = group_of(failing[1], failing[2]), FIRST_RELEASE + 3 * failing[1] - 2
    local added = add_failing(KEYS[base + 1], KEYS[base + 2], failing[3])
    raise(group.hash, group.fields[FAILING], added, number_in(group.hash, group.fields[3]))
  end
  for _, sample in ipairs(report.samples) do
    add_sample(sample)
  end
  for key in pairs(room) do
    expiring[key] = settings.values_expiry
  end

  local before = tonumber(reported.version)
  if before then
    confirm_kills(report, before)
  end
  if report.leaving then
    notice(report, 'left')
  elseif not known then
    notice(report, 'joined')
  elseif report.version ~= before then
    notice(report, 'applied')
  end
  if before and report.version > before and report.version <= newest then
    confirm(report, before + 1, report.version)
  end

  local started = reported.started
  if not started and report.uptime >= 0 then
    started = string.format('%.0f', now - report.uptime)
  end
  put(descriptions, report.instance,
    string.format('%.0f %.0f ', report.version, now) .. (started or '-') .. ' ' .. description)

  -- Only these totals are kept: an instance that stops reporting a total never resumes it.
  local size = 0
  for _ in pairs(seen) do
    size = size + 1
  end
  seen.sequence, seen.version, seen.seen, seen.started =
    report.sequence, report.version, now, started
  instance.fields = seen
  local evaluations = hash_of(KEYS[18] .. report.instance)
  -- Once a minute is enough, unless a key is new.
  instance.expires = instance.expires or not known or size_of(evaluations) == 0
    or math.floor(tonumber(reported.seen) / 60000) < math.floor(now / 60000)
  if add_evaluations(report, evaluations, most) then
    notice(report, 'asked')
  end
  size = size + size_of(evaluations)
  instance.is_changed = true
  kept = kept + size - number_in(sizes, report.instance)
  put(sizes, report.instance, size)

  if not known then
    put(intake, 'minute', minute)
    put(intake, 'new', new)
  end
  if ignored > 0 then
    raise(intake, 'ignored', ignored, limits.total)
  end
  return {'done', newest, ignored}
end

-- Write what an instance reported last.
local function write_instance(id, instance)
  local key, gone, changed = KEYS[17] .. id, {}, {}
  for field in pairs(instance.stored) do
    if instance.fields[field] == nil then
      gone[#gone + 1] = field
    end
  end
  if #gone >= AT_ONCE then
    redis.call('DEL', key)
    changed, instance.expires = instance.fields, true
  else
    if #gone > 0 then
      redis.call('HDEL', key, unpack(gone))
    end
    for field, value in pairs(instance.fields) do
      local stored = instance.stored[field]
      if not stored or tonumber(stored) ~= tonumber(value) then
        changed[field] = value
      end
    end
  end
  set_fields(key, changed)
  if instance.expires then
    redis.call('EXPIRE', key, settings.expiry)
    redis.call('EXPIRE', KEYS[18] .. id, settings.expiry)
  end
end

-- Forget instances: it costs them a new id, and no count.
local function forget(id)
  redis.call('UNLINK', KEYS[17] .. id, KEYS[18] .. id)
  redis.call('ZREM', KEYS[1], id)
  for i = 1, #killed, 2 do
    redis.call('HDEL', KEYS[4], killed[i] .. '|' .. id)
  end
  kept = kept - tonumber(redis.call('HGET', KEYS[7], id) or '0')
  redis.call('HDEL', KEYS[7], id)
  redis.call('HDEL', KEYS[9], id)
end

local function forget_silent()
  local silent = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - settings.expiry * 1000,
    'LIMIT', 0, 1000)
  for _, id in ipairs(silent) do
    forget(id)
  end
  local count = redis.call('ZCARD', KEYS[1])
  while count > 1 and (count > limits.instances or kept > limits.fields) do
    forget(redis.call('ZRANGE', KEYS[1], 0, 0)[1])
    count = count - 1
  end
end

local names = {}
for number, report in ipairs(batch.reports) do
  names[number] = report.instance
end
read_fields(sizes, names)

local answers = {}
for number, report in ipairs(batch.reports) do
  -- What fails here is a fault of this script; it concerns this report only.
  local succeeded, answer = pcall(add_report, report, ARGV[2 + number])
  answers[number] = succeeded and answer or {'failed'}
end

local is_changed = false
for _, instance in pairs(instances) do
  is_changed = is_changed or instance.is_changed
end
if not is_changed then
  return cmsgpack.pack(answers)
end
put_series()
write_hashes()
end_evaluations()
for key, seconds in pairs(expiring) do
  redis.call('EXPIRE', key, seconds)
end
local times = {}
for id, instance in pairs(instances) do
  if instance.is_changed then
    write_instance(id, instance)
    times[#times + 1] = now
    times[#times + 1] = id
  end
end
redis.call('ZADD', KEYS[1], unpack(times))
forget_silent()
redis.call('HSET', KEYS[6], 'fields', string.format('%.0f', math.max(0, kept)))
return cmsgpack.pack(answers)
