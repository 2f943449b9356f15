-- Takes the send lock of a mail and counts an attempt.
-- arguments: token, lock (ms), sealed, dies (ms, when the sealed mail goes), gone (ms, when the record goes), resends;
--            then what a new record begins with: field, value, ...
-- returns name, value, ...: status open with what the record has; status locked with for (ms); status ended with outcome
local arg, rest = named()
local time = now()
local r = redis.call('HMGET', KEYS[1], 'state', 'lock', 'lock_until', 'seed', 'cred', 'sending', 'tries')
local state, lock, seed, cred = r[1], r[2], r[4], r[5]
local held, at, resends, ended = lock_left(r[3], time), count(r[6]), tonumber(arg.resends), has_ended(r[1])

-- The task of an earlier sending came again, or one that no resend has made: sendings follow each other.
if resends < at or seed and resends > at + 1 then
  return {'status', 'ended', 'outcome', ended and state or 'unknown'}
end
if ended and resends == at then
  return {'status', 'ended', 'outcome', state}
end
if lock and lock ~= arg.token and held > 0 then
  return {'status', 'locked', 'for', tostring(held)}
end
-- A dead secret is not sent. A verified one was evidently mailed before, by an attempt whose end nobody saw.
local outcome = outcome_of(cred)
if outcome and not ended then
  local reason = ({locked = 'misses', revoked = 'revoked'})[cred] or 'used'
  redis.call('HSET', KEYS[1], 'state', outcome, 'changed', time, 'reason', reason)
  redis.call('HDEL', KEYS[1], 'next', 'lock', 'lock_until')
  return {'status', 'ended', 'outcome', outcome}
end
if resends > at then
  if outcome or not seed then
    return {'status', 'ended', 'outcome', outcome or 'expired'}
  elseif not ended then
    return {'status', 'locked', 'for', arg.lock} -- an earlier sending is still open
  end
  begin_sending(resends)
end
if not seed and not state then -- without its seed, a record is no worker's: it is returned as it is, and its MAC is wrong
  redis.call('HSET', KEYS[1], unpack(ARGV, rest))
  redis.call('PEXPIREAT', KEYS[1], arg.gone)
  redis.call('SET', KEYS[2], arg.sealed, 'PXAT', arg.dies)
end
if lock ~= arg.token then -- the same token is the same call, repeated because its reply was lost
  redis.call('HSET', KEYS[1], 'tries', (resends > at and 0 or count(r[7])) + 1)
end
redis.call('HSET', KEYS[1], 'state', 'sending', 'changed', time, 'lock', arg.token, 'lock_until', time + arg.lock)
redis.call('HDEL', KEYS[1], 'next')
local fields = {'v', 'kind', 'purpose', 'digits', 'bound', 'created', 'expires', 'kid', 'seed', 'to', 'fingerprint', 'mac', 'totp', 'sending', 'tries', 'reason', 'relay'}
local values, reply = redis.call('HMGET', KEYS[1], unpack(fields)), {'status', 'open'}
for i, field in ipairs(fields) do
  reply[#reply + 1] = field
  reply[#reply + 1] = values[i] or ''
end
return reply
