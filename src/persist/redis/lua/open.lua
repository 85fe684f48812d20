-- Makes a staged edition the current one, if it is higher than the current one.
-- KEYS: meta, items, index, files, staged items, staged index
-- ARGV: edition, instance, channel, a new epoch (used if there is none), the number of staged fields, the last staged
--       sequence, stamp, body and environments (JSON) of the register, then the digests of files
local meta = load_meta()
local refusal = obstacle(meta, ARGV[1])
if meta and (not refusal or refusal[1] ~= 'lower') then
  redis.call('UNLINK', KEYS[5], KEYS[6])
  return refusal or { 'equal' }
end
local expected = tonumber(ARGV[5])
-- Staged keys have a time to live, so the server may have dropped them.
if redis.call('HLEN', KEYS[5]) ~= expected or redis.call('ZCARD', KEYS[6]) ~= expected then
  redis.call('UNLINK', KEYS[5], KEYS[6])
  return { 'lost' }
end
redis.call('UNLINK', KEYS[2], KEYS[3])
if expected > 0 then
  redis.call('RENAME', KEYS[5], KEYS[2])
  redis.call('RENAME', KEYS[6], KEYS[3])
  redis.call('PERSIST', KEYS[2])
  redis.call('PERSIST', KEYS[3])
end
-- After a state that no agent wrote, the sequence may be the one of before: only another epoch tells the others.
local epoch = ARGV[4]
if meta and meta.epoch ~= '' and meta.edition ~= '' then epoch = meta.epoch end
local sequence = tonumber(ARGV[6]) + 1
redis.call('HSET', KEYS[1], 'format', FORMAT, 'epoch', epoch, 'edition', ARGV[1], 'sequence', text(sequence),
  'register_sequence', text(sequence), 'files_sequence', text(sequence), 'forgotten', '0',
  'register_stamp', ARGV[7], 'register', ARGV[8], 'register_environments', ARGV[9])
for at = 10, #ARGV do
  if not redis.call('ZSCORE', KEYS[4], ARGV[at]) then
    redis.call('ZADD', KEYS[4], redis.call('HINCRBY', KEYS[1], 'files_count', 1), ARGV[at])
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -65)
local opened = { epoch = epoch, edition = ARGV[1], sequence = sequence }
return { 'done', epoch, text(sequence), announce(ARGV[3], opened, 1, ARGV[2]) }
