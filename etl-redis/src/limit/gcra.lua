-- One bucket by the generic cell rate algorithm (ITU-T I.371): a key holds the time at which the bucket is full again, in
-- microseconds of the server's clock, and is gone when it would be in the past.
-- KEYS[1]; ARGV: microseconds for one call, calls at once, what this call costs.
-- Answers: allowed, calls left, microseconds to wait, microseconds until the bucket is full.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval = tonumber(ARGV[1])
local span = interval * tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now) or now
-- A clock that was set back must not shut anybody out for longer than the limit says.
full_at = math.min(math.max(full_at, now), now + span)
local after = full_at + interval * tonumber(ARGV[3])
if after - now > span then
    return {0, math.floor((now + span - full_at) / interval), after - now - span, full_at - now}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return {1, math.floor((now + span - after) / interval), 0, after - now}
