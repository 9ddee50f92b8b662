-- KEYS holds the fence and the key of each entry. ARGV holds the load's token, the value and the time to live in
-- milliseconds of each entry. A fence holds the token only if the key was not evicted since the load began.
local filled = 0
for i = 1, #KEYS / 2 do
  local fence, key, arg = KEYS[2 * i - 1], KEYS[2 * i], 3 * i
  if redis.call('GET', fence) == ARGV[arg - 2] then
    redis.call('DEL', fence)
    redis.call('SET', key, ARGV[arg - 1], 'PX', ARGV[arg])
    filled = filled + 1
  end
end
return filled
