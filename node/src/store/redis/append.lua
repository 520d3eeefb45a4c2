-- An id of zero is none.
local time, publication, topic, record, size = math.max(tonumber(ARGV[1]), 1), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local gone = tonumber(redis.call('HGET', state, 'gone') or '-1')
if time > gone and redis.call('HEXISTS', places, publication) == 0 then
  local newest = redis.call('HMGET', state, 'time', 'n')
  local n = 0
  if newest[1] and time <= tonumber(newest[1]) then
    time, n = tonumber(newest[1]), tonumber(newest[2]) + 1
  end
  local id = string.format('%.0f-%.0f', time, n)
  if topic == '' then
    redis.call('XADD', stream, id, 'publication', publication, 'size', size, 'record', record)
  else
    redis.call('XADD', stream, id, 'publication', publication, 'size', size, 'topic', topic, 'record', record)
    redis.call('ZADD', base .. ':topic:' .. topic, 0, in_order(id))
  end
  redis.call('HSET', places, publication, id)
  redis.call('HSET', state, 'time', string.format('%.0f', time), 'n', n)
  redis.call('HINCRBY', state, 'bytes', size)
end
trim(tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), 64)
return 0
