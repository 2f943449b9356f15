-- returns 1 while somebody holds the send lock, else 0
return lock_left(redis.call('HGET', KEYS[1], 'lock_until'), now()) > 0 and 1 or 0
