-- Deletes a task that has finished, so that its id is free for another one.
-- KEYS[1] asynq:{<queue>}:t:<id>
-- KEYS[2] asynq:{<queue>}:archived
-- KEYS[3] asynq:{<queue>}:completed
-- ARGV[1] id
-- returns 1 if it has deleted the task
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'archived' and state ~= 'completed' then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return redis.call('DEL', KEYS[1])
