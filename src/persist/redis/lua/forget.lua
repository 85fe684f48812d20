-- Removes tombstones that are still the same.
-- KEYS: meta, items, index
-- ARGV: edition, then field and stamp of each tombstone
local meta = load_meta()
local refusal = obstacle(meta, ARGV[1])
if refusal then return refusal end
local before = meta.forgotten
local marks = {}
for at = 2, #ARGV, 2 do
  local value = redis.call('HGET', KEYS[2], ARGV[at])
  if value and #value >= HEAD and value:sub(1, 18) == FORMAT .. ARGV[at + 1] .. '1' then
    redis.call('HDEL', KEYS[2], ARGV[at])
    redis.call('ZREM', KEYS[3], ARGV[at])
    meta.forgotten = meta.forgotten + 1
    marks[#marks + 1] = '1'
  else
    marks[#marks + 1] = '0'
  end
end
if meta.forgotten > before then redis.call('HSET', KEYS[1], 'forgotten', text(meta.forgotten)) end
return { 'done', meta.epoch, text(before), text(meta.forgotten), table.concat(marks) }
