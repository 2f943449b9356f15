-- Hands an active TOTP over to the application, which checks its codes from now on. May be repeated for a while.
-- KEYS[2] the secret of an exported TOTP
-- arguments: again (ms in which it may be repeated), retention (ms)
-- returns name, value, ...: step (the last time step that was accepted) and totp; or nothing where it cannot be exported
local arg = named()
local r = redis.call('HMGET', KEYS[1], 'cred', 'step', 'totp')
local cred, step, totp = r[1], r[2] or '0', r[3]
if cred == 'active' and totp then
  redis.call('SET', KEYS[2], totp, 'PX', arg.again)
  redis.call('HSET', KEYS[1], 'cred', 'exported')
  redis.call('HDEL', KEYS[1], 'totp')
  redis.call('PEXPIRE', KEYS[1], arg.retention)
elseif cred == 'exported' then
  totp = redis.call('GET', KEYS[2])
else
  totp = nil
end
if not totp then
  return {}
end
return {'step', step, 'totp', totp}
