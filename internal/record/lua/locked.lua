-- KEYS[1] the record
-- returns 1 while somebody holds the send lock, else 0
local t = redis.call('TIME')
local lock_until = tonumber(redis.call('HGET', KEYS[1], 'lock_until') or '0')
return lock_until > t[1] * 1000 + math.floor(t[2] / 1000) and 1 or 0
