-- Hands an active TOTP over to the application, which checks its codes from now on.
-- arguments: token, retention (ms)
-- returns exported:<last time step that was accepted>, or the state that it is in instead
local arg = named()
local r = redis.call('HMGET', KEYS[1], 'cred', 'calls', 'step')
local cred, calls = r[1], r[2] or ''
local before = replayed(calls, arg.token)
if before then
  return before
end
if cred ~= 'active' then
  return cred or 'unknown'
end
local answer = 'exported:' .. r[3]
redis.call('HSET', KEYS[1], 'cred', 'exported', 'calls', arg.token .. '=' .. answer .. ' ')
redis.call('HDEL', KEYS[1], 'totp')
redis.call('PEXPIRE', KEYS[1], arg.retention)
return answer
