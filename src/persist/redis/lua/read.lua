-- Reads the state of the cluster and the heads of a page of records.
-- KEYS: meta, items, index, files
-- ARGV: the sequence after which to read, the size of a page, the sequences of the register and of the digests that
--       the caller knows
local meta = load_meta()
if not meta then return { 'empty' } end
if meta.format ~= FORMAT then return { 'format', meta.format } end
local register = false
if meta.register_sequence ~= ARGV[3] then
  local parts = redis.call('HMGET', KEYS[1], 'register_stamp', 'register', 'register_environments')
  if parts[1] and parts[2] and parts[3] then register = parts end
end
local digests = false
if meta.files_sequence ~= ARGV[4] then digests = redis.call('ZRANGE', KEYS[4], 0, -1) end
-- What is above the numbers that agents give, somebody else has put there.
local page = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[1], '(9007199254740992', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local heads = {}
for at = 1, #page, 2 do
  local value = redis.call('HGET', KEYS[2], page[at])
  if value then
    heads[#heads + 1] = page[at]
    heads[#heads + 1] = value:sub(1, HEAD)
    heads[#heads + 1] = #value
  end
end
-- Either key can be lost alone: what is missing in one of them counts as missing.
local count = math.min(redis.call('HLEN', KEYS[2]), redis.call('ZCARD', KEYS[3]))
return { 'done', meta.epoch, meta.edition, text(meta.sequence), meta.register_sequence, meta.files_sequence,
  text(meta.forgotten), count, #page / 2, page[#page] and text(math.floor(tonumber(page[#page]))) or false, register, digests, heads }
