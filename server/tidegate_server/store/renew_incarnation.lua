-- Give a project a new incarnation, unless another process has just done so; return the present one.
--
-- KEYS[1] is the incarnation; ARGV[1] the one that was read, ARGV[2] the new one.

local present = redis.call('GET', KEYS[1])
if present == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  return ARGV[2]
end
return present or ''
