-- Makes a TOTP active again that was active when wrong answers locked it. May be repeated.
-- returns 1 if it was locked and is active now, else 0
local r = redis.call('HMGET', KEYS[1], 'cred', 'totp', 'step')
if r[1] ~= 'locked' or not r[2] or not r[3] then
  return 0
end
redis.call('HSET', KEYS[1], 'cred', 'active', 'misses', 0)
return 1
