"""Lua that takes a batch in: its jobs are written in parts, and queued all at once."""

from service.admission import ROOM
from service.tally import TALLY

# KEYS: the batch's record, batches being staged, counts of what is staged
# ARGV: batch id, what all its jobs' keys begin with, seconds until it is given up, number of the
#       first of these jobs, number of fields that each has of its own, their names…, number of
#       common parts, common field, value…, then for each job the values of its own fields…
# → 1, or 0 where it has been given up
#
# Refused once the batch is committed: a copy that was held up somewhere must not write over jobs
# that run.
STAGE = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
end
local batch, first, width = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])
local give_up_at = redis.call('TIME')[1] + ARGV[3]
if first > 0 and not redis.call('ZSCORE', KEYS[2], batch) then
    return 0
end
local common = tonumber(ARGV[6 + width])
local fields, at = {}, 7 + width + common
for i = 1, common do
    fields[i] = ARGV[6 + width + i]
end
for i = 1, width do
    fields[common + 2 * i - 1] = ARGV[5 + i]
end
local number = first
while at <= #ARGV do
    for i = 1, width do
        fields[common + 2 * i] = ARGV[at]
        at = at + 1
    end
    redis.call('HSET', ARGV[2] .. string.format('%06x', number), unpack(fields))
    number = number + 1
end
redis.call('ZADD', KEYS[2], give_up_at, batch)
redis.call('HSET', KEYS[3], batch, number)
return 1
"""

# KEYS: the batch's record, batches being staged, counts of what is staged, queue, set of queues,
#       scheduled registry
# ARGV: batch id, what its jobs' ids begin with, number of jobs, 'RPUSH' | 'LPUSH' | 'ZADD', Unix
#       time for ZADD, seconds that the record is kept, most jobs that may wait (0: any), record of
#       the Idempotency-Key ('' for none), its fingerprint, its ttl, the batch's record…
# → 1, or 0 where it has been given up; or what came of it instead, and why:
#   {'replayed', batch} {'reused', batch} {'full', seconds until there is room}
#
# The one step that makes a batch: before it there is nothing that anybody could find. The record
# tells a commit that is sent again that it was done.
COMMIT = (
    ROOM
    + TALLY
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 1
end
local total, push = tonumber(ARGV[3]), ARGV[4]
if not redis.call('ZSCORE', KEYS[2], ARGV[1])
        or tonumber(redis.call('HGET', KEYS[3], ARGV[1])) ~= total then
    return 0
end
local known = ARGV[8] ~= '' and redis.call('GET', ARGV[8])
if known then
    local print, _, kept = string.match(known, '^(%S+) (%S+) (%S+)$')
    return {print == ARGV[9] and 'replayed' or 'reused', kept}
end
local scheduled = push == 'ZADD'
local waiting = scheduled and redis.call('ZCARD', KEYS[6]) or redis.call('LLEN', KEYS[4])
local wait = wait_for_room(KEYS[4], waiting, total, tonumber(ARGV[7]))
if wait then
    return {'full', wait}
end
local last_digits, ids = {}, {}
for i = 0, 255 do
    last_digits[i] = string.format('%02x', i)
end
local function flush()
    if #ids > 0 then
        redis.call(push, push == 'ZADD' and KEYS[6] or KEYS[4], unpack(ids))
        ids = {}
    end
end
local from, to, step = 0, total - 1, 1
if push == 'LPUSH' then
    from, to, step = total - 1, 0, -1  -- so that the first of them comes to stand first
end
local page, head
for number = from, to, step do
    if math.floor(number / 256) ~= page then
        page = math.floor(number / 256)
        head = ARGV[2] .. string.format('%04x', page)
    end
    if push == 'ZADD' then
        ids[#ids + 1] = ARGV[5]
    end
    ids[#ids + 1] = head .. last_digits[number % 256]
    if #ids >= 5000 then flush() end
end
flush()
redis.call('SADD', KEYS[5], KEYS[4])
redis.call('HSET', KEYS[1], unpack(ARGV, 11))
redis.call('EXPIRE', KEYS[1], ARGV[6])
tally_submitted(redis.call('HGET', KEYS[1], 'task'), total)
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
if ARGV[8] ~= '' then
    redis.call('SET', ARGV[8], table.concat({ARGV[9], ARGV[1], ARGV[1]}, ' '), 'EX', ARGV[10])
end
return 1
"""
)
