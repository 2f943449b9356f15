-- Moves a mail that has ended to queued, for another sending. May be repeated; does nothing once a worker has begun that sending.
-- KEYS[1] the record
-- KEYS[2] the sealed mail
-- ARGV    number of the sending
local t = redis.call('TIME')
local r = redis.call('HMGET', KEYS[1], 'state', 'sending')
local state = r[1]
local final = state == 'accepted' or state == 'refused' or state == 'expired' or state == 'revoked' or state == 'unknown'
if final and tonumber(r[2] or '0') + 1 == tonumber(ARGV[1]) and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HDEL', KEYS[1], 'reason', 'code', 'enhanced', 'relay', 'queue_id', 'accepted', 'next', 'lock', 'lock_until')
  redis.call('HSET', KEYS[1], 'state', 'queued', 'sending', ARGV[1], 'tries', 0, 'changed', t[1] * 1000 + math.floor(t[2] / 1000))
end
return 1
