-- Revokes a credential, and ends its mail unless it has ended or a worker is sending it now; that worker notices when it
-- renews the lock. May be repeated.
-- KEYS[3] the secret of an exported TOTP
-- arguments: retention (ms); for a mail that has no record yet also gone (ms, when the record goes), and then what the
--            record begins with: field, value, ...
-- returns 1, or 0 where there is no record
local arg, rest = named()
local time = now()
local r = redis.call('HMGET', KEYS[1], 'state', 'cred', 'lock_until', 'expires', 'totp')
local state, cred, held, expired, totp = r[1], r[2], lock_left(r[3], time), number(r[4]) <= time, r[5]

if not state then
  if not arg.gone then
    return 0
  end
  redis.call('HSET', KEYS[1], unpack(ARGV, rest))
  redis.call('PEXPIREAT', KEYS[1], arg.gone)
  cred, expired = 'live', false
end
local endless = cred == 'active' or cred == 'locked' and totp
if endless or (cred == 'live' or cred == 'pending') and not expired then
  redis.call('HSET', KEYS[1], 'cred', 'revoked')
  redis.call('HDEL', KEYS[1], 'totp')
end
if endless then
  redis.call('PEXPIRE', KEYS[1], arg.retention)
end
redis.call('DEL', KEYS[2])
redis.call('DEL', KEYS[3])
if not state or state == 'queued' or state == 'deferred' or state == 'sending' and held == 0 then
  redis.call('HSET', KEYS[1], 'state', 'revoked', 'changed', time)
  redis.call('HDEL', KEYS[1], 'next', 'lock', 'lock_until')
end
return 1
