-- Lists the tasks of a queue that are active and whose lease has ended, or that have none. An id whose task is gone, which
-- asynq would keep for ever, is removed.
-- KEYS[1] asynq:{<queue>}:active
-- KEYS[2] asynq:{<queue>}:lease: by id, the second in which the lease ends
-- ARGV[1] asynq:{<queue>}:t: , the beginning of the tasks' keys
-- returns {ids that were forgotten, ids of orphans}
local now = tonumber(redis.call('TIME')[1])
local forgotten, orphans = {}, {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local lease = redis.call('ZSCORE', KEYS[2], id)
  if redis.call('HEXISTS', ARGV[1] .. id, 'msg') == 0 then
    redis.call('LREM', KEYS[1], 0, id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('DEL', ARGV[1] .. id)
    table.insert(forgotten, id)
  elseif not lease or tonumber(lease) < now then
    table.insert(orphans, id)
  end
end
return {forgotten, orphans}
