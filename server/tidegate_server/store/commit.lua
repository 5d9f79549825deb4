-- Make one change: all of it or none. Times are the store's.
--
-- ARGV[1] is a MessagePack map; keys are given as indexes into KEYS:
--   fence        nil or {lease, holder, number}
--   deleted      the last revision of each deleted document, a hash
--   deleted_floor  what earlier versions kept instead: the scope's highest such revision
--   deletions    {deletions, {key, ...}}: none of these may exist
--   guards       {{documents, field, expected revision}, ...}
--   chain        the audit log's chain
--   kind_guards  {{kind, environment, notice, number of the chain, its hash}, ...}: no such document
--                  was written since the state of which these are the ends
--   writes       {{documents, field, json | false, versions | false, versions kept,
--                  seconds until they expire | 0, the beginning of its notice}, ...}
--                  already guarded
--   author       {actor, action, reason}
--   refreshes    {{version, incarnation, new incarnation, snapshot, changes, kills, receipts,
--                  body | false, put, remove, killed, restored, changes kept, seconds that
--                  receipts are kept}, ...}
--   activity     {stream, action, actor, entries kept}
--   audit        nil or {stream, chain, entries kept, {{json, SHA-256 of its content}, ...}}
--   ledger       {{stream, json, entries kept}, ...}
--   series       {{readings, {slot, ...}, json}, ...}
--   generations  {{evidence, failing users, their filter, generation}, ...}
--   outgoing     {{queue, deliveries, counter, end of the id, json without its opening brace}, ...}
--   key_sets     {{set = set | false, before = set | false, draft = draft | false, chunks,
--                  retired, kept, seconds}, ...}
--   forgotten    {key, ...}
--
-- Returns {"done", now, {revision, ...}, {version, ...}}, {"stale", index of the guard,
-- current revision}, {"written", index of the kind guard}, {"keys gone", index of the key set}, {"deposed"} or {"deleted"}.

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

if #plan.deletions[2] > 0 then
  for _, deletion in ipairs(redis.call('HMGET', KEYS[plan.deletions[1]], unpack(plan.deletions[2]))) do
    if deletion then
      return {'deleted'}
    end
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

-- The documents that were written since a state, by kind and environment; nil: that is not known,
-- because notices are missing. A commit without one continues the audit log's chain all the same.
local known = {}
local function written_since(notice, audited, hash)
  local notices = redis.call('XRANGE', KEYS[plan.activity[1]], notice == '' and '-' or notice, '+',
    'COUNT', plan.activity[4])
  if #notices == plan.activity[4] or notice ~= '' and (not notices[1] or notices[1][1] ~= notice) then
    return nil
  end
  local since = {}
  for number = notice == '' and 1 or 2, #notices do
    local fields = {}
    for index = 1, #notices[number][2], 2 do
      fields[notices[number][2][index]] = notices[number][2][index + 1]
    end
    audited = audited + tonumber(fields.audited or '0')
    for _, document in ipairs(cjson.decode(fields.documents or '[]')) do
      since[document[1] .. ' ' .. document[2]] = true
    end
  end
  local head = redis.call('HMGET', KEYS[plan.chain], 'number', 'hash')
  local unchanged = #notices == (notice == '' and 0 or 1)
  if tonumber(head[1] or '0') ~= audited or unchanged and (head[2] or '') ~= hash then
    return nil
  end
  return since
end

for number, guard in ipairs(plan.kind_guards) do
  local state = guard[3] .. ' ' .. guard[4] .. ' ' .. guard[5]
  known[state] = known[state] or written_since(guard[3], guard[4], guard[5]) or {unknown = true}
  if known[state].unknown or known[state][guard[1] .. ' ' .. guard[2]] then
    return {'written', number}
  end
end

-- A key set is complete, or nothing is written: its draft may have expired, and so may one that is
-- restored. Beside its chunks it has its size.
for number, switch in ipairs(plan.key_sets) do
  if switch.set and redis.call('EXISTS', KEYS[switch.set]) == 0
      and not (switch.draft and redis.call('HLEN', KEYS[switch.draft]) == switch.chunks + 1) then
    return {'keys gone', number}
  end
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

local revisions, written = {}, {}
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
  written[number] = write[7] .. string.format('%d]', revisions[number])
end

local versions = {}
for number, refresh in ipairs(plan.refreshes) do
  local version = redis.call('INCR', KEYS[refresh.version])
  versions[number] = version
  if version == 1 then
    redis.call('SET', KEYS[refresh.incarnation], refresh.new_incarnation, 'NX')
  end
  local snapshot = KEYS[refresh.snapshot]
  for field, json in pairs(refresh.put) do
    redis.call('HSET', snapshot, field, json)
  end
  for _, field in ipairs(refresh.remove) do
    redis.call('HDEL', snapshot, field)
  end
  -- An update that is too long is left empty: readers read the snapshot instead.
  local update = refresh.body and string.format('{"version":%d,', version) .. refresh.body or ''
  redis.call('XADD', KEYS[refresh.changes], 'MAXLEN', '~', refresh.kept,
    string.format('%d-0', version), 'update', update,
    'incarnation', redis.call('GET', KEYS[refresh.incarnation]) or '',
    'at', string.format('%d', now))
  local receipts = KEYS[refresh.receipts]
  local receipt = receipts .. string.format(':%d', version)
  redis.call('HSET', receipt, 'at', string.format('%d', now), 'actor', plan.author[1],
    'action', plan.author[2])
  redis.call('EXPIRE', receipt, refresh.receipts_kept)
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

local audited = 0

-- Add an entry to the audit log, with its place in the hash chain (domain/audit_chain.py), and to the
-- log's index (audit_index.lua). Where the index lacks earlier entries, whoever reads it completes it.
local function add_audit_entry(stream, json, digest, chain, kept)
  local head = redis.call('HMGET', chain, 'number', 'hash', 'index_number')
  local is_indexed = head[3] == (head[1] or '0') or redis.call('XLEN', stream) == 0
  local number = tonumber(head[1] or '0') + 1
  local before = head[2] or string.rep('0', 64)
  local hash = sha256(string.format('%s %d %d %s', before, number, now, digest))
  local id = redis.call('XADD', stream, '*', 'at', string.format('%d', now), 'entry', json,
    'number', string.format('%d', number), 'hash', hash)
  local link = {'number', string.format('%d', number), 'hash', hash}
  if is_indexed then
    index_audit_entry(stream, id, json)
    link = {'index_end', id, 'index_number', link[2], unpack(link)}
  end
  redis.call('HSET', chain, unpack(link))
  audited = audited + 1
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
    forget_audit_entry(stream, oldest[1], fields.entry)
    redis.call('XDEL', stream, oldest[1])
  end
end

if plan.audit then
  for _, entry in ipairs(plan.audit[4]) do
    add_audit_entry(KEYS[plan.audit[1]], entry[1], entry[2], KEYS[plan.audit[2]], plan.audit[3])
  end
end
if #written > 0 or audited > 0 then
  local activity = plan.activity
  redis.call('XADD', KEYS[activity[1]], 'MAXLEN', '~', activity[4], '*',
    'documents', '[' .. table.concat(written, ',') .. ']', 'audited', string.format('%d', audited),
    'action', activity[2], 'actor', activity[3], 'at', string.format('%d', now))
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
for _, switch in ipairs(plan.key_sets) do
  local retired = KEYS[switch.retired]
  if switch.set then
    local set = KEYS[switch.set]
    if switch.draft and redis.call('EXISTS', set) == 1 then
      redis.call('UNLINK', KEYS[switch.draft])
    elseif switch.draft then
      redis.call('RENAME', KEYS[switch.draft], set)
    end
    redis.call('PERSIST', set)
    redis.call('LREM', retired, 0, set)
  end
  if switch.before then
    local before = KEYS[switch.before]
    redis.call('LREM', retired, 0, before)
    redis.call('LPUSH', retired, before)
    redis.call('EXPIRE', before, switch.seconds)
    redis.call('EXPIRE', retired, switch.seconds)
    while redis.call('LLEN', retired) > switch.kept do
      redis.call('UNLINK', redis.call('RPOP', retired))
    end
  end
end
for _, key in ipairs(plan.forgotten) do
  redis.call('UNLINK', KEYS[key])
end

return {'done', now, revisions, versions}
