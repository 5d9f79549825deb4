-- Make one change: all of it or none. Times are the store's.
--
-- ARGV[1] is a MessagePack map; keys are given as indexes into KEYS:
--   fence        nil or {lease, holder, number}
--   deleted      the last revision of each deleted document, a hash
--   deleted_floor  what earlier versions kept instead: the scope's highest such revision
--   guards       {{documents, field, expected revision}, ...}
--   writes       {{documents, field, json | false, versions | false, versions kept,
--                  seconds until they expire | 0}, ...}   already guarded
--   author       {actor, action, reason}
--   refreshes    {{version, snapshot, changes, kills, receipts, body, put, remove,
--                  killed, restored, changes kept}, ...}
--   audit        nil or {stream, json, SHA-256 of its content, chain, entries kept}
--   ledger       {{stream, json, entries kept}, ...}
--   series       {{readings, {slot, ...}, json}, ...}
--   generations  {{evidence, failing users, their filter, generation}, ...}
--   outgoing     {{queue, deliveries, counter, end of the id, json without its opening brace}, ...}
--   forgotten    {key, ...}
--
-- Returns {"done", now, {revision, ...}, {version, ...}}, {"stale", index of the guard,
-- current revision} or {"deposed"}.

local plan = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if plan.fence then
  local lease = redis.call('HMGET', KEYS[plan.fence[1]], 'holder', 'number', 'expires')
  if lease[1] ~= plan.fence[2] or tonumber(lease[2]) ~= plan.fence[3]
      or tonumber(lease[3]) <= now then
    return {'deposed'}
  end
end

local present, contents = {}, {}
for number, guard in ipairs(plan.guards) do
  local stored = redis.call('HGET', KEYS[guard[1]], guard[2])
  local revision = 0
  if stored then
    revision = tonumber(string.match(stored, '^%d+'))
  end
  if revision ~= guard[3] then
    return {'stale', number, revision}
  end
  present[guard[1] .. ' ' .. guard[2]] = revision
  contents[guard[1] .. ' ' .. guard[2]] = stored
end

-- A document that is created again continues after its last revision, so that no revision is used
-- twice and an old ETag never matches. A document with a new key begins at 1.
local function last_deleted(document)
  local own = redis.call('HGET', KEYS[plan.deleted], document)
  local floor = redis.call('GET', KEYS[plan.deleted_floor])
  return math.max(tonumber(own or '0'), tonumber(floor or '0'))
end

-- A version of a document, as the list of its versions keeps it. The latest one has no JSON, which
-- is the document's; the next write adds it.
local function version_entry(revision, made, json)
  made.json = json
  return string.format('%d ', revision) .. cmsgpack.pack(made)
end

-- Keep what a write makes of a document, and what the document was before.
local function keep_versions(write, revision, stored, was)
  local versions, kept, seconds = KEYS[write[4]], write[5], write[6]
  if was > 0 then
    local at, json = string.match(stored, '^%d+ (%d+) (.*)$')
    local latest = redis.call('LINDEX', versions, 0)
    local number, made = string.match(latest or '', '^(%d+) (.*)$')
    if tonumber(number) == was then
      redis.call('LSET', versions, 0, version_entry(was, cmsgpack.unpack(made), json))
    else
      -- A version of Tidegate wrote it that kept no versions.
      redis.call('LPUSH', versions, version_entry(was, {at = tonumber(at)}, json))
    end
  end
  local made = {at = now, actor = plan.author[1], action = plan.author[2], reason = plan.author[3]}
  if not write[3] then
    made.deleted = true
  elseif was == 0 then
    made.created = true
  end
  redis.call('LPUSH', versions, version_entry(write[3] and revision or was, made))
  redis.call('LTRIM', versions, 0, kept - 1)
  if seconds > 0 then
    redis.call('EXPIRE', versions, seconds)
  elseif was == 0 then
    redis.call('PERSIST', versions)
  end
end

local revisions = {}
for number, write in ipairs(plan.writes) do
  local key, field, json = KEYS[write[1]], write[2], write[3]
  local revision = present[write[1] .. ' ' .. field]
  local document = key .. ' ' .. field
  local was = revision
  if json then
    if revision == 0 then
      revision = last_deleted(document)
      redis.call('HDEL', KEYS[plan.deleted], document)
    end
    revision = revision + 1
    redis.call('HSET', key, field, string.format('%d %d ', revision, now) .. json)
    revisions[number] = revision
  else
    if redis.call('HDEL', key, field) == 1 then
      redis.call('HSET', KEYS[plan.deleted], document, string.format('%d', revision))
    end
    revisions[number] = 0
  end
  if write[4] and (json or was > 0) then
    keep_versions(write, revision, contents[write[1] .. ' ' .. field], was)
  end
end

local versions = {}
for number, refresh in ipairs(plan.refreshes) do
  local version = redis.call('INCR', KEYS[refresh.version])
  versions[number] = version
  local snapshot = KEYS[refresh.snapshot]
  for field, json in pairs(refresh.put) do
    redis.call('HSET', snapshot, field, json)
  end
  for _, field in ipairs(refresh.remove) do
    redis.call('HDEL', snapshot, field)
  end
  redis.call('XADD', KEYS[refresh.changes], 'MAXLEN', '~', refresh.kept,
    string.format('%d-0', version), 'update',
    string.format('{"version":%d,', version) .. refresh.body)
  local receipts = KEYS[refresh.receipts]
  local over = {}
  for _, flag in ipairs(refresh.killed) do
    redis.call('HSET', KEYS[refresh.kills], flag, string.format('%d %d', version, now))
    over[flag] = true
  end
  for _, flag in ipairs(refresh.restored) do
    redis.call('HDEL', KEYS[refresh.kills], flag)
    over[flag] = true
  end
  if next(over) then
    for _, field in ipairs(redis.call('HKEYS', receipts)) do
      if over[string.match(field, '^[^|]*')] then
        redis.call('HDEL', receipts, field)
      end
    end
  end
end

-- Add an entry to the audit log, with its place in the hash chain (domain/audit_chain.py).
local function add_audit_entry(stream, json, digest, chain, kept)
  local head = redis.call('HMGET', chain, 'number', 'hash')
  local number = tonumber(head[1] or '0') + 1
  local before = head[2] or string.rep('0', 64)
  local hash = sha256(string.format('%s %d %d %s', before, number, now, digest))
  redis.call('XADD', stream, '*', 'at', string.format('%d', now), 'entry', json,
    'number', string.format('%d', number), 'hash', hash)
  redis.call('HSET', chain, 'number', string.format('%d', number), 'hash', hash)
  -- Up to two, so that a log that is too long becomes shorter. The chain then begins after them.
  for _ = 1, math.min(redis.call('XLEN', stream) - kept, 2) do
    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    local fields = {}
    for index = 1, #oldest[2], 2 do
      fields[oldest[2][index]] = oldest[2][index + 1]
    end
    if fields.number then
      redis.call('HSET', chain, 'removed_number', fields.number, 'removed_hash', fields.hash)
    end
    redis.call('XDEL', stream, oldest[1])
  end
end

if plan.audit then
  add_audit_entry(KEYS[plan.audit[1]], plan.audit[2], plan.audit[3], KEYS[plan.audit[4]],
    plan.audit[5])
end
for _, entry in ipairs(plan.ledger) do
  redis.call('XADD', KEYS[entry[1]], 'MAXLEN', '~', entry[3], '*',
    'at', string.format('%d', now), 'entry', entry[2])
end
for _, reading in ipairs(plan.series) do
  for _, slot in ipairs(reading[2]) do
    redis.call('HSET', KEYS[reading[1]], slot, reading[3])
  end
end
for _, generation in ipairs(plan.generations) do
  redis.call('HSET', KEYS[generation[1]], 'generation', generation[4])
  redis.call('UNLINK', KEYS[generation[2]], KEYS[generation[3]])
end
for _, message in ipairs(plan.outgoing) do
  -- The number keeps messages of one millisecond in the order of their commits.
  local number = redis.call('INCR', KEYS[message[3]]) % 1000000
  local id = string.format('%d-%06d-', now, number) .. message[4]
  redis.call('HSET', KEYS[message[2]], id,
    string.format('{"queued_ms":%d,', now) .. message[5])
  redis.call('ZADD', KEYS[message[1]], now, id)
end
for _, key in ipairs(plan.forgotten) do
  redis.call('UNLINK', KEYS[key])
end

return {'done', now, revisions, versions}
