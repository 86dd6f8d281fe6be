-- Forgets channels, in the order given, while the partition is beyond its bytes; only those that are
-- wholly at or below the checkpoint. Answers the bytes left.
-- ARGV[2]: the partition's bytes.
local most = tonumber(ARGV[2])
for number = 1, #KEYS - STREAMS do
  if total <= most then break end
  local channel = load_channel(number)
  if not channel.known or tonumber(channel.head) <= trim_limit then
    forget(channel)
  end
end
redis.call('HSET', STATE, 'b', whole(total))
return whole(total)
