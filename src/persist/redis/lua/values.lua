-- Reads whole records, if the edition is still the one that the caller reads.
-- KEYS: meta, items
-- ARGV: epoch, edition, then the fields
local meta = load_meta()
if not meta then return { 'empty' } end
if meta.format ~= FORMAT then return { 'format', meta.format } end
if meta.epoch ~= ARGV[1] or meta.edition ~= ARGV[2] then return { 'moved' } end
local reply = { 'done' }
for at = 3, #ARGV do reply[#reply + 1] = redis.call('HGET', KEYS[2], ARGV[at]) end
return reply
