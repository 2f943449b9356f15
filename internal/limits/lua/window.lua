-- Counts one sending of a mail, unless as many as the limit were counted in the window of time before; once: asked again
-- while it is remembered, it counts no more. Members are sendings, scores the times in ms at which they were counted. So
-- there are never more members than the limit allows for the time that they are remembered.
-- KEYS[1] what was counted
-- ARGV    this sending; how many in a window; ms of a window; ms to remember a sending, a window at least; 1 to count it,
--         0 to look only
-- returns 1 (counted), 0 (it was counted before) or -1 (over the limit); in how many ms to ask again
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return {0, 0}
end
local nth = redis.call('ZRANGE', KEYS[1], -ARGV[2], -ARGV[2], 'WITHSCORES')[2]
if nth and nth + ARGV[3] > now then
  return {-1, nth + ARGV[3] - now}
end
if ARGV[5] == '1' then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {1, 0}
