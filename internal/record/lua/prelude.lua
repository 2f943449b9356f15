-- What stands before every script of this package. KEYS[1] is the record of a mail, KEYS[2] its sealed mail, unless the
-- script says otherwise.

-- now returns Redis' own clock in ms.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- named returns the named arguments, and where the rest of ARGV begins: ARGV[1] is their number, name and value follow.
local function named()
  local arg, count = {}, tonumber(ARGV[1])
  for i = 2, 2 * count, 2 do
    arg[ARGV[i]] = ARGV[i + 1]
  end
  return arg, 2 * count + 2
end

-- number reads a field of the record: 0 where it is missing, or no number.
local function number(value)
  return tonumber(value or '') or 0
end

-- count reads a field that is never below 0. math.max(0, NaN) is 0.
local function count(value)
  return math.max(0, number(value))
end

-- lock_left returns for how many ms somebody holds the send lock. A lock that is further ahead than any worker takes one is
-- none: somebody else wrote it, and the mail would wait for ever.
local function lock_left(lock_until, time)
  local left = number(lock_until) - time
  return left > 0 and left <= 60000 and left or 0
end

-- has_ended reports whether a state is an outcome.
local function has_ended(state)
  return state == 'accepted' or state == 'refused' or state == 'expired' or state == 'revoked' or state == 'unknown'
end

-- outcome_of returns the outcome of a mail whose secret is in this state, or nil while it can be verified.
local function outcome_of(cred)
  return ({verified = 'accepted', exported = 'accepted', active = 'accepted', locked = 'expired', revoked = 'revoked'})[cred or '']
end

-- begin_sending moves the record to another sending, and forgets the result of the one before.
local function begin_sending(resends)
  redis.call('HDEL', KEYS[1], 'reason', 'code', 'enhanced', 'said', 'relay', 'queue_id', 'accepted')
  redis.call('HSET', KEYS[1], 'sending', resends, 'tries', 0)
end
