-- Prolongs the send lock, if it is still the caller's. A lock that ran out and that nobody took since is the caller's.
-- arguments: token, lock (ms)
-- returns 1, or 0 where the lock is not the caller's, or the credential was revoked
local arg = named()
local r = redis.call('HMGET', KEYS[1], 'lock', 'cred')
if r[1] ~= arg.token or r[2] == 'revoked' then
  return 0
end
redis.call('HDEL', KEYS[1], '-') -- a first write that Redis allows without memory; then it allows the next (see move.lua)
redis.call('HSET', KEYS[1], 'lock_until', now() + arg.lock)
return 1
