-- Finishes one answer to a credential: counts the miss, or uses the credential up. Of a TOTP, the time step is used up.
-- arguments: token, result (right, wrong, or none if the answer was not compared), step (of a right TOTP code), misses (at
--            which the credential is locked), misses_active (in a row, at which an active TOTP is), retention (ms)
-- returns right, wrong:<tries left>, unknown, replayed, or the state that leaves nothing to verify
local arg = named()
local r = redis.call('HMGET', KEYS[1], 'cred', 'expires', 'misses', 'calls', 'step')
local cred, expires, misses, calls, step = r[1], tonumber(r[2] or '0'), tonumber(r[3] or '0'), r[4] or '', tonumber(r[5] or '0')

if not cred or arg.result == 'none' then
  return 'unknown'
end
local before = replayed(calls, arg.token)
if before then
  return before
end
if cred ~= 'live' and cred ~= 'pending' and cred ~= 'active' then
  return cred
end
if cred ~= 'active' and expires <= now() then
  return 'expired'
end

local answer
if arg.result == 'wrong' then
  local left = tonumber(cred == 'active' and arg.misses_active or arg.misses) - misses - 1
  answer = 'wrong:' .. left
  redis.call('HSET', KEYS[1], 'misses', misses + 1)
  if left <= 0 then
    redis.call('HSET', KEYS[1], 'cred', 'locked')
    redis.call('HDEL', KEYS[1], 'totp')
    redis.call('DEL', KEYS[2])
    if cred == 'active' then -- which had no end
      redis.call('PEXPIRE', KEYS[1], arg.retention)
    end
  end
elseif cred == 'live' then
  answer = 'right'
  redis.call('HSET', KEYS[1], 'cred', 'verified')
  redis.call('DEL', KEYS[2])
else
  if tonumber(arg.step) <= step then
    return 'replayed'
  end
  answer = 'right'
  redis.call('HSET', KEYS[1], 'cred', 'active', 'step', arg.step, 'misses', 0)
  redis.call('PERSIST', KEYS[1])
  redis.call('DEL', KEYS[2])
end
-- Only an active TOTP has more calls than misses. Of those the last hundred and more are kept, so that a repeated call
-- finds its own.
calls = calls .. arg.token .. '=' .. answer .. ' '
while #calls > 5000 do
  calls = string.sub(calls, string.find(calls, ' ', 1, true) + 1)
end
redis.call('HSET', KEYS[1], 'calls', calls)
return answer
