-- Moves a mail out of sending: to deferred, or to its outcome.
-- KEYS[1] the record
-- KEYS[2] the sealed mail
-- ARGV    token ("" for a mail that was not opened), new state, reason, reply code, enhanced code, relay, queue id,
--         next try in ms (0 for none), 1 if the try counts, time the record goes in ms, number of the sending; and what a
--         record begins with if there is none, or Redis has lost it: the sealed mail ("" for none), the time that it goes in ms,
--         field, value, ...
-- returns 0, also for a sending that a later one has replaced; or the ms for which somebody else holds the send lock
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'state', 'lock', 'lock_until', 'cred', 'seed', 'sending')
local state, lock, lock_until = r[1], r[2], tonumber(r[3] or '0')
local to, next = ARGV[2], ARGV[8]
if to == 'deferred' and r[4] == 'revoked' then
  to, next = 'revoked', '0'
end

local sending, at = tonumber(ARGV[11]), tonumber(r[6] or '0')
if sending < at then
  return 0
end
local final = state == 'accepted' or state == 'refused' or state == 'expired' or state == 'revoked' or state == 'unknown'
-- A resend that nobody opened and whose task was faster than what shows it as queued; or a record that a failover took back.
if final and sending > at then
  redis.call('HDEL', KEYS[1], 'reason', 'code', 'enhanced', 'relay', 'queue_id', 'accepted')
  redis.call('HSET', KEYS[1], 'sending', sending, 'tries', 0)
  state, final = 'queued', false
end
-- What a relay accepted is accepted, whatever anybody believes. Everything else needs the lock and no outcome.
if state == 'accepted' then
  return 0
end
if to ~= 'accepted' then
  if final then
    return 0
  end
  if lock and lock ~= ARGV[1] and lock_until > now then
    return lock_until - now
  end
end

if not r[4] and not r[5] then
  for i = 14, #ARGV, 2 do
    redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
  end
  if ARGV[12] ~= '' then
    redis.call('SET', KEYS[2], ARGV[12], 'PXAT', ARGV[13])
  end
end
redis.call('HSET', KEYS[1], 'state', to, 'changed', now, 'reason', ARGV[3], 'code', ARGV[4], 'enhanced', ARGV[5], 'relay', ARGV[6])
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[1], 'queue_id', ARGV[7])
end
if to == 'accepted' then
  redis.call('HSET', KEYS[1], 'accepted', now)
end
if next ~= '0' then
  redis.call('HSET', KEYS[1], 'next', next)
end
if ARGV[9] == '0' and lock == ARGV[1] then
  redis.call('HINCRBY', KEYS[1], 'tries', -1)
end
redis.call('HDEL', KEYS[1], 'lock', 'lock_until')
if r[4] ~= 'active' then -- which has no end
  redis.call('PEXPIREAT', KEYS[1], ARGV[10])
end
return 0
