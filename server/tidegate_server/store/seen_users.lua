-- Add users whom an instance has seen to the sample of an environment.
--
-- The sample has the users with the lowest numbers of those seen in the last hour. A number is the
-- first 32 bits of a user's name, so it does not matter how often or where a user was seen.
--
-- KEYS: 1 when users were last seen, a sorted set; 2 their attributes, a hash; 3 the limits, a hash
-- ARGV[1] is a MessagePack map:
--   users {{name, JSON}, ...}, most, kept (milliseconds), slot (milliseconds)
--
-- A limit is a number that no user of the sample reaches: `below` at present, and in each slot of
-- time, by its number, the lowest one. Returns the present limit.

local plan = cmsgpack.unpack(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local times, attributes, limits = KEYS[1], KEYS[2], KEYS[3]
local ALL = 4294967296

local function number(name)
  return tonumber(string.sub(name, 1, 8), 16)
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', times, '-inf', now - plan.kept)) do
  redis.call('ZREM', times, name)
  redis.call('HDEL', attributes, name)
end

local slot = math.floor(now / plan.slot)
local below = tonumber(redis.call('HGET', limits, 'below') or ALL)
local last = tonumber(redis.call('HGET', limits, 'slot') or slot)
if slot > last and redis.call('ZCARD', times) < 0.9 * plan.most then
  -- There is room. Let more in, but not all at once.
  below = math.min(ALL, math.ceil(below * 1.5) + 1)
end

for _, user in ipairs(plan.users) do
  if number(user[1]) < below then
    redis.call('ZADD', times, now, user[1])
    redis.call('HSET', attributes, user[1], user[2])
  end
end

local extra = redis.call('ZCARD', times) - plan.most
if extra > 0 then
  local names = redis.call('ZRANGE', times, 0, -1)
  table.sort(names)
  below = number(names[plan.most + 1])
  for index = #names, 1, -1 do
    if number(names[index]) < below then
      break
    end
    redis.call('ZREM', times, names[index])
    redis.call('HDEL', attributes, names[index])
  end
end

local lowest = math.min(below, tonumber(redis.call('HGET', limits, slot) or ALL))
redis.call('HSET', limits, 'below', string.format('%.0f', below), 'slot',
  string.format('%d', slot), string.format('%d', slot), string.format('%.0f', lowest))
for _, field in ipairs(redis.call('HKEYS', limits)) do
  local old = tonumber(field)
  if old and old * plan.slot + plan.slot < now - plan.kept then
    redis.call('HDEL', limits, field)
  end
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, 2 * plan.kept)
end
return string.format('%.0f', below)
