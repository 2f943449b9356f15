-- Gives one sending of a mail its place among the mails to its recipient, once: asked again, it has the same place.
-- Fields are s:<kind>:<id>.<sending>, values the times in ms at which each may go out.
-- KEYS[1] the recipient's counters
-- ARGV    field of this sending; beginning of the fields of its kind; ms between two of a kind; mails an hour; mails a day;
--         time in ms after which it is of no use; 1 to count it, 0 to look only
-- returns in how many ms it may go out, or -1 where it may not
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local fields, slot, times = redis.call('HGETALL', KEYS[1]), now, {}
for i = 1, #fields, 2 do
  local at = tonumber(fields[i + 1])
  if fields[i] == ARGV[1] then
    return math.max(at - now, 0)
  elseif string.sub(fields[i], 1, 2) == 's:' then
    if at <= now - 86400000 then
      redis.call('HDEL', KEYS[1], fields[i])
    else
      times[#times + 1] = at
      if string.sub(fields[i], 1, #ARGV[2]) == ARGV[2] then
        slot = math.max(slot, at + ARGV[3])
      end
    end
  end
end
local hour = 0
for _, at in ipairs(times) do
  if at > slot - 3600000 then
    hour = hour + 1
  end
end
if hour >= tonumber(ARGV[4]) or #times >= tonumber(ARGV[5]) or slot > tonumber(ARGV[6]) then
  return -1
end
if ARGV[7] == '1' then
  redis.call('HSET', KEYS[1], ARGV[1], slot)
  redis.call('PEXPIRE', KEYS[1], 90000000) -- 25 hours
end
return slot - now
