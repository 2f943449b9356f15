-- Settles one answer to a credential: counts the miss, or uses the credential up. A TOTP is not used up, its time step is.
-- KEYS[1] the record
-- KEYS[2] the sealed mail
-- ARGV    token, "right" or "wrong" or "none" (it was not compared), time step of a right TOTP code,
--         misses at which the credential is locked, misses in a row at which an active TOTP is, retention in ms
-- returns right, wrong:<tries left>, unknown, replayed, or the state that leaves nothing to answer
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'cred', 'expires', 'misses', 'calls', 'step')
local cred, expires, misses, calls, step = r[1], tonumber(r[2] or '0'), tonumber(r[3] or '0'), r[4] or '', tonumber(r[5] or '0')

if not cred or ARGV[2] == 'none' then
  return 'unknown'
end
-- The same token again is the same call, repeated because its reply was lost: it gets the same answer.
local before = string.match(calls, ARGV[1] .. '=([%w:]+)')
if before then
  return before
end
if cred ~= 'live' and cred ~= 'pending' and cred ~= 'active' then
  return cred
end
if cred ~= 'active' and expires <= now then
  return 'expired'
end

local answer
if ARGV[2] == 'wrong' then
  local left = tonumber(cred == 'active' and ARGV[5] or ARGV[4]) - misses - 1
  answer = 'wrong:' .. left
  redis.call('HSET', KEYS[1], 'misses', misses + 1)
  if left <= 0 then
    redis.call('HSET', KEYS[1], 'cred', 'locked')
    redis.call('HDEL', KEYS[1], 'totp')
    redis.call('DEL', KEYS[2])
    if cred == 'active' then -- which had no end
      redis.call('PEXPIRE', KEYS[1], ARGV[6])
    end
  end
elseif cred == 'live' then
  answer = 'right'
  redis.call('HSET', KEYS[1], 'cred', 'used')
  redis.call('DEL', KEYS[2])
else
  if tonumber(ARGV[3]) <= step then
    return 'replayed'
  end
  answer = 'right'
  redis.call('HSET', KEYS[1], 'cred', 'active', 'step', ARGV[3], 'misses', 0)
  redis.call('PERSIST', KEYS[1])
  redis.call('DEL', KEYS[2])
end
-- Only an active TOTP has more calls than misses. Of those the last hundred and more are kept, so that a repeated call
-- finds its own.
calls = calls .. ARGV[1] .. '=' .. answer .. ' '
while #calls > 5000 do
  calls = string.sub(calls, string.find(calls, ' ', 1, true) + 1)
end
redis.call('HSET', KEYS[1], 'calls', calls)
return answer
