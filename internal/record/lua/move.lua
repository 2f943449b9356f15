-- Moves a mail out of sending: to deferred, or to its outcome.
-- arguments: token ("" for a mail that was not opened), to, reason, code, enhanced, said, relay, queue_id, next (ms, 0 for none),
--            counts (1 if the attempt counts), gone (ms, when the record goes), resends, sealed ("" for none), dies (ms, when
--            the sealed mail goes); then what a record begins with if there is none, or Redis has lost it: field, value, ...
-- returns name, value, ...: the state that the mail is in now, which is an earlier outcome or a later sending's where that goes
--         before; or for (ms), while somebody else holds the send lock
local arg, rest = named()
local time = now()
local r = redis.call('HMGET', KEYS[1], 'state', 'lock', 'lock_until', 'cred', 'seed', 'sending', 'handed')
local state, lock, cred, seed, handed = r[1], r[2], r[4], r[5], r[7]
local held = lock_left(r[3], time)
local to, next, reason = arg.to, arg.next, arg.reason
if to == 'deferred' and cred == 'revoked' then
  to, next = 'revoked', '0'
end

local resends, at = tonumber(arg.resends), count(r[6])
if resends < at then
  return {'state', state or 'unknown'}
end
local ended = has_ended(state)
-- A task of a sending that nobody asked for, or an invalid one of the next sending, ends no mail that waits.
if arg.token == '' and state and (resends > at + 1 or resends > at and not ended and to == 'refused') then
  return {'state', state}
end
-- A resend that nobody opened, whose task was faster than the call that shows it as queued; or a record that a failover took back.
if ended and resends == at + 1 then
  begin_sending(resends)
  state, ended = 'queued', false
end
-- What a relay accepted stays accepted. Everything else needs the lock, and no outcome yet.
if state == 'accepted' then
  return {'state', state}
end
if to ~= 'accepted' then
  if ended then
    return {'state', state}
  end
  if lock and lock ~= arg.token and held > 0 then
    return {'for', tostring(held)}
  end
end
-- Nothing expires that a relay has, or may have.
if to == 'expired' then
  if handed == 'yes' then
    to = 'accepted'
  elseif outcome_of(cred) == 'accepted' then
    to, reason = 'accepted', 'used'
  elseif handed == 'maybe' or reason == 'unconfirmed' then
    to, reason = 'unknown', 'unconfirmed'
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
redis.call('HSET', KEYS[1], 'state', to, 'changed', time, 'reason', reason)
if to == arg.to or to == 'revoked' or to == 'unknown' and reason == arg.reason then
  redis.call('HSET', KEYS[1], 'code', arg.code, 'enhanced', arg.enhanced, 'said', arg.said, 'relay', arg.relay)
end
if arg.queue_id ~= '' then
  redis.call('HSET', KEYS[1], 'queue_id', arg.queue_id)
end
if arg.to == 'accepted' then
  redis.call('HSET', KEYS[1], 'accepted', time, 'handed', 'yes')
elseif reason == 'unconfirmed' and handed ~= 'yes' then
  redis.call('HSET', KEYS[1], 'handed', 'maybe')
end
if next ~= '0' then
  redis.call('HSET', KEYS[1], 'next', next)
end
if arg.counts == '0' and lock == arg.token then
  redis.call('HSET', KEYS[1], 'tries', math.max(number(redis.call('HGET', KEYS[1], 'tries')) - 1, 0))
end
if cred ~= 'active' then -- which has no end
  redis.call('PEXPIREAT', KEYS[1], arg.gone)
end
return {'state', to}
