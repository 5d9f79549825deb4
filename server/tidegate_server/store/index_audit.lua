-- Index the entries of an audit log that servers of an earlier version have added.
--
-- KEYS[1] is the log, KEYS[2] its chain; ARGV[1] how many entries one call indexes. Returns how many
-- it has indexed.

local stream, chain = KEYS[1], KEYS[2]
local from = redis.call('HGET', chain, 'index_end')
local entries = redis.call('XRANGE', stream, from and '(' .. from or '-', '+', 'COUNT', ARGV[1])
local last
for _, entry in ipairs(entries) do
  local fields = {}
  for index = 1, #entry[2], 2 do
    fields[entry[2][index]] = entry[2][index + 1]
  end
  index_audit_entry(stream, entry[1], fields.entry)
  last = {entry[1], fields.number or '0'}
end
if last then
  redis.call('HSET', chain, 'index_end', last[1], 'index_number', last[2])
end
return #entries
