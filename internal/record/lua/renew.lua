-- Prolongs the send lock, if it is still the caller's. A lock that ran out and that nobody took since is the caller's.
-- KEYS[1] the record
-- ARGV    token, lock time in ms
-- returns 1, or 0 where the lock is not the caller's, or the credential was revoked
local r = redis.call('HMGET', KEYS[1], 'lock', 'cred')
if r[1] ~= ARGV[1] or r[2] == 'revoked' then
  return 0
end
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], 'lock_until', t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2])
return 1
