-- Revokes a credential, and ends its mail unless it has ended or somebody is sending it at this moment; whoever is
-- notices when renewing the lock. May be repeated.
-- KEYS[1] the record
-- KEYS[2] the sealed mail
-- ARGV    retention in ms; for a mail that has no record yet also the time the record goes in ms, then field, value, ... to set
-- returns 1, or 0 where there is no record
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'state', 'cred', 'lock_until', 'expires')
local state, cred, lock_until, expired = r[1], r[2], tonumber(r[3] or '0'), tonumber(r[4] or '0') <= now

if not state then
  if #ARGV == 1 then
    return 0
  end
  redis.call('HSET', KEYS[1], unpack(ARGV, 3))
  redis.call('PEXPIREAT', KEYS[1], ARGV[2])
  cred, expired = 'live', false
end
if cred == 'active' or (cred == 'live' or cred == 'pending') and not expired then
  redis.call('HSET', KEYS[1], 'cred', 'revoked')
  redis.call('HDEL', KEYS[1], 'totp')
end
if cred == 'active' then -- which had no end
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
redis.call('DEL', KEYS[2])
if not state or state == 'queued' or state == 'deferred' or state == 'sending' and lock_until <= now then
  redis.call('HSET', KEYS[1], 'state', 'revoked', 'changed', now)
  redis.call('HDEL', KEYS[1], 'next', 'lock', 'lock_until')
end
return 1
