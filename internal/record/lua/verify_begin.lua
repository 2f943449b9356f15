-- Reserves a place for one answer in the counter of a recipient and purpose. It is reserved before the answer is compared,
-- so that no number of parallel answers gets more comparisons than the limit.
-- KEYS[1] the recipient's counters
-- arguments: field (of this call, m:<purpose>:<token>), prefix (of the fields of this purpose), most (answers), window (ms)
-- returns {1 if there was a place, now in ms}
local arg = named()
local time = now()
local fields, count, reserved = redis.call('HGETALL', KEYS[1]), 0, false
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'm:' and tonumber(fields[i + 1]) <= time - arg.window then
    redis.call('HDEL', KEYS[1], fields[i])
  elseif fields[i] == arg.field then
    reserved = true -- the same call, repeated because its reply was lost
  elseif string.sub(fields[i], 1, #arg.prefix) == arg.prefix then
    count = count + 1
  end
end
if not reserved then
  if count >= tonumber(arg.most) then
    return {0, time}
  end
  redis.call('HSET', KEYS[1], arg.field, time)
  redis.call('PEXPIRE', KEYS[1], 90000000) -- 25 hours
end
return {1, time}
