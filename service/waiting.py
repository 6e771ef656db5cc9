"""What a job waits for, and what becomes of it then: Lua that every script which moves jobs shares.

A job may wait for other jobs (RQ's `depends_on`), and for a place under a limit on how many run at
once (RQ's `RateLimit`). Both are kept as RQ keeps them, so its own tools and workers read them, and
free what waits. But RQ does it in several steps, between which a process may die, and leaves the
dependents of a job that failed, was canceled or deleted as they are for ever. Here each is part of
the one script that moves the job itself; what a stock worker leaves is seen by housekeeping.
"""

from rq.defaults import DEFAULT_FAILURE_TTL, RQ_KEY_PREFIX

from service.history import HISTORY
from service.journal import JOURNAL
from service.webhooks.notice import NOTIFY

LEFT = "paddock:ended"  # ids of ended jobs with more dependents than one script looks at
MOST_AT_ONCE = 500  # dependents looked at by one script, during which Redis serves nobody else

_BASICS = f"""
local prefix, LEFT, MOST_AT_ONCE = '{RQ_KEY_PREFIX}', '{LEFT}', {MOST_AT_ONCE}
local function key_of(id)
    return prefix .. ':job:' .. id
end

local function dependencies_of(id)
    return prefix .. ':job::' .. id .. ':dependencies'  -- with RQ's two colons
end

local function push(id, queue, at_front)
    redis.call('HSET', key_of(id), 'status', 'queued', 'enqueued_at', stamp)
    redis.call('SADD', prefix .. ':queues', prefix .. ':queue:' .. queue)
    redis.call(at_front == '1' and 'LPUSH' or 'RPUSH', prefix .. ':queue:' .. queue, id)
    moved(key_of(id), id)
end
"""

# A limit has a set of the jobs that hold its places, which are queued or run, and one of those that
# wait. Who has waited longest is queued next, at the back: keys that share a queue take turns.
_LIMITS = """
local function fill(limit)
    local base = prefix .. ':rl:' .. limit
    local most = tonumber(redis.call('HGET', base, 'concurrency') or 0)
    while redis.call('ZCARD', base .. ':allowed') < most do
        local id = redis.call('ZPOPMIN', base .. ':rate_limited')[1]
        if not id then
            return
        end
        local f = redis.call('HMGET', key_of(id), 'status', 'origin', 'enqueue_at_front')
        if f[1] == 'rate_limited' and f[2] then
            redis.call('ZADD', base .. ':allowed', now, id)
            push(id, f[2], f[3])
        end
    end
end

-- Have it wait for a place under its limit, which it gets at once where one is free.
local function wait_for_place(id, limit, most)
    local base = prefix .. ':rl:' .. limit
    redis.call('HSET', key_of(id), 'status', 'rate_limited')
    redis.call('SADD', prefix .. ':rl-keys', limit)
    redis.call('HSET', base, 'concurrency', most)
    redis.call('ZREM', base .. ':allowed', id)
    redis.call('ZADD', base .. ':rate_limited', now, id)
    fill(limit)
    if redis.call('ZSCORE', base .. ':rate_limited', id) then  -- else it is told of as queued
        moved(key_of(id), id)
    end
end

-- Whether a job that is on a queue may run. One that another program put there without a place gets
-- one that is free, or has to wait.
local function has_place(id, limit, most)
    if not limit or limit == '' or not most then
        return true
    end
    local base = prefix .. ':rl:' .. limit
    if redis.call('ZSCORE', base .. ':allowed', id) then
        return true
    end
    if redis.call('ZCARD', base .. ':rate_limited') == 0
            and redis.call('ZCARD', base .. ':allowed') < tonumber(most) then
        redis.call('SADD', prefix .. ':rl-keys', limit)
        redis.call('HSET', base, 'concurrency', most)
        redis.call('ZADD', base .. ':allowed', now, id)
        return true
    end
    wait_for_place(id, limit, most)
    return false
end

-- There may be a limit for each of a great many users; those that nobody uses are not kept.
local function forget_unused(limit)
    local base = prefix .. ':rl:' .. limit
    if redis.call('EXISTS', base .. ':allowed', base .. ':rate_limited') == 0 then
        redis.call('SREM', prefix .. ':rl-keys', limit)
        redis.call('DEL', base)
    end
end

-- It holds no place any more, and waits for none.
local function give_up_place(id)
    local limit = redis.call('HGET', key_of(id), 'rate_limit_key')
    if limit and limit ~= '' then
        redis.call('ZREM', prefix .. ':rl:' .. limit .. ':rate_limited', id)
        if redis.call('ZREM', prefix .. ':rl:' .. limit .. ':allowed', id) == 1 then
            fill(limit)
        end
        forget_unused(limit)
    end
end

-- A job that waits for no other.
local function queue(id)
    local f = redis.call('HMGET', key_of(id), 'origin', 'enqueue_at_front', 'rate_limit_key',
        'rate_limit_concurrency')
    if f[3] and f[3] ~= '' and f[4] then
        wait_for_place(id, f[3], f[4])
    else
        push(id, f[1], f[2])
    end
end
"""

_FAILING = f"""
-- A text as RQ keeps it: a zlib stream (RFC 1950; one block, stored as it is) in base64.
local function packed(text)
    local low, high = 1, 0
    for i = 1, #text do
        low = (low + string.byte(text, i)) % 65521
        high = (high + low) % 65521
    end
    local function two(n)
        return math.floor(n / 256), n % 256
    end
    local a, b = two(#text)
    local c, d, e, f = two(high)
    e, f = two(low)
    local stream = string.char(120, 1, 1, b, a, 255 - b, 255 - a) .. text .. string.char(c, d, e, f)
    local letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
    local function letter(n)
        return string.sub(letters, n % 64 + 1, n % 64 + 1)
    end
    return (string.gsub(stream, '..?.?', function(part)
        local x, y, z = string.byte(part, 1, 3)
        local n = x * 65536 + (y or 0) * 256 + (z or 0)
        return letter(math.floor(n / 262144)) .. letter(math.floor(n / 4096))
            .. (y and letter(math.floor(n / 64)) or '=') .. (z and letter(n) or '=')
    end))
end

-- A job that does not run and is on no list. `why` begins with the type of the error.
local function fail(id, why)
    local job, results = key_of(id), prefix .. ':results:' .. id
    local f = redis.call('HMGET', job, 'origin', 'failure_ttl')
    local ttl = tonumber(f[2] or {DEFAULT_FAILURE_TTL})
    redis.call('HSET', job, 'status', 'failed', 'ended_at', stamp, 'retries_left', 0)
    redis.call('XADD', results, 'MAXLEN', 10, '*', 'type', 2, 'worker_name', '',
        'exc_string', packed(why))
    redis.call('ZADD', prefix .. ':failed:' .. f[1], ttl < 0 and '+inf' or now + ttl, id)
    moved(job, id)
    count_end(job, 'failed')
    if ttl < 0 then
        redis.call('PERSIST', job .. ':journal')
    end
    if ttl > 0 then
        for _, key in ipairs({{job, results, job .. ':history', job .. ':journal',
                dependencies_of(id), job .. ':dependents'}}) do
            redis.call('EXPIRE', key, ttl)
        end
    end
    notify_of_failure(id, stamp, why)
end
"""

# RQ's set of a job's dependencies loses each one as it is met; what is left is what it waits for.
_DEPENDENCIES = """
local ENDINGS = {failed = 'failed', canceled = 'was canceled', stopped = 'was canceled'}

-- What a dependency's status means for a job: 'met', 'open' or 'broken'.
local function verdict(status, on_failure, tolerant)
    if status == 'finished' then
        return 'met'
    elseif status and not ENDINGS[status] then
        return 'open'
    elseif on_failure == 'fail' then
        return 'broken'
    elseif on_failure == 'run' then
        return 'met'
    end
    -- Another program's job, by RQ's rules: it waits for the dependency to be run again.
    return (not status or (status == 'failed' and tolerant == '1')) and 'met' or 'open'
end

-- Move a job on whose dependencies have ended. → 'elsewhere', 'waits', 'queued' or 'failed'
local function look_at(id)
    local job, waits = key_of(id), false
    local f = redis.call('HMGET', job, 'status', 'on_dependency_failure',
        'allow_dependency_failures', 'origin')
    if f[1] ~= 'deferred' or not f[4] then
        return 'elsewhere'
    end
    for _, other in ipairs(redis.call('SMEMBERS', dependencies_of(id))) do
        local status = redis.call('HGET', key_of(other), 'status')
        local means = verdict(status, f[2], f[3])
        if means == 'open' then
            waits = true
        else
            redis.call('SREM', dependencies_of(id), other)
            redis.call('SREM', key_of(other) .. ':dependents', id)
        end
        if means == 'broken' then
            redis.call('ZREM', prefix .. ':deferred:' .. f[4], id)
            fail(id, 'DependencyFailed: the job ' .. other .. ', which this one depends on, '
                .. (ENDINGS[status] or 'no longer exists'))
            return 'failed'
        end
    end
    if waits then
        return 'waits'
    end
    redis.call('ZREM', prefix .. ':deferred:' .. f[4], id)
    queue(id)
    return 'queued'
end

-- A job has ended for good, or is about to be deleted: look at those that depend on it, and at
-- those that depend on one that fails for it.
local function look_at_dependents(id)
    local work, looked, has_moved = {id}, 0, false
    while #work > 0 do
        local each = table.remove(work)
        local dependents = key_of(each) .. ':dependents'
        for _, dependent in ipairs(redis.call('SMEMBERS', dependents)) do
            if looked == MOST_AT_ONCE then
                redis.call(has_moved and 'SADD' or 'SREM', LEFT, each, unpack(work))
                return
            end
            looked = looked + 1
            local found = look_at(dependent)
            if found == 'elsewhere' then
                redis.call('SREM', dependents, dependent)
            elseif found == 'failed' then
                table.insert(work, dependent)
            end
            -- One that waits for others still, but no more for this one, has moved as well.
            has_moved = has_moved or found ~= 'waits'
                or redis.call('SISMEMBER', dependents, dependent) == 0
        end
    end
end

-- What follows for others from a job's end.
local function over(id)
    give_up_place(id)
    look_at_dependents(id)
end

-- A job that has been written, and is on no list: have it wait for what it needs. Its dependencies
-- may have ended already, and those that are gone do not count.
local function await(id)
    local job, waits = key_of(id), false
    local f = redis.call('HMGET', job, 'dependency_ids', 'origin')
    for _, other in ipairs(f[1] and cjson.decode(f[1]) or {}) do
        local status = redis.call('HGET', key_of(other), 'status')
        if status ~= 'finished' and (status or redis.call('EXISTS', key_of(other)) == 1) then
            redis.call('SADD', dependencies_of(id), other)
            redis.call('SADD', key_of(other) .. ':dependents', id)
            waits = true
        end
    end
    if not waits then
        return queue(id)
    end
    redis.call('HSET', job, 'status', 'deferred')
    moved(job, id)
    redis.call('ZADD', prefix .. ':deferred:' .. f[2], now, id)
    look_at(id)
end
"""

WAITING = JOURNAL + HISTORY + NOTIFY + _BASICS + _LIMITS + _FAILING + _DEPENDENCIES
