-- Finishes one answer to a credential: counts the miss, or uses the credential up. Of a TOTP, the time step is used up.
-- arguments: token, result (right, wrong, or none if the answer was not compared), matches (1 if the answer is the secret's,
--            though it may be too late), totp (1 for a TOTP, 0 for a code or key), again (ms for which a yes is said again),
--            step (of a right TOTP code), misses (at which the credential is locked), misses_active (in a row, at which an
--            active TOTP is)
-- returns right, wrong:<tries left>, unknown, replayed, or the state that leaves nothing to verify
local arg = named()
local time = now()
local r = redis.call('HMGET', KEYS[1], 'cred', 'expires', 'misses', 'calls', 'step')
local cred, expires, misses, calls, step = r[1], number(r[2]), count(r[3]), r[4] or '', number(r[5])

-- A token comes again where a call is repeated because its reply was lost, here or on the application's side. A yes is
-- only repeated to an answer that is right: whoever can write to Redis could put one here.
local before, at = string.match(calls, arg.token .. '=([%w:]+)@(%d+)')
if before == 'right' and arg.matches == '1' and number(at) + arg.again >= time or string.match(before or '', '^wrong:%d+$') then
  return before
end
-- What there is nothing to compare with takes as long as a wrong answer, and leaves nothing. Where there is no record, it makes
-- up for what it takes to find one, too. A mail that no worker has opened can have a record without a secret.
if not cred and redis.call('EXISTS', KEYS[1]) == 0 then
  local fields, record = {'v', 'kind', 'purpose', 'digits', 'bound', 'created', 'expires', 'kid', 'seed', 'to', 'fingerprint', 'mac', 'totp'}, {}
  for i, field in ipairs(fields) do
    record[2 * i - 1], record[2 * i] = field, 0
  end
  redis.call('HSET', KEYS[1], unpack(record))
  redis.call('DEL', KEYS[1])
  return 'unknown'
elseif not cred or arg.result == 'none' then
  redis.call('HSET', KEYS[1], 'none', arg.token .. '=wrong:0@' .. string.format('%.0f', time) .. ' ')
  redis.call('HDEL', KEYS[1], 'none')
  return 'unknown'
end
-- Each kind has its own states. In one of the other, a code would have no end, or a TOTP's codes could be used twice.
local totp = arg.totp == '1'
if not (cred == 'live' and not totp or (cred == 'pending' or cred == 'active') and totp) then
  return cred
end
if cred ~= 'active' and expires <= time then
  return 'expired'
end

local answer
if arg.result == 'wrong' then
  local left = tonumber(cred == 'active' and arg.misses_active or arg.misses) - misses - 1
  answer = 'wrong:' .. math.max(left, 0)
  redis.call('HSET', KEYS[1], 'misses', misses + 1)
  if left <= 0 then
    redis.call('HSET', KEYS[1], 'cred', 'locked')
    redis.call('DEL', KEYS[2])
    if cred ~= 'active' then -- an active one keeps its sealed secret, and can be unlocked
      redis.call('HDEL', KEYS[1], 'totp')
    end
  end
elseif cred == 'live' then
  answer = 'right'
  redis.call('HSET', KEYS[1], 'cred', 'verified')
  redis.call('DEL', KEYS[2])
else
  if tonumber(arg.step) <= step then
    return 'replayed'
  end
  answer = 'right'
  redis.call('HSET', KEYS[1], 'cred', 'active', 'step', arg.step, 'misses', 0)
  redis.call('PERSIST', KEYS[1])
  redis.call('DEL', KEYS[2])
end
-- Only an active TOTP has more calls than misses. Of those the last hundred and more are kept, so that a repeated call
-- finds its own.
calls = calls .. arg.token .. '=' .. answer .. '@' .. string.format('%.0f', time) .. ' '
if #calls > 6000 then
  calls = string.match(calls, ' (.*)', #calls - 6000) or ''
end
redis.call('HSET', KEYS[1], 'calls', calls)
return answer
