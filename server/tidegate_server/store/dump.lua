-- Return every key of a scope, as of one moment: {{name, expires at ms | -1, dump}, ...}.
--
-- KEYS[1] is a key of the scope, which names its place in a Cluster; ARGV[1] is the pattern of the
-- names.

local found, seen = {}, {}
local cursor = '0'
repeat
  local step = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = step[1]
  for _, name in ipairs(step[2]) do
    if not seen[name] then
      seen[name] = true
      local dump = redis.call('DUMP', name)
      if dump then
        found[#found + 1] = {name, redis.call('PEXPIRETIME', name), dump}
      end
    end
  end
until cursor == '0'
return found
