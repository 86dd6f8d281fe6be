-- A channel's events from a place on: the marker, the channel's record (empty: none), the first bytes
-- of its oldest event, the events. All of one moment.
-- KEYS: state, heads, stream. ARGV: channel, first place (`+`: none), how many at most, how many bytes
-- of the oldest.
local marker = redis.call('HGET', KEYS[1], 'm') or ''
local record = redis.call('HGET', KEYS[2], ARGV[1])
if not record then return { marker, '', '', {} } end
local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', '1')
if #oldest == 0 then return { marker, '', '', {} } end
local events = {}
if ARGV[2] ~= '+' then
  for at, entry in ipairs(redis.call('XRANGE', KEYS[3], ARGV[2], '+', 'COUNT', ARGV[3])) do
    events[at] = entry[2][2]
  end
end
return { marker, record, string.sub(oldest[1][2][2], 1, tonumber(ARGV[4])), events }
