-- Gives one sending of a mail its place among the mails to its recipient, once: asked again, it has the same place.
-- Fields are s:<kind>:<id>.<sending>, values the times in ms at which each may go out.
-- KEYS[1] the recipient's counters
-- ARGV    field of this sending; beginning of the fields of its kind; ms between two of a kind; mails an hour; mails a day
--         (0 for no limit); for how many ms it is worth waiting; 1 to count it, 0 to look only
-- returns 1 (a new place), 0 (it had one) or -1 (none); in how many ms it may go out, or to ask again where it has no
--         place; in how many ms another one of its kind may go out
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local interval, perHour, perDay = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local patience = tonumber(ARGV[6])

local fields, mine, last, times = redis.call('HGETALL', KEYS[1]), nil, 0, {}
for i = 1, #fields, 2 do
  local at = tonumber(fields[i + 1])
  if fields[i] == ARGV[1] then
    mine = at
  end
  if string.sub(fields[i], 1, 2) == 's:' then
    if at > now - 86400000 then
      times[#times + 1] = at
      if string.sub(fields[i], 1, #ARGV[2]) == ARGV[2] then
        last = math.max(last, at + interval)
      end
    elseif fields[i] ~= ARGV[1] then
      redis.call('HDEL', KEYS[1], fields[i])
    end
  end
end
table.sort(times)

-- from when on there are fewer than limit of the times in the window before
local function free(limit, window)
  local nth = limit > 0 and times[#times - limit + 1]
  return nth and nth + window or 0
end

local slot = math.max(now, last)
local day, hour = free(perDay, 86400000), free(perHour, 3600000)
if mine then
  return {0, mine - now, math.max(slot, day, hour) - now}
end
if day > now or hour > slot or slot > now + patience then
  local again = math.max(now, day, slot - patience)
  if hour > slot then
    again = math.max(again, hour)
  end
  return {-1, again - now, 0}
end
if ARGV[7] == '1' then
  redis.call('HSET', KEYS[1], ARGV[1], slot)
  redis.call('PEXPIRE', KEYS[1], 90000000) -- 25 hours
end
times[#times + 1] = slot
table.sort(times)
return {1, slot - now, math.max(slot + interval, free(perDay, 86400000), free(perHour, 3600000)) - now}
