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

-- The state of the cluster, or nothing if there is none (or no usable one).
local function load_meta()
  local values = redis.call('HMGET', KEYS[1], 'format', 'epoch', 'edition', 'sequence', 'register_sequence',
    'files_sequence', 'forgotten')
  if not values[1] and not values[2] then return nil end
  return {
    format = values[1] or '?', epoch = values[2] or '', edition = values[3] or '',
    sequence = tonumber(values[4] or '') or 0, register_sequence = values[5] or '0',
    files_sequence = values[6] or '0', forgotten = tonumber(values[7] or '') or 0,
  }
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
