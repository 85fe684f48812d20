-- Writes a part of a new edition into keys of its own, where nobody sees it yet.
-- KEYS: meta, staged items, staged index
-- ARGV: edition, the sequence before the first record, time to live in ms, then field and value of each record
local meta = load_meta()
local refusal = obstacle(meta, ARGV[1])
if meta and (not refusal or refusal[1] ~= 'lower') then
  redis.call('UNLINK', KEYS[2], KEYS[3])
  return refusal or { 'equal' }
end
local sequence = tonumber(ARGV[2])
local added = 0
for at = 4, #ARGV, 2 do
  sequence = sequence + 1
  added = added + redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  redis.call('ZADD', KEYS[3], text(sequence), ARGV[at])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return { 'done', text(added), text(sequence) }
