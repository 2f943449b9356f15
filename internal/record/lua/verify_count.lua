-- Gives one compared answer its place among those of the recipient, and counts it if it was wrong. An answer without a
-- place is worth nothing, right or wrong. So no number of parallel answers gets more results than the limits.
-- KEYS[1] the recipient's counters
-- arguments: result (right, wrong or none), field (of this call: <group>:<purpose>:<token>), group, prefix (of the fields of
--            this group and purpose), most (of these), most_all (of the group)
-- returns 1 if there was a place, else 0
local arg = named()
local fields, count, all = redis.call('HGETALL', KEYS[1]), 0, 0
for i = 1, #fields, 2 do
  if fields[i] == arg.field then
    return 1 -- the same call, repeated because its reply was lost
  end
  if string.sub(fields[i], 1, #arg.group) == arg.group then
    all = all + 1
    if string.sub(fields[i], 1, #arg.prefix) == arg.prefix then
      count = count + 1
    end
  end
end
if count >= tonumber(arg.most) or all >= tonumber(arg.most_all) then
  return 0
end
if arg.result == 'wrong' then
  redis.call('HSET', KEYS[1], arg.field, now())
  redis.call('PEXPIRE', KEYS[1], 90000000) -- 25 hours
elseif arg.result == 'none' then -- it takes as long, and leaves nothing
  local scratch = 'n' .. arg.field
  redis.call('HSET', KEYS[1], scratch, now())
  redis.call('HDEL', KEYS[1], scratch)
end
return 1
