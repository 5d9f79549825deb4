-- The index of an audit log: for each key, id and email, the entries that are about it; for each kind
-- of object, the hours with an entry about one.
--
-- Each is a sorted set without scores, in the order of its members: the positions of the entries or
-- the numbers of the hours, padded so that the earlier is the lesser. Hours cost next to nothing where
-- positions would double the index. The log's chain has how far the index goes: the position
-- `index_end`, and the number `index_number` of the entry there.

-- The details of an entry that name another object than its target.
local ALSO = {'flag', 'email'}

-- Return the names and the kinds of what an entry is about, each as a key of a table.
local function objects_of(json)
  local entry = cjson.decode(json)
  local names, kinds = {}, {}
  local function add(found, text)
    if type(text) == 'string' and text ~= '' then
      found[text] = true
    end
  end
  add(kinds, string.match(entry.action, '^[^.]*'))
  add(names, entry.target)
  for _, detail in ipairs(ALSO) do
    add(names, (entry.details or {})[detail])
  end
  for _, document in ipairs(entry.documents or {}) do
    add(kinds, document.kind)
    add(names, document.key)
  end
  return names, kinds
end

local function padded(digits, width)
  return string.rep('0', width - #digits) .. digits
end

local function member_of(id)
  local time, number = string.match(id, '^(%d+)-(%d+)$')
  return padded(time, 13) .. '-' .. padded(number, 6)
end

local function hour_of(id)
  return string.format('%07d', math.floor(tonumber(string.match(id, '^%d+')) / 3600000))
end

local function index_audit_entry(stream, id, json)
  local names, kinds = objects_of(json)
  for name in pairs(names) do
    redis.call('ZADD', stream .. '-of:' .. name, 0, member_of(id))
  end
  for kind in pairs(kinds) do
    redis.call('ZADD', stream .. '-hours:' .. kind, 0, hour_of(id))
  end
end

-- Forget the oldest entry of a log, but for its hour, which may have others. What is before it went
-- with it, if a server removed it that knew no index.
local function forget_audit_entry(stream, id, json)
  local names, kinds = objects_of(json)
  for name in pairs(names) do
    redis.call('ZREMRANGEBYLEX', stream .. '-of:' .. name, '-', '[' .. member_of(id))
  end
  for kind in pairs(kinds) do
    redis.call('ZREMRANGEBYLEX', stream .. '-hours:' .. kind, '-', '(' .. hour_of(id))
  end
end
