-- Replaces what is retained of a topic, unless something newer is there. The stamp stands before the record, 41 characters.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known or string.sub(known, 1, 41) <= ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ARGV[3])
end
return 0
