-- Removes records of an environment that the register does not list.
-- KEYS: meta, items, index
-- ARGV: edition, environment, then the fields
local meta = load_meta()
local refusal = obstacle(meta, ARGV[1])
if refusal then return refusal end
local read, listed = pcall(cjson.decode, redis.call('HGET', KEYS[1], 'register_environments') or '')
if not read or type(listed) ~= 'table' then return { 'listed' } end
for _, environment in ipairs(listed) do
  if environment == ARGV[2] then return { 'listed' } end
end
local before = meta.forgotten
local marks = {}
for at = 3, #ARGV do
  local removed = redis.call('HDEL', KEYS[2], ARGV[at])
  redis.call('ZREM', KEYS[3], ARGV[at])
  meta.forgotten = meta.forgotten + removed
  marks[#marks + 1] = removed == 1 and '1' or '0'
end
if meta.forgotten > before then redis.call('HSET', KEYS[1], 'forgotten', text(meta.forgotten)) end
return { 'done', meta.epoch, text(before), text(meta.forgotten), table.concat(marks) }
