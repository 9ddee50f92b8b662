-- KEYS: fence, key. ARGV: token, value, milliseconds to live.
-- The fence holds the token only if nobody evicted the key since the load began.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
