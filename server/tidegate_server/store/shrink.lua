-- Keep only some fields of a hash; return how many there are.
--
-- KEYS: 1 the hash. ARGV: the fields to keep.

local kept = {}
for first = 1, #ARGV, 1000 do
  local names = {unpack(ARGV, first, math.min(first + 999, #ARGV))}
  local values = redis.call('HMGET', KEYS[1], unpack(names))
  for i, name in ipairs(names) do
    if values[i] then
      kept[#kept + 1] = {name, values[i]}
    end
  end
end
redis.call('UNLINK', KEYS[1])
for _, field in ipairs(kept) do
  redis.call('HSET', KEYS[1], field[1], field[2])
end
return #kept
