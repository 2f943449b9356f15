-- Moves a mail that has ended to queued, for another sending. May be repeated; does nothing once a worker has begun that sending.
-- arguments: resends
local arg = named()
local r = redis.call('HMGET', KEYS[1], 'state', 'sending')
if has_ended(r[1]) and count(r[2]) + 1 == tonumber(arg.resends) and redis.call('EXISTS', KEYS[2]) == 1 then
  begin_sending(arg.resends)
  redis.call('HDEL', KEYS[1], 'next', 'lock', 'lock_until')
  redis.call('HSET', KEYS[1], 'state', 'queued', 'changed', now())
end
return 1
