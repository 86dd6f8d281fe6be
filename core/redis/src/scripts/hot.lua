-- Hot history of one partition: each channel's record, what it costs, and trimming. The scripts that
-- change hot history begin with this text; each says what its own arguments are.
-- KEYS: state, registry, heads, overfull, then the channels' streams.
-- ARGV[1]: bytes of a stream's key before the channel's name.
local STATE, REGISTRY, HEADS, OVERFULL = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local STREAMS = 4
local NAME_AT = tonumber(ARGV[1]) + 1

-- What Redis needs beside the bytes of an event, and for a channel with few events (a stream's first
-- node takes 4 KiB at once).
local EVENT_COST, CHANNEL_COST = 40, 4600
-- How many entries are looked at in one go while trimming.
local STEP = 64

local stored = redis.call('HMGET', STATE, 'm', 't', 'b')
local marker = stored[1]
local trim_limit = tonumber(stored[2] or '0')
local total = tonumber(stored[3] or '0')

local function whole(number)
  return string.format('%.0f', number)
end

-- An event's time, where the encoding has it.
local function time_of(event)
  local high, low = struct.unpack('>I4I4', event, 23)
  return high * 4294967296 + low
end

local function empty(channel)
  channel.known, channel.head = false, ''
  channel.bytes, channel.oldest, channel.newest, channel.events = 0, 0, 0, 0
end

local function load_channel(number)
  local key = KEYS[STREAMS + number]
  local channel = { key = key, name = string.sub(key, NAME_AT) }
  empty(channel)
  local record = redis.call('HGET', HEADS, channel.name)
  if record then
    local head, bytes, oldest, newest, events =
      string.match(record, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    if head then
      channel.known, channel.head = true, head
      channel.bytes, channel.oldest = tonumber(bytes), tonumber(oldest)
      channel.newest, channel.events = tonumber(newest), tonumber(events)
    end
  end
  return channel
end

local function save_channel(channel)
  local record = channel.head .. ' ' .. whole(channel.bytes) .. ' ' .. whole(channel.oldest)
    .. ' ' .. whole(channel.newest) .. ' ' .. whole(channel.events)
  redis.call('HSET', HEADS, channel.name, record)
  redis.call('ZADD', REGISTRY, channel.head, channel.name)
end

local function channel_cost(channel)
  return CHANNEL_COST + 3 * #channel.name
end

-- Drops the events, not the record.
local function clear(channel)
  redis.call('UNLINK', channel.key)
  if channel.known then
    total = total - channel.bytes - channel_cost(channel)
  end
  empty(channel)
end

local function forget(channel)
  clear(channel)
  redis.call('HDEL', HEADS, channel.name)
  redis.call('ZREM', REGISTRY, channel.name)
  redis.call('SREM', OVERFULL, channel.name)
end

local function exceeds(channel, keep)
  return channel.events > keep.events or channel.bytes > keep.bytes
    or channel.oldest + keep.age < channel.newest
end

-- A sixteenth more than needed goes at once, so that a full channel is not trimmed at each event.
local function goal_of(channel, keep)
  local function less(bound) return bound - math.floor(bound / 16) end
  return {
    events = channel.events > keep.events and less(keep.events) or keep.events,
    bytes = channel.bytes > keep.bytes and less(keep.bytes) or keep.bytes,
    age = keep.age,
  }
end

-- Drops up to STEP of the oldest events that may go; whether there may be more to drop.
local function trim_step(channel, goal)
  local count = math.min(math.max(channel.events - goal.events, 8), STEP, channel.events - 1)
  if count < 1 then return false end
  local entries = redis.call('XRANGE', channel.key, '-', '+', 'COUNT', whole(count + 1))
  local dropped = 0
  while dropped + 1 < #entries and exceeds(channel, goal) do
    local entry = entries[dropped + 1]
    if tonumber(string.match(entry[1], '^%d+')) > trim_limit then break end
    dropped = dropped + 1
    local cost = #entry[2][2] + EVENT_COST
    channel.bytes, total = channel.bytes - cost, total - cost
    channel.events = channel.events - 1
    channel.oldest = time_of(entries[dropped + 1][2][2])
  end
  if dropped > 0 then
    redis.call('XTRIM', channel.key, 'MINID', entries[dropped + 1][1])
  end
  return dropped == count
end

-- Drops the oldest events beyond the bounds, never above the checkpoint and never the newest.
local function trim(channel, keep)
  if not exceeds(channel, keep) then return end
  local goal = goal_of(channel, keep)
  while trim_step(channel, goal) do end
end

local function bounds_at(argument)
  return {
    events = tonumber(ARGV[argument]),
    bytes = tonumber(ARGV[argument + 1]),
    age = tonumber(ARGV[argument + 2]),
  }
end
