-- Counts the wrong answers of a recipient. What is being compared at this moment is none.
-- KEYS[1] the recipient's counters
-- arguments: purpose, window (ms)
-- returns {now in ms, those to codes and keys of the purpose, of all purposes, those to TOTPs of the purpose}
local arg = named()
local time = now()
local fields, code, codes, totp = redis.call('HGETALL', KEYS[1]), 0, 0, 0
for i = 1, #fields, 2 do
  local group, purpose = string.match(fields[i], '^([mt]):([^:]*):')
  if group and tonumber(fields[i + 1]) <= time - arg.window then
    redis.call('HDEL', KEYS[1], fields[i])
  elseif group == 'm' then
    codes = codes + 1
    if purpose == arg.purpose then
      code = code + 1
    end
  elseif group == 't' and purpose == arg.purpose then
    totp = totp + 1
  end
end
return {time, code, codes, totp}
