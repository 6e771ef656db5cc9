"""What decides whether a submission becomes a job of its own: Lua for the scripts that enqueue.

Redis decides, in the step that enqueues: of fifty that arrive at the same instant at several API
processes one finds nothing yet, and the others find what that one wrote.
"""

from service.history import LATEST, MEAN

UNIQUE_TTL = 30 * 24 * 3600  # seconds beyond its due time that a job is known to be the only one
SHORTEST_RETRY, LONGEST_RETRY = 1, 600  # seconds, what a caller is told to wait for room
UNKNOWN_RETRY = 60  # seconds, where nothing left the queue lately, nor is known of its tasks
ENOUGH = 10  # jobs that left it lately, from which on their rate is told by; with fewer it jumps
LOOKED_AT = 20  # jobs whose tasks are looked at then

# expired(job): whether it is never to be started any more. One that has been started once is not:
# only its first start has to come in time. Redis's clock decides, so that all see the same.
# holder(lock, jobs): the id of the live job that a unique task's lock names, else nil. Nothing has
# to free a lock when its job ends, is deleted or lost in whichever way; `jobs` is what the keys of
# jobs begin with. release(job, id): drop the lock of a job that has ended, to save its memory.
UNIQUE = """
local OVER = {finished = true, failed = true, stopped = true, canceled = true}

local function expired(job)
    local f = redis.call('HMGET', job, 'expires_at', 'attempts', 'started_at')
    local started = f[2] or (f[3] and f[3] ~= '')  -- RQ's workers count no attempts
    if not f[1] or started then
        return false
    end
    local time = redis.call('TIME')
    return time[1] + time[2] / 1000000 >= (tonumber(f[1]) or math.huge)
end

local function holder(lock, jobs)
    local id = redis.call('GET', lock)
    local status = id and redis.call('HGET', jobs .. id, 'status')
    return status and not OVER[status] and not expired(jobs .. id) and id or nil
end

local function release(job, id)
    local f = redis.call('HMGET', job, 'unique_lock', 'status')
    if f[1] and (not f[2] or OVER[f[2]]) and redis.call('GET', f[1]) == id then
        redis.call('DEL', f[1])
    end
end
"""

# count_taken(queue, n): note that workers took so many off the queue.
# wait_for_room(queue, waiting, more, limit): nil where `more` jobs fit beside those that wait, else
# the seconds in which a tenth of what waits is drained too, at the rate of the last minute or two.
# Where few left it in that time, they are reckoned as estimates are (`service.broker.eta`): by how
# long the first jobs' tasks took lately, and how many the queue's workers run at once.
ROOM = f"""
local function drained(queue, minute)
    return 'paddock:drained:' .. queue .. ':' .. minute
end

local function this_minute()
    local now = tonumber(redis.call('TIME')[1])
    return math.floor(now / 60), now % 60
end

local function count_taken(queue, n)
    local key = drained(queue, (this_minute()))
    if redis.call('INCRBY', key, n) == n then
        redis.call('EXPIRE', key, 180)
    end
end

local function pace(queue)
    local prefix, name = string.match(queue, '^(.-):queue:(.*)$')
    local seconds, known, room = 0, 0, 0
    for _, id in ipairs(redis.call('LRANGE', queue, 0, {LOOKED_AT} - 1)) do
        local task = redis.call('HGET', prefix .. ':job:' .. id, 'task') or ''
        local text = redis.call('HGET', '{LATEST}', task .. ' ' .. name)
        local mean = string.match(text or '', '{MEAN}(%d+)')
        if mean then
            seconds, known = seconds + mean / 1000000, known + 1
        end
    end
    for _, worker in ipairs(redis.call('SMEMBERS', prefix .. ':workers:' .. name)) do
        local f = redis.call('HMGET', worker, 'pid', 'death', 'room')
        room = room + (f[1] and not f[2] and tonumber(f[3] or 1) or 0)
    end
    return known > 0 and room > 0 and room * known / math.max(seconds, 0.001) or nil
end

local function wait_for_room(queue, waiting, more, limit)
    if limit == 0 or waiting + more <= limit then
        return nil
    end
    local minute, seconds = this_minute()
    local taken = tonumber(redis.call('GET', drained(queue, minute)) or 0)
        + tonumber(redis.call('GET', drained(queue, minute - 1)) or 0)
    local rate = taken > 0 and taken / (60 + seconds) or nil
    if taken < {ENOUGH} then
        rate = pace(queue) or rate
    end
    if not rate then
        return {UNKNOWN_RETRY}
    end
    local wanted = waiting + more - limit + waiting / 10
    local wait = math.ceil(wanted / rate)
    return math.max({SHORTEST_RETRY}, math.min(wait, {LONGEST_RETRY}))
end
"""
