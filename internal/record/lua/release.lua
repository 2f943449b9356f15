-- Frees the id of an idempotency key, unless a second call relies on the reservation: it may have queued the mail.
-- KEYS[1] as in reserve.lua
-- arguments: fingerprint
-- returns 1 if it is free
local arg = named()
if redis.call('GET', KEYS[1]) == arg.fingerprint then
  return redis.call('DEL', KEYS[1])
end
return 0
