-- Counts one message to a relay, unless it is over a limit.
-- The limit per second is GCRA: tat is when the messages counted so far would all be through at an even pace. The limit
-- per day is a sum over the fields h<hour> of the last 24 hours.
-- KEYS[1] the relay's counters
-- ARGV    interval between messages in us (0 for no limit), how much earlier one may be in us, messages a day (0 for no limit)
-- returns 0 (counted), or in how many ms to ask again
local t = redis.call('TIME')
local now, hour = t[1] * 1000000 + t[2], math.floor(t[1] / 3600)
local interval, burst, day = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

if day > 0 then
  local sum, oldest = 0, hour
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields, 2 do
    local h = tonumber(string.match(fields[i], '^h(%d+)$') or '')
    if h and h <= hour - 24 then
      redis.call('HDEL', KEYS[1], fields[i])
    elseif h then
      sum = sum + tonumber(fields[i + 1])
      oldest = math.min(oldest, h)
    end
  end
  if sum >= day then
    return (oldest + 24) * 3600000 - math.floor(now / 1000)
  end
end
local tat = math.max(tonumber(redis.call('HGET', KEYS[1], 'tat') or '0'), now)
if interval > 0 then
  if tat - burst > now then
    return math.ceil((tat - burst - now) / 1000)
  end
  redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat + interval))
end
if day > 0 then
  redis.call('HINCRBY', KEYS[1], 'h' .. hour, 1)
end
redis.call('PEXPIRE', KEYS[1], 90000000) -- 25 hours
return 0
