-- Drops channels' hot history for a repair, if the marker is still the one found. Answers 1 or 0.
-- ARGV[2]: the marker found, empty for none.
if (marker or '') ~= ARGV[2] then return 0 end
for number = 1, #KEYS - STREAMS do
  forget(load_channel(number))
end
redis.call('HSET', STATE, 'b', whole(total))
return 1
