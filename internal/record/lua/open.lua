-- Takes the send lock of a mail and counts a try.
-- KEYS[1] the record
-- ARGV    token, lock time in ms, kind, purpose, seed, key id, digits, created, expires, time the record goes (all ms),
--         tag of the address, sealed secret of a TOTP ("" for the other kinds)
-- returns {"open", seed, key id, digits, sending, try, created, expires, last reason, last relay}, {"locked", ms left} or {"ended", outcome}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'state', 'lock', 'lock_until', 'seed', 'cred')
local state, lock, lock_until, seed, cred = r[1], r[2], tonumber(r[3] or '0'), r[4], r[5]

if state == 'accepted' or state == 'refused' or state == 'expired' or state == 'revoked' or state == 'unknown' then
  return {'ended', state}
end
if lock and lock ~= ARGV[1] and lock_until > now then
  return {'locked', tostring(lock_until - now)}
end
-- A dead secret is not sent. A used one was evidently mailed before, by a try whose end nobody saw.
local outcome = ({used = 'accepted', active = 'accepted', locked = 'expired', revoked = 'revoked'})[cred or '']
if outcome then
  redis.call('HSET', KEYS[1], 'state', outcome, 'changed', now, 'reason', cred == 'active' and 'used' or cred)
  redis.call('HDEL', KEYS[1], 'next', 'lock', 'lock_until')
  return {'ended', outcome}
end
if not seed then
  redis.call('HSET', KEYS[1], 'v', 1, 'kind', ARGV[3], 'purpose', ARGV[4], 'seed', ARGV[5], 'kid', ARGV[6], 'digits', ARGV[7],
    'created', ARGV[8], 'expires', ARGV[9], 'sending', 0, 'tries', 0, 'to', ARGV[11], 'cred', 'live')
  if ARGV[12] ~= '' then
    redis.call('HSET', KEYS[1], 'totp', ARGV[12], 'cred', 'pending')
  end
  redis.call('PEXPIREAT', KEYS[1], ARGV[10])
end
if lock ~= ARGV[1] then -- the same token again is the same call, repeated because its reply was lost
  redis.call('HINCRBY', KEYS[1], 'tries', 1)
end
redis.call('HSET', KEYS[1], 'state', 'sending', 'changed', now, 'lock', ARGV[1], 'lock_until', now + ARGV[2])
redis.call('HDEL', KEYS[1], 'next')
local o = redis.call('HMGET', KEYS[1], 'seed', 'kid', 'digits', 'sending', 'tries', 'created', 'expires', 'reason', 'relay')
return {'open', o[1], o[2], o[3], o[4], o[5], o[6], o[7], o[8] or '', o[9] or ''}
