-- What a batch of reports is, and when it came: see reports.lua.

local settings, batch = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
