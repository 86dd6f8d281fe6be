-- The records of channels, with the marker of the same moment.
-- KEYS: state, heads. ARGV: channels.
return { redis.call('HGET', KEYS[1], 'm') or '', redis.call('HMGET', KEYS[2], unpack(ARGV)) }
