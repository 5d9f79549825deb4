-- Hashes that a script changes: each field is read once, and written once, by write_hashes. So many
-- changes of one counter cost one write.

local AT_ONCE = 1000

local hashes, by_key = {}, {}

-- Return the hash of a key.
local function hash_of(key)
  local hash = by_key[key]
  if not hash then
    hash = {key = key, fields = {}, changed = {}}
    by_key[key] = hash
    hashes[#hashes + 1] = hash
  end
  return hash
end

-- Read fields that were not read before; one that the hash lacks is false.
local function read_fields(hash, names)
  local fields, unread = hash.fields, {}
  for _, name in ipairs(names) do
    if fields[name] == nil then
      unread[#unread + 1] = name
    end
  end
  for first = 1, #unread, AT_ONCE do
    local last = math.min(first + AT_ONCE - 1, #unread)
    for i, value in ipairs(redis.call('HMGET', hash.key, unpack(unread, first, last))) do
      fields[unread[first + i - 1]] = value
    end
  end
end

-- Return a field that was read, as a number.
local function number_in(hash, name)
  return tonumber(hash.fields[name] or 0)
end

-- Return how many fields a hash has. Of those that are put from now on, all are read first.
local function size_of(hash)
  if not hash.size then
    hash.size = redis.call('HLEN', hash.key)
  end
  return hash.size
end

-- Return whether a hash of at most so many fields has a field that was read, or room for it.
local function has_room(hash, name, most)
  return hash.fields[name] and true or size_of(hash) < most
end

-- Set a field.
local function put(hash, name, value)
  if hash.size and not hash.fields[name] then
    hash.size = hash.size + 1
  end
  hash.fields[name] = value
  hash.changed[name] = value
end

-- Add to a counter that was read, which never goes down and never above limit.
local function raise(hash, name, more, limit)
  local total = number_in(hash, name)
  local raised = math.min(total + more, limit)
  if raised > total then
    put(hash, name, raised)
  end
end

-- Write fields, all at once unless there are very many.
local function set_fields(key, fields)
  local parts = {}
  for name, value in pairs(fields) do
    if #parts >= AT_ONCE then
      redis.call('HSET', key, unpack(parts))
      parts = {}
    end
    parts[#parts + 1] = name
    parts[#parts + 1] = value
  end
  if #parts > 0 then
    redis.call('HSET', key, unpack(parts))
  end
end

-- Write everything that was put.
local function write_hashes()
  for _, hash in ipairs(hashes) do
    set_fields(hash.key, hash.changed)
    hash.changed = {}
  end
end
