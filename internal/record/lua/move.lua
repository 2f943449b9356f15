-- Moves a mail out of sending: to deferred, or to its outcome.
-- arguments: token ("" for a mail that was not opened), to, reason, code, enhanced, said, relay, queue_id, next (ms, 0 for none),
--            counts (1 if the attempt counts), gone (ms, when the record goes), resends, sealed ("" for none), dies (ms, when
--            the sealed mail goes); then what a record begins with if there is none, or Redis has lost it: field, value, ...
-- returns 0, also for a sending that a later one has replaced; or the ms for which somebody else holds the send lock
local arg, rest = named()
local time = now()
local r = redis.call('HMGET', KEYS[1], 'state', 'lock', 'lock_until', 'cred', 'seed', 'sending')
local state, lock, lock_until, cred, seed = r[1], r[2], tonumber(r[3] or '0'), r[4], r[5]
local to, next = arg.to, arg.next
if to == 'deferred' and cred == 'revoked' then
  to, next = 'revoked', '0'
end

local resends, at = tonumber(arg.resends), tonumber(r[6] or '0')
if resends < at then
  return 0
end
local ended = has_ended(state)
-- A resend that nobody opened, whose task was faster than the call that shows it as queued; or a record that a failover took back.
if ended and resends > at then
  begin_sending(resends)
  state, ended = 'queued', false
end
-- What a relay accepted stays accepted. Everything else needs the lock, and no outcome yet.
if state == 'accepted' then
  return 0
end
if to ~= 'accepted' then
  if ended then
    return 0
  end
  if lock and lock ~= arg.token and lock_until > time then
    return lock_until - time
  end
end

-- HDEL comes first: Redis refuses no further write of a script that has begun to write, also without memory. What a relay
-- accepted has to be written down, or it is sent again.
redis.call('HDEL', KEYS[1], 'lock', 'lock_until', 'next')
if not cred and not seed then
  for i = rest, #ARGV, 2 do
    redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
  end
  if arg.sealed ~= '' then
    redis.call('SET', KEYS[2], arg.sealed, 'PXAT', arg.dies)
  end
end
redis.call('HSET', KEYS[1], 'state', to, 'changed', time, 'reason', arg.reason, 'code', arg.code, 'enhanced', arg.enhanced, 'said', arg.said, 'relay', arg.relay)
if arg.queue_id ~= '' then
  redis.call('HSET', KEYS[1], 'queue_id', arg.queue_id)
end
if to == 'accepted' then
  redis.call('HSET', KEYS[1], 'accepted', time)
end
if next ~= '0' then
  redis.call('HSET', KEYS[1], 'next', next)
end
if arg.counts == '0' and lock == arg.token then
  redis.call('HINCRBY', KEYS[1], 'tries', -1)
end
if cred ~= 'active' then -- which has no end
  redis.call('PEXPIREAT', KEYS[1], arg.gone)
end
return 0
