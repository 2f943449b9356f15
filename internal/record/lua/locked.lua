-- returns 1 while somebody holds the send lock, else 0
return tonumber(redis.call('HGET', KEYS[1], 'lock_until') or '0') > now() and 1 or 0
