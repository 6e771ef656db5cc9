"""The scripts by which jobs are canceled, withdrawn and retried: Lua functions, for one or many."""

from service.admission import UNIQUE, UNIQUE_TTL
from service.cancellation import CANCELLATION
from service.waiting import WAITING

# Each action decides and acts in one script, since workers move jobs at the same moment. Each
# answers with the status that it found. They are functions, so that batches act in the same way.

# `keys`: queue, scheduled, canceled, deferred and ready registry; `kept`: seconds that canceled
# jobs are kept; `by`: who cancels it. `withdraw` leaves one that runs alone.
CANCEL = (
    CANCELLATION
    + """
local WAITS = {deferred = 1, rate_limited = 1, ready_to_enqueue = 1, created = 1}

local function withdraw(id, keys, kept, by)
    local job = key_of(id)
    local status = redis.call('HGET', job, 'status')
    -- From the queue's end, where those stand that have just been given a place.
    if (status == 'queued' and redis.call('LREM', keys[1], -1, id) > 0)
            or (status == 'scheduled' and redis.call('ZREM', keys[2], id) > 0)
            or (status and WAITS[status]) then
        redis.call('ZREM', keys[4], id)
        redis.call('ZREM', keys[5], id)
        file_canceled(id, keys[3], kept, by)
        return 'canceled by this call'
    end
    return status
end

local function cancel(id, keys, kept, by)
    local found = withdraw(id, keys, kept, by)
    if found == 'started' then
        redis.call('HSET', key_of(id), 'cancel_requested', 1)  -- stays until it is retried
        redis.call('HSETNX', key_of(id), 'canceled_by', by)
        return 'told to stop by this call'
    end
    return found
end
"""
)

# Cancel what fits of a part of a queue: of `most` jobs, before the last `left_out`. → how many were
# canceled, how many were looked at
#
# Goes along the queue, since to search it for each job would take the square of its length. It
# begins at the end, because workers take from the front: what they take moves nothing behind it.
# That one ends may push others, so all are taken off first.
SWEEP = (
    CANCELLATION
    + """
local function sweep(queue, registry, left_out, most, fits, kept, by)
    local last = redis.call('LLEN', queue) - 1 - left_out
    local first, found = math.max(last - most + 1, 0), {}
    local window = last >= 0 and redis.call('LRANGE', queue, first, last) or {}
    for i, id in ipairs(window) do
        if fits(id) then
            redis.call('LSET', queue, first + i - 1, '')
            table.insert(found, id)
        end
    end
    if #found > 0 then
        redis.call('LREM', queue, -#found, '')
    end
    for _, id in ipairs(found) do
        pcall(file_canceled, id, registry, kept, by)  -- one that is damaged must not hold up others
    end
    return {#found, #window}
end
"""
)

# `failed`: registry; `retries`: that it gets again, or ''
RETRY = (
    WAITING
    + UNIQUE
    + f"""
local function retry(id, failed, retries)
    local job = key_of(id)
    local f = redis.call('HMGET', job, 'status', 'dependency_ids', 'on_dependency_failure',
        'unique_lock')
    for _, other in ipairs(f[1] == 'failed' and f[2] and cjson.decode(f[2]) or {{}}) do
        local its = redis.call('HGET', key_of(other), 'status')
        if its and verdict(its, f[3]) == 'broken' then
            return 'broken by ' .. other
        end
    end
    local lock = f[4]
    local holds = f[1] == 'failed' and lock and holder(lock, prefix .. ':job:')
    if holds and holds ~= id then
        return 'held by ' .. holds
    end
    if f[1] and redis.call('ZREM', failed, id) > 0 then
        redis.call('HDEL', job, 'cancel_requested', 'canceled_by', 'enqueue_at_front',
            'progress')
        redis.call('HSET', job, 'enqueued_at', stamp, 'started_at', '', 'ended_at', '',
            'exc_info', '', 'worker_name', '', 'crashes', 0)
        if retries ~= '' then
            redis.call('HSET', job, 'retries_left', retries)
        end
        redis.call('DEL', dependencies_of(id))
        if lock then
            redis.call('SET', lock, id, 'EX', {UNIQUE_TTL})
        end
        redis.call('PERSIST', job)
        redis.call('PERSIST', job .. ':dependents')
        await(id)
        return 'queued by this call'
    end
    return f[1]
end
"""
)
