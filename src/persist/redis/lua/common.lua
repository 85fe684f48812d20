-- What every script needs. Numbers that decide something are 16 hex digits, so that no Lua number has to be exact
-- above 2^53.
local FORMAT = '1'
local HEAD = 74

-- Whether the bytes of `a` come before those of `b`. Lua's own `<` would follow the locale of the server.
local function less(a, b)
  if a == b then return false end
  local at, shorter = 1, math.min(#a, #b)
  while at + 4095 <= shorter and a:sub(at, at + 4095) == b:sub(at, at + 4095) do at = at + 4096 end
  while at <= shorter do
    local x, y = a:byte(at), b:byte(at)
    if x ~= y then return x < y end
    at = at + 1
  end
  return #a < #b
end

local function greater_of(a, b)
  if less(a, b) then return b end
  return a
end

local function text(number) return string.format('%.0f', number) end

-- A number that an agent has written, or nothing.
local function whole(value)
  local number = tonumber(value or '')
  if number and number >= 0 and number < 9007199254740992 and number == math.floor(number) then return number end
  return nil
end

-- Whether an agent has written this edition.
local function is_edition(value)
  return value and value:find(':', 1, true) == 17 and value:find('^[0-9a-f]+:[ -~]*$')
end

-- The state of the cluster, or nothing if there is none (or no usable one). If somebody else has written into it, its
-- edition counts as lower than all, so that the agents write all of it again: as a text it may be higher than all.
local function load_meta()
  local values = redis.call('HMGET', KEYS[1], 'format', 'epoch', 'edition', 'sequence', 'register_sequence',
    'files_sequence', 'forgotten')
  if not values[1] and not values[2] then return nil end
  local meta = {
    format = values[1] or '?', epoch = values[2] or '', edition = values[3], sequence = whole(values[4]),
    register_sequence = whole(values[5]), files_sequence = whole(values[6]), forgotten = whole(values[7]),
  }
  if not (is_edition(meta.edition) and meta.sequence and meta.register_sequence and meta.files_sequence
    and meta.forgotten) then
    meta.edition, meta.sequence, meta.register_sequence, meta.files_sequence, meta.forgotten = '', 0, 0, 0, 0
  end
  meta.register_sequence, meta.files_sequence = text(meta.register_sequence), text(meta.files_sequence)
  return meta
end

-- Why a call for this edition cannot be carried out, as the reply of the script; nothing if it can.
local function obstacle(meta, edition)
  if not meta then return { 'empty' } end
  if meta.format ~= FORMAT then return { 'format', meta.format } end
  if meta.edition == edition then return nil end
  if less(meta.edition, edition) then return { 'lower', meta.edition } end
  return { 'higher', meta.edition }
end

-- Tells the others. A user who may not publish still writes: the others then poll.
local function announce(channel, meta, first, instance)
  local message = cjson.encode({
    format = FORMAT, epoch = meta.epoch, edition = meta.edition, first = text(first),
    last = text(meta.sequence), instance = instance,
  })
  local receivers = redis.pcall('PUBLISH', channel, message)
  if type(receivers) == 'table' and receivers.err then return '0' end
  return '1'
end
