-- Gives back one message that reserve.lua counted and the relay was not given.
-- A call is repeated where its reply was lost. The second one finds the call's key, and gives nothing back.
-- KEYS[1] the relay's counters
-- KEYS[2] this call, in the same slot
-- ARGV    interval between messages in us (0 for no limit)
if not redis.call('SET', KEYS[2], 1, 'NX', 'PX', 60000) then -- longer than any client repeats a call
  return 0
end
local hour = math.floor(redis.call('TIME')[1] / 3600)
for _, field in ipairs({'h' .. hour, 'h' .. (hour - 1)}) do -- the hour may have changed since
  if tonumber(redis.call('HGET', KEYS[1], field) or '0') > 0 then
    redis.call('HINCRBY', KEYS[1], field, -1)
    break
  end
end
local tat, interval = redis.call('HGET', KEYS[1], 'tat'), tonumber(ARGV[1])
if tat and interval > 0 then
  redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat - interval))
end
return 0
