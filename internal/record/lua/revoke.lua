-- Revokes a credential, and ends its mail unless it has ended or a worker is sending it now; that worker notices when it
-- renews the lock. May be repeated.
-- arguments: retention (ms); for a mail that has no record yet also gone (ms, when the record goes), and then what the
--            record begins with: field, value, ...
-- returns 1, or 0 where there is no record
local arg, rest = named()
local time = now()
local r = redis.call('HMGET', KEYS[1], 'state', 'cred', 'lock_until', 'expires')
local state, cred, lock_until, expired = r[1], r[2], tonumber(r[3] or '0'), tonumber(r[4] or '0') <= time

if not state then
  if not arg.gone then
    return 0
  end
  redis.call('HSET', KEYS[1], unpack(ARGV, rest))
  redis.call('PEXPIREAT', KEYS[1], arg.gone)
  cred, expired = 'live', false
end
if cred == 'active' or (cred == 'live' or cred == 'pending') and not expired then
  redis.call('HSET', KEYS[1], 'cred', 'revoked')
  redis.call('HDEL', KEYS[1], 'totp')
end
if cred == 'active' then -- which had no end
  redis.call('PEXPIRE', KEYS[1], arg.retention)
end
redis.call('DEL', KEYS[2])
if not state or state == 'queued' or state == 'deferred' or state == 'sending' and lock_until <= time then
  redis.call('HSET', KEYS[1], 'state', 'revoked', 'changed', time)
  redis.call('HDEL', KEYS[1], 'next', 'lock', 'lock_until')
end
return 1
