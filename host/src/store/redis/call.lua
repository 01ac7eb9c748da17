-- One operation on one entry. Everything is in one hash: an operation is atomic, and a loss takes all of it or nothing.
-- KEYS[1]  the hash
-- ARGV     operation, era, field; for a write: value, ttl in ms (0 = for ever); for what needs a version: its number
-- What is the hash's own has a blank in its name, which no key has. Numbers are strings wherever they may exceed 2^53.
local op, era, field = ARGV[1], ARGV[2], ARGV[3]
local m = redis.call('HMGET', KEYS[1], 'kvlock era', 'kvlock stamp', field, 'kvlock number')
local stamp = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if m[1] ~= era or m[2] ~= stamp then return {'era'} end

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

-- Number, what is left in ms (-1 = for ever) and value; nothing for an entry that has ended; 'foreign' for none of ours.
local function entry(text)
  if not text then return nil end
  local number, ends, value = string.match(text, '^(%d+) (%d+) (.*)$')
  if not number then return 'foreign' end
  if ends == '0' then return number, '-1', value end
  if now > tonumber(ends) then return nil end
  return number, string.format('%.0f', ends - now), value
end

if op == 'get' or op == 'confirm' then
  -- Replicas that have this write have all that were before it.
  if op == 'confirm' then redis.call('HSET', KEYS[1], 'kvlock confirmed', string.format('%.0f', now)) end
  local found = {'entries'}
  for i = 3, #ARGV do
    local number, left, value = entry(i == 3 and m[3] or redis.call('HGET', KEYS[1], ARGV[i]))
    if number == 'foreign' then return {'foreign', ARGV[i]} end
    found[i - 1] = number and {number, left, value} or {}
  end
  return found
end

local number = entry(m[3])
if number == 'foreign' then return {'foreign', field} end
if op == 'add' then
  if number then return {'conflict', number} end
else
  if not number then return {'absent'} end
  if number ~= ARGV[6] then return {'conflict', number} end
end

if op == 'delete' then
  redis.call('HDEL', KEYS[1], field)
  -- Those who wait for it elsewhere are told, if that is allowed.
  redis.pcall('PUBLISH', 'kvlock:gone:' .. field, '')
  return {'deleted'}
end

local ttl = ARGV[5]
local count = (m[4] or 0) + 1
number = string.format('%.0f', count)
local ends = ttl == '0' and '0' or string.format('%.0f', now + ttl)
redis.call('HSET', KEYS[1], 'kvlock number', number, field, number .. ' ' .. ends .. ' ' .. ARGV[4])

-- Now and then, some fields are looked at, and what has ended is removed: as many as writes can have left.
if count % 16 == 0 then
  -- The write is done: it is not to fail where this command is not allowed.
  local names = redis.pcall('HRANDFIELD', KEYS[1], 16)
  for _, name in ipairs(names.err and {} or names) do
    if not string.find(name, ' ', 1, true) and entry(redis.call('HGET', KEYS[1], name)) == nil then
      redis.call('HDEL', KEYS[1], name)
    end
  end
end
return {'written', number}
