-- Trims channels that were beyond their bounds.
-- ARGV: from the second on each channel's bounds (events, bytes, age).
for number = 1, #KEYS - STREAMS do
  local channel, keep = load_channel(number), bounds_at(3 * number - 1)
  if channel.known then
    trim(channel, keep)
    save_channel(channel)
  end
  if not channel.known or not exceeds(channel, keep) then
    redis.call('SREM', OVERFULL, channel.name)
  end
end
redis.call('HSET', STATE, 'b', whole(total))
return whole(total)
