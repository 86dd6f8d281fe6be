-- Applies events in order while the marker is the one expected; answers one letter an event tried:
-- A applied, R repeat, M mismatch (the last one), and the marker.
-- ARGV[2]: epoch. ARGV[3]: number of channels. Then each channel's bounds (events, bytes, age), then
-- each event: its channel's number, expected marker, place, the place of its `prev` in this epoch
-- (`-`: none, unknown or of another epoch), encoded event.
local epoch, count = ARGV[2], tonumber(ARGV[3])
local channels = {}

-- Whether the marker is at or above a place of this epoch.
local function passed(place)
  if not marker then return false end
  local marker_epoch, marker_place = string.match(marker, '^(%d+):(%d+)$')
  if not marker_epoch then return false end
  if marker_epoch ~= epoch then return tonumber(marker_epoch) > tonumber(epoch) end
  return tonumber(marker_place) >= tonumber(place)
end

local function append(channel, place, prev, event)
  if not channel.known or channel.head ~= prev then
    -- What came before is no longer a suffix that ends here.
    clear(channel)
  end
  local added = redis.pcall('XADD', channel.key, place .. '-0', 'e', event)
  if type(added) == 'table' and added.err then
    if not string.find(added.err, 'equal or smaller', 1, true) then error(added) end
    -- A stream that says otherwise than its record is not worth more than a new one.
    clear(channel)
    redis.call('XADD', channel.key, place .. '-0', 'e', event)
  end
  local time, cost = time_of(event), #event + EVENT_COST
  if not channel.known then
    total = total + channel_cost(channel)
    channel.known, channel.oldest = true, time
  end
  channel.head, channel.newest, channel.events = place, time, channel.events + 1
  channel.bytes, total = channel.bytes + cost, total + cost
  redis.call('SPUBLISH', channel.key, event)
end

local function apply_all()
  local outcomes = {}
  for at = 4 + 3 * count, #ARGV, 5 do
    local place = ARGV[at + 2]
    if marker == ARGV[at + 1] then
      local number = tonumber(ARGV[at])
      channels[number] = channels[number] or load_channel(number)
      append(channels[number], place, ARGV[at + 3], ARGV[at + 4])
      marker = epoch .. ':' .. place
      outcomes[#outcomes + 1] = 'A'
    elseif passed(place) then
      outcomes[#outcomes + 1] = 'R'
    else
      outcomes[#outcomes + 1] = 'M'
      break
    end
  end
  return outcomes
end

local outcomes = apply_all()
for number, channel in pairs(channels) do
  local keep = bounds_at(1 + 3 * number)
  trim(channel, keep)
  save_channel(channel)
  if exceeds(channel, keep) then
    redis.call('SADD', OVERFULL, channel.name)
  end
end
if next(channels) then
  redis.call('HSET', STATE, 'm', marker, 'b', whole(total))
end
return { table.concat(outcomes), marker or '' }
