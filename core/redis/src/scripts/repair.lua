-- Ends a repair: sets the marker, if it is still the one found. Answers 1, 0 if it is another one, 2
-- if channels are left that must go first.
-- KEYS: state, registry, heads, overfull. ARGV: the marker found (empty for none), the marker to set,
-- its place, whether all channels must be gone (1 or 0).
if (redis.call('HGET', KEYS[1], 'm') or '') ~= ARGV[1] then return 0 end
if ARGV[4] == '1' then
  if redis.call('ZCARD', KEYS[2]) > 0 then return 2 end
  redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
  redis.call('HDEL', KEYS[1], 'b')
end
-- What is restored is in the history up to here; more than that was said by another one.
local trim_limit = redis.call('HGET', KEYS[1], 't')
if trim_limit and tonumber(trim_limit) > tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 't', ARGV[3])
end
redis.call('HSET', KEYS[1], 'm', ARGV[2])
return 1
