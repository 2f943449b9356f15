-- Charges one answer to the counter of a recipient and purpose: before it is compared, so that no number of parallel
-- answers gets more comparisons than the limit.
-- KEYS[1] the recipient's counters
-- ARGV    field of this call, m:<purpose>:<token>; the fields' common beginning; answers that may be charged; window in ms
-- returns {1 if charged, now in ms}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local fields, count, charged = redis.call('HGETALL', KEYS[1]), 0, false
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'm:' and tonumber(fields[i + 1]) <= now - ARGV[4] then
    redis.call('HDEL', KEYS[1], fields[i])
  elseif fields[i] == ARGV[1] then
    charged = true -- the same token again is the same call, repeated because its reply was lost
  elseif string.sub(fields[i], 1, #ARGV[2]) == ARGV[2] then
    count = count + 1
  end
end
if not charged then
  if count >= tonumber(ARGV[3]) then
    return {0, now}
  end
  redis.call('HSET', KEYS[1], ARGV[1], now)
  redis.call('PEXPIRE', KEYS[1], 90000000) -- 25 hours
end
return {1, now}
