-- Takes up to n tasks from a queue, as asynq's dequeue takes one. An id whose task is gone is dropped: asynq would keep it as
-- active for ever, and take the queue for empty.
-- KEYS[1] asynq:{<queue>}:pending
-- KEYS[2] asynq:{<queue>}:paused
-- KEYS[3] asynq:{<queue>}:active
-- KEYS[4] asynq:{<queue>}:lease
-- ARGV[1] the second in which the leases end
-- ARGV[2] asynq:{<queue>}:t: , the beginning of the tasks' keys
-- ARGV[3] n
-- returns id, message, ...
local taken = {}
if redis.call('EXISTS', KEYS[2]) == 1 then
  return taken
end
for _ = 1, tonumber(ARGV[3]) do
  local id
  for _ = 1, 1000 do -- of those that are gone, so that the script ends
    id = redis.call('RPOPLPUSH', KEYS[1], KEYS[3])
    if not id or redis.call('HEXISTS', ARGV[2] .. id, 'msg') == 1 then
      break
    end
    redis.call('LREM', KEYS[3], 1, id)
    id = nil
  end
  if not id then
    break
  end
  redis.call('HSET', ARGV[2] .. id, 'state', 'active')
  redis.call('HDEL', ARGV[2] .. id, 'pending_since')
  redis.call('ZADD', KEYS[4], ARGV[1], id)
  taken[#taken + 1] = id
  taken[#taken + 1] = redis.call('HGET', ARGV[2] .. id, 'msg')
end
return taken
