-- Hands an active TOTP over: whoever has its secret checks its codes from now on.
-- KEYS[1] the record
-- ARGV    token, retention in ms
-- returns exported:<last time step that was accepted>, or the state that it is in instead
local r = redis.call('HMGET', KEYS[1], 'cred', 'calls', 'step')
local cred, calls = r[1], r[2] or ''
local before = string.match(calls, ARGV[1] .. '=([%w:]+)')
if before then
  return before -- the same call, repeated because its reply was lost
end
if cred ~= 'active' then
  return cred or 'unknown'
end
local answer = 'exported:' .. r[3]
redis.call('HSET', KEYS[1], 'cred', 'used', 'calls', ARGV[1] .. '=' .. answer .. ' ')
redis.call('HDEL', KEYS[1], 'totp')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return answer
