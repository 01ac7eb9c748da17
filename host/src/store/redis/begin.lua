-- Tells the era of a hash, and begins one if there is none that counts.
-- KEYS[1]  the hash
-- ARGV     the era that the caller has seen last, and the largest token; empty if none; the mode that it expects
-- Returns whether an era was begun, era, age of what is there in ms, and what the server tells of itself. An error if
-- the server is none to lock on: in that case nothing is changed.
local server, replication = redis.call('INFO', 'server'), redis.call('INFO', 'replication')
local mode = string.match(server, 'redis_mode:(%a+)') or '?'
local run = string.match(server, 'run_id:(%x+)') or ''
local role = string.match(replication, 'role:(%a+)') or '?'
local stamp = string.match(replication, 'master_replid:(%x+)')
local uptime = string.match(server, 'uptime_in_seconds:(%d+)') or '0'
local about = {mode, role, run, uptime}
if mode ~= ARGV[3] or role ~= 'master' or not stamp then return {'unfit', '', '0', about} end

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local clock = t[1] .. string.format('%06d', t[2]) .. '000'
local seen, largest = ARGV[1], ARGV[2]

-- Sums of 19 digits, which a double cannot hold: their last nine are counted apart.
local function plus(digits, n)
  local low = tonumber(string.sub(digits, -9)) + n % 1e9
  local high = tonumber(string.sub(digits, 1, -10)) + math.floor(n / 1e9)
  if low >= 1e9 then low, high = low - 1e9, high + 1 end
  return string.format('%010.0f%09.0f', high, low)
end

local m = redis.call('HMGET', KEYS[1], 'kvlock era', 'kvlock stamp', 'kvlock number', 'kvlock run', 'kvlock began')
local era, number, began = m[1], tonumber(m[3] or '0'), tonumber(m[5] or '0')
local is_ours = not era or (#era == 19 and string.match(era, '^%d+$') and number and began and m[2] and m[4])
if not is_ours or (not era and redis.call('EXISTS', KEYS[1]) == 1) then return {'foreign', '', '0', about} end

local replid2 = string.match(replication, 'master_replid2:(%x+)') or ''
local was_never_replica = string.match(replid2, '^0*$')
  and string.match(redis.call('INFO', 'stats'), 'total_net_repl_input_bytes:(%d+)') == '0'

if era and (m[2] == stamp or (m[4] == run and was_never_replica)) then
  -- A first replica came, or the last one has gone for long: this process has the contents that it had.
  local follows = seen == '' or era == seen or (era > seen and plus(era, number) >= largest)
  if follows then
    if m[2] ~= stamp then redis.call('HSET', KEYS[1], 'kvlock stamp', stamp) end
    return {'same', era, string.format('%.0f', math.max(now - began, 0)), about}
  end
end

-- Above the clock, above what is in the hash, and above what the caller has seen; each with room for what was lost.
local ROOM = 4294967296
local base = clock
for _, bound in ipairs({era and plus(era, number), largest ~= '' and largest}) do
  if bound and plus(bound, ROOM) > base then base = plus(bound, ROOM) end
end
local begun = plus(base, -number)

-- The first era of a server that has lost nothing since its start is as old as the server.
began = now
if not era and seen == '' and was_never_replica then
  local stats, commands = redis.call('INFO', 'stats'), redis.call('INFO', 'commandstats')
  local lost = string.match(stats, 'evicted_keys:(%d+)') ~= '0'
  for _, name in ipairs({'flushall', 'flushdb', 'swapdb', 'del', 'unlink', 'rename', 'move', 'migrate', 'restore'}) do
    lost = lost or string.find(commands, 'cmdstat_' .. name .. ':', 1, true)
  end
  if not lost then began = now - math.max(uptime - 2, 0) * 1000 end
end
redis.call('HSET', KEYS[1], 'kvlock era', begun, 'kvlock stamp', stamp, 'kvlock number', number, 'kvlock run', run, 'kvlock began',
  string.format('%.0f', began))
return {'begun', begun, string.format('%.0f', now - began), about}
