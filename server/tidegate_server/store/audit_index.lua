-- The index of an audit log: for each key, id and email, the entries that are about it.
--
-- Each is a sorted set without scores, in the order of its members: the positions of the entries,
-- padded so that the earlier is the lesser. The log's chain has how far the index goes: the position
-- `indexed`, and the number `indexed_number` of the entry there.

-- The details of an entry that name another object than its target.
local ALSO = {'flag', 'email'}

-- Return the names of what an entry is about, each as a key of a table.
local function names_of(json)
  local entry = cjson.decode(json)
  local names = {}
  local function add(name)
    if type(name) == 'string' and name ~= '' then
      names[name] = true
    end
  end
  add(entry.target)
  for _, detail in ipairs(ALSO) do
    add((entry.details or {})[detail])
  end
  for _, document in ipairs(entry.documents or {}) do
    add(document.key)
  end
  return names
end

local function padded(digits, width)
  return string.rep('0', width - #digits) .. digits
end

local function member_of(id)
  local time, number = string.match(id, '^(%d+)-(%d+)$')
  return padded(time, 13) .. '-' .. padded(number, 6)
end

local function index_audit_entry(stream, id, json)
  for name in pairs(names_of(json)) do
    redis.call('ZADD', stream .. '-of:' .. name, 0, member_of(id))
  end
end

-- Forget the oldest entry of a log. What is before it went with it, if a server removed it that knew
-- no index.
local function forget_audit_entry(stream, id, json)
  for name in pairs(names_of(json)) do
    redis.call('ZREMRANGEBYLEX', stream .. '-of:' .. name, '-', '[' .. member_of(id))
  end
end
