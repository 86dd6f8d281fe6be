-- Raises the place at or below which events are in the history. Answers nothing if it was no lower;
-- else channels beyond their bounds, and, if the partition is beyond its bytes, the channels longest
-- without an event that may go.
-- KEYS: state, registry, overfull. ARGV: place, the partition's bytes, how many channels at most.
local stored = redis.call('HMGET', KEYS[1], 't', 'b')
if tonumber(stored[1] or '0') >= tonumber(ARGV[1]) then return {} end
redis.call('HSET', KEYS[1], 't', ARGV[1])
local oldest = {}
if tonumber(stored[2] or '0') > tonumber(ARGV[2]) then
  oldest = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', '0', ARGV[3])
end
return { redis.call('SRANDMEMBER', KEYS[3], ARGV[3]), oldest }
