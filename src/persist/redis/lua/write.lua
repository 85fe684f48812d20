-- Merges records, a register and digests of files into the current edition.
-- KEYS: meta, items, index, files
-- ARGV: edition, instance, channel, '1' if a register follows, its stamp, body and environments (JSON),
--       the number of digests, the digests, then field and value of each record
local meta = load_meta()
local refusal = obstacle(meta, ARGV[1])
if refusal then return refusal end
local before = meta.sequence

local function next_sequence()
  meta.sequence = meta.sequence + 1
  return text(meta.sequence)
end

-- What is stored after `new` has met `old`.
local function merged(old, new)
  if not old or #old < HEAD or old:sub(1, 1) ~= FORMAT then return new end
  if old:sub(2, 17) ~= new:sub(2, 17) then
    if less(old:sub(2, 17), new:sub(2, 17)) then return new end
    return old
  end
  if old:sub(18, 18) ~= new:sub(18, 18) then
    if new:sub(18, 18) == '1' then return new end
    return old
  end
  local old_body, new_body = old:sub(HEAD + 1), new:sub(HEAD + 1)
  if old_body ~= new_body then
    if less(old_body, new_body) then return new end
    return old
  end
  return new:sub(1, 18) .. greater_of(old:sub(19, 26), new:sub(19, 26))
    .. greater_of(old:sub(27, 42), new:sub(27, 42)) .. greater_of(old:sub(43, 58), new:sub(43, 58))
    .. new:sub(59)
end

local digests = tonumber(ARGV[8])
local marks = {}
for at = 9 + digests, #ARGV, 2 do
  local field, new = ARGV[at], ARGV[at + 1]
  local old = redis.call('HGET', KEYS[2], field)
  local value = merged(old, new)
  -- An item without a place in the index was never announced: it gets one.
  if value == old and redis.call('ZSCORE', KEYS[3], field) then
    marks[#marks + 1] = old == new and '3' or '0'
  else
    redis.call('HSET', KEYS[2], field, value)
    redis.call('ZADD', KEYS[3], next_sequence(), field)
    marks[#marks + 1] = value == new and '1' or '2'
  end
end

if ARGV[4] == '1' then
  local old = redis.call('HMGET', KEYS[1], 'register_stamp', 'register', 'register_environments')
  local newer = not old[1] or not old[2] or not old[3]
  for part = 1, 3 do
    local have, want = old[part], ARGV[4 + part]
    if newer then break end
    if have ~= want then
      newer = less(have, want)
      break
    end
  end
  if newer then
    meta.register_sequence = next_sequence()
    redis.call('HSET', KEYS[1], 'register_stamp', ARGV[5], 'register', ARGV[6], 'register_environments', ARGV[7],
      'register_sequence', meta.register_sequence)
  end
end

local added = false
for at = 9, 8 + digests do
  if not redis.call('ZSCORE', KEYS[4], ARGV[at]) then
    added = true
    redis.call('ZADD', KEYS[4], redis.call('HINCRBY', KEYS[1], 'files_count', 1), ARGV[at])
  end
end
if added then
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -65)
  meta.files_sequence = next_sequence()
  redis.call('HSET', KEYS[1], 'files_sequence', meta.files_sequence)
end

local announced = '1'
if meta.sequence > before then
  redis.call('HSET', KEYS[1], 'sequence', text(meta.sequence))
  announced = announce(ARGV[3], meta, before + 1, ARGV[2])
end
return { 'done', meta.epoch, text(before), text(meta.sequence), meta.register_sequence, meta.files_sequence,
  announced, table.concat(marks) }
