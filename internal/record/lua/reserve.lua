-- Reserves the id of an idempotency key for one mail.
-- KEYS[1] the fingerprint of the mail that has the key, with a + behind it once a second call relies on that
-- arguments: fingerprint, keep (ms)
-- returns 0 if the key is the mail's from now on, 1 if it was before, or -1 if it is another mail's
local arg = named()
local before = redis.call('GET', KEYS[1])
if not before then
  redis.call('SET', KEYS[1], arg.fingerprint, 'PX', arg.keep)
  return 0
end
if before == arg.fingerprint then
  redis.call('SET', KEYS[1], before .. '+', 'KEEPTTL')
elseif before ~= arg.fingerprint .. '+' then
  return -1
end
return 1
