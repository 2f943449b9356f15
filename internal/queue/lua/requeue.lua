-- Puts an orphaned task back at the head of its queue, as asynq's own requeue does, unless somebody has taken it since. Or one
-- that this worker has fetched and does not begin.
-- KEYS[1] asynq:{<queue>}:active
-- KEYS[2] asynq:{<queue>}:lease
-- KEYS[3] asynq:{<queue>}:pending
-- KEYS[4] asynq:{<queue>}:t:<id>
-- ARGV[1] id
-- ARGV[2] 1 for this worker's own, whose lease goes on
-- returns 1, or 0 where it was not an orphan any more
local t = redis.call('TIME')
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
if ARGV[2] ~= '1' and lease and tonumber(lease) >= tonumber(t[1]) or redis.call('LREM', KEYS[1], 0, ARGV[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[4], 'state', 'pending', 'pending_since', t[1] .. string.format('%06d000', t[2]))
redis.call('RPUSH', KEYS[3], ARGV[1])
return 1
