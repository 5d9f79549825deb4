-- Record the result of an attempt to deliver a message.
--
-- KEYS: 1 the webhook's queue, 2 its messages, 3 the ids of its settled messages.
-- ARGV: the message's id, its record, the time until the next attempt in ms ("": settled),
--   how many settled messages are kept.
-- Returns 1; or 0 if the message no longer waits, and then nothing is written.

if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
if ARGV[3] ~= '' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
  return 1
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('LPUSH', KEYS[3], ARGV[1])
while redis.call('LLEN', KEYS[3]) > tonumber(ARGV[4]) do
  redis.call('HDEL', KEYS[2], redis.call('RPOP', KEYS[3]))
end
return 1
