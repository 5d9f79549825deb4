-- Take or extend the lease of a scope's policy job.
--
-- KEYS[1] the lease; ARGV: holder, duration in ms. The number increases whenever the lease is
-- taken again after it expired, so it tells a former holder from the current one.
-- Returns the number, or -1 while another process holds the lease.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('HMGET', KEYS[1], 'holder', 'number', 'expires')
local live = lease[3] and tonumber(lease[3]) > now
if live and lease[1] ~= ARGV[1] then
  return -1
end
local number = tonumber(lease[2] or '0')
if not live then
  number = number + 1
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'number', string.format('%d', number),
  'expires', string.format('%d', now + tonumber(ARGV[2])))
return number
