-- Replace every key of a scope: all of them or none.
--
-- KEYS[1] is the scope's incarnation; the new keys follow. ARGV[1] is the pattern of the names, and
-- ARGV[2] the new incarnation, or empty; then come, for KEYS[2] and each after it, when it expires
-- in milliseconds, or 0, and its dump.

local cursor = '0'
local old = {}
repeat
  local step = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = step[1]
  for _, name in ipairs(step[2]) do
    old[#old + 1] = name
  end
until cursor == '0'
for _, name in ipairs(old) do
  redis.call('UNLINK', name)
end
for number = 2, #KEYS do
  local place = (number - 2) * 2 + 3
  redis.call('RESTORE', KEYS[number], ARGV[place], ARGV[place + 1], 'REPLACE', 'ABSTTL')
end
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[1], ARGV[2])
end
return #KEYS - 1
