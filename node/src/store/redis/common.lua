-- One history: its stream, where each publication lies, the newest id and the bytes.
local base = KEYS[1]
local stream, places, state = base .. ':events', base .. ':publications', base .. ':state'

local function in_order(id)
  local time, n = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #time) .. time .. '-' .. string.rep('0', 20 - #n) .. n
end

-- Takes out the oldest events beyond the bounds, at most `most` of them, and notes how far it went: what is older does not come back.
local function trim(events_max, bytes_max, oldest, most)
  local count = redis.call('XLEN', stream)
  local bytes = tonumber(redis.call('HGET', state, 'bytes') or '0')
  for _ = 1, most do
    local full = count > events_max or bytes > bytes_max
    if count == 0 or not full and oldest == 0 then
      return
    end
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    local id, fields = first[1], {}
    if not full and tonumber(string.match(id, '^%d+')) >= oldest then
      return
    end
    for i = 1, #first[2], 2 do
      fields[first[2][i]] = first[2][i + 1]
    end
    redis.call('XDEL', stream, id)
    redis.call('HDEL', places, fields.publication)
    if fields.topic then
      redis.call('ZREM', base .. ':topic:' .. fields.topic, in_order(id))
    end
    bytes = redis.call('HINCRBY', state, 'bytes', -tonumber(fields.size))
    count = count - 1
    redis.call('HSET', state, 'gone', string.match(id, '^%d+'))
  end
end
