-- Settles one answer to a credential: counts the miss, or uses the credential up.
-- KEYS[1] the record
-- ARGV    token, "right" or "wrong" or "none" (it was not compared), misses at which the credential is locked
-- returns right, wrong:<tries left>, unknown, or the state that leaves nothing to answer
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'cred', 'expires', 'misses', 'calls')
local cred, expires, misses, calls = r[1], tonumber(r[2] or '0'), tonumber(r[3] or '0'), r[4] or ''

if not cred or ARGV[2] == 'none' then
  return 'unknown'
end
-- The same token again is the same call, repeated because its reply was lost: it gets the same answer.
local before = string.match(calls, ARGV[1] .. '=([%w:]+)')
if before then
  return before
end
if cred ~= 'live' then
  return cred
end
if expires <= now then
  return 'expired'
end

local answer
if ARGV[2] == 'right' then
  answer = 'right'
  redis.call('HSET', KEYS[1], 'cred', 'used')
else
  local left = tonumber(ARGV[3]) - misses - 1
  answer = 'wrong:' .. left
  redis.call('HSET', KEYS[1], 'misses', misses + 1)
  if left <= 0 then
    redis.call('HSET', KEYS[1], 'cred', 'locked')
  end
end
redis.call('HSET', KEYS[1], 'calls', calls .. ARGV[1] .. '=' .. answer .. ' ')
return answer
