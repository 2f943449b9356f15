-- Takes the send lock of a mail and counts a try.
-- KEYS[1] the record
-- KEYS[2] the sealed mail, for resends
-- ARGV    token, lock time in ms, sealed mail, time it goes, time the record goes (both ms), number of the sending, and what
--         a new record begins with: field, value, ...
-- returns {"open", seed, key id, digits, sending, try, created, expires, last reason, last relay}, {"locked", ms left} or {"ended", outcome}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'state', 'lock', 'lock_until', 'seed', 'cred', 'sending')
local state, lock, lock_until, seed, cred = r[1], r[2], tonumber(r[3] or '0'), r[4], r[5]
local at, sending = tonumber(r[6] or '0'), tonumber(ARGV[6])
local final = state == 'accepted' or state == 'refused' or state == 'expired' or state == 'revoked' or state == 'unknown'

if sending < at then -- the task of an earlier sending once more
  return {'ended', final and state or 'unknown'}
end
if final and sending == at then
  return {'ended', state}
end
if lock and lock ~= ARGV[1] and lock_until > now then
  return {'locked', tostring(lock_until - now)}
end
-- A dead secret is not sent. A used one was evidently mailed before, by a try whose end nobody saw.
local outcome = ({used = 'accepted', active = 'accepted', locked = 'expired', revoked = 'revoked'})[cred or '']
if outcome and not final then
  redis.call('HSET', KEYS[1], 'state', outcome, 'changed', now, 'reason', ({active = 'used', locked = 'misses'})[cred] or cred)
  redis.call('HDEL', KEYS[1], 'next', 'lock', 'lock_until')
  return {'ended', outcome}
end
if sending > at then
  if outcome or not seed then
    return {'ended', outcome or 'expired'}
  elseif not final then
    return {'locked', ARGV[2]} -- an earlier sending is still open
  end
  redis.call('HDEL', KEYS[1], 'reason', 'code', 'enhanced', 'relay', 'queue_id', 'accepted')
  redis.call('HSET', KEYS[1], 'sending', sending, 'tries', 0)
end
if not seed then
  redis.call('HSET', KEYS[1], unpack(ARGV, 7))
  redis.call('PEXPIREAT', KEYS[1], ARGV[5])
  redis.call('SET', KEYS[2], ARGV[3], 'PXAT', ARGV[4])
end
if lock ~= ARGV[1] then -- the same token again is the same call, repeated because its reply was lost
  redis.call('HINCRBY', KEYS[1], 'tries', 1)
end
redis.call('HSET', KEYS[1], 'state', 'sending', 'changed', now, 'lock', ARGV[1], 'lock_until', now + ARGV[2])
redis.call('HDEL', KEYS[1], 'next')
local o = redis.call('HMGET', KEYS[1], 'seed', 'kid', 'digits', 'sending', 'tries', 'created', 'expires', 'reason', 'relay')
return {'open', o[1], o[2], o[3], o[4], o[5], o[6], o[7], o[8] or '', o[9] or ''}
