"""The script that takes a job off a queue and records who runs it, in one step."""

from service.admission import ROOM
from service.cancellation import CANCELLATION
from service.pausing import PAUSED

# KEYS: queue, started registry, for each queue in order of priority
# ARGV: execution id, worker name, now (Unix), now (RQ's text), ttl, worker's executions,
#       worker's lease, key that suspends all workers, how often the same claim was sent before, and
#       its reply was lost, most bytes of results in base64 that a job is given, how long canceled
#       jobs are kept, how many that have expired are canceled at once
# → nothing, 'suspended', 'more' where so many were passed over that the next claim has to go on, or
#   {number of the queue, job id, the job's hash, the results of the jobs
#   it depends on, each in base64, where it is to be given those}
#
# A claim that is sent again answers with the job that it took the first time: the worker lives,
# so nobody else would ever bring that job back.
#
# An id whose job is gone, or which is on the queue a second time (its job runs or has ended),
# is dropped: it has nothing left to run. One under a limit that holds no place (another program put
# it on the queue) has to wait for one. One fails where a result that it was to be given is gone, or
# where all together are too large. One that has expired is canceled. Those on a paused queue stay.
CLAIM = (
    CANCELLATION
    + ROOM
    + f"""
local PAUSED = '{PAUSED}'
"""
    + """
local execution, worker = ARGV[1], ARGV[2]
now, stamp = tonumber(ARGV[3]), ARGV[4]
local ttl = tonumber(ARGV[5])

-- false where it is gone
local function result_of(job)
    local latest = redis.call('XREVRANGE', prefix .. ':results:' .. job, '+', '-', 'COUNT', 1)[1]
    local result = {}
    for i = 1, latest and #latest[2] or 0, 2 do
        result[latest[2][i]] = latest[2][i + 1]
    end
    -- RQ keeps no value for None
    return result['type'] == '1' and (result['return_value'] or 'bnVsbA==')
end

-- The results that a job is to be given; or nil, and why it can't be
local function given_to(job)
    local f = redis.call('HMGET', job, 'result_as', 'results_as', 'dependency_ids')
    local given, size = {}, 0
    for i, other in ipairs((f[1] or f[2]) and cjson.decode(f[3]) or {}) do
        given[i] = result_of(other)
        if not given[i] then
            return nil, 'ResultGone: the result of the job ' .. other .. ', which this one depends '
                .. 'on and was to be given, has expired or was deleted'
        end
        size = size + #given[i]
        if size > tonumber(ARGV[10]) then
            return nil, 'ResultsTooLarge: the results that this job was to be given are together '
                .. 'larger than one may be. Write them to files or a store, and return where they '
                .. 'are'
        end
    end
    return given
end

local function taken_before()
    for _, key in ipairs(redis.call('SMEMBERS', ARGV[6])) do
        local id, its_execution = string.match(key, '^(.*):([^:]*)$')
        for i = 1, #KEYS, 2 do
            if its_execution == execution and redis.call('ZSCORE', KEYS[i + 1], key) then
                local job = key_of(id)
                return {(i + 1) / 2, id, redis.call('HGETALL', job), given_to(job) or false}
            end
        end
    end
end

local function take(i, id, given)
    local job, key = key_of(id), id .. ':' .. execution
    redis.call('HSET', job, 'status', 'started', 'worker_name', worker,
        'started_at', stamp, 'last_heartbeat', stamp, 'ended_at', '')
    redis.call('HINCRBY', job, 'attempts', 1)
    redis.call('HDEL', job, 'progress')
    redis.call('PERSIST', job)
    redis.call('HSET', prefix .. ':execution:' .. key, 'id', execution, 'job_id', id,
        'created_at', now, 'last_heartbeat', now, 'worker_name', worker)
    redis.call('EXPIRE', prefix .. ':execution:' .. key, ttl)
    redis.call('ZADD', prefix .. ':executions:' .. id, now + ttl, execution)
    redis.call('EXPIRE', prefix .. ':executions:' .. id, ttl)
    redis.call('ZADD', KEYS[i + 1], now + ttl, key)
    redis.call('SADD', ARGV[6], key)
    redis.call('HSET', prefix .. ':worker:' .. worker, 'state', 'busy')
    -- Its record may have expired a moment ago; without an end it would live for ever.
    redis.call('EXPIRE', prefix .. ':worker:' .. worker, ARGV[7])
    moved(job, id)
    count_taken(KEYS[i], 1)
    return {(i + 1) / 2, id, redis.call('HGETALL', job), given}
end

-- One that was held up on its way, and comes after the same was sent again, must take nothing: the
-- worker has gone on, and would never hear of the job.
local sent, fence = tonumber(ARGV[9]), 'paddock:claimed:' .. execution
if sent < tonumber(redis.call('GET', fence) or 0) then
    return false
end
if sent > 0 then
    redis.call('SET', fence, sent, 'EX', 3600)
    local before = taken_before()
    if before then
        return before
    end
end
if redis.call('EXISTS', ARGV[8]) == 1 then
    return 'suspended'
end
local held, late = 0, 0

-- What it took, where this job may run
local function consider(i, id)
    local job = prefix .. ':job:' .. id
    local f = redis.call('HMGET', job, 'status', 'rate_limit_key', 'rate_limit_concurrency',
        'expires_at')
    local done = f[1] == 'started' or f[1] == 'finished' or f[1] == 'canceled'
    if redis.call('EXISTS', job) == 0 or done then
        -- dropped
    elseif f[4] and expired(job) then
        file_canceled(id, prefix .. ':canceled:' .. string.sub(KEYS[i], #prefix + 8), ARGV[11],
            'expiry', 'Expired: no worker had started it by its expires_at')
        late = late + 1
    elseif not has_place(id, f[2], f[3]) then
        held = held + 1
    else
        local given, why = given_to(job)
        if given then
            return take(i, id, given)
        end
        fail(id, why)
        over(id)
    end
end

local is_paused = {}
for _, name in ipairs(redis.call('SMEMBERS', PAUSED)) do
    is_paused[prefix .. ':queue:' .. name] = true
end

for i = 1, #KEYS, 2 do
    local id = not is_paused[KEYS[i]] and redis.call('LPOP', KEYS[i])
    while id do
        -- It is on no list any more: an error, over what somebody else wrote, must not lose it.
        local went_well, taken = pcall(consider, i, id)
        if not went_well then
            local why = type(taken) == 'table' and taken.err or tostring(taken)
            pcall(fail, id, 'Unreadable: what Redis holds of this job is damaged: ' .. why)
            pcall(over, id)
        elseif taken then
            return taken
        end
        if held == 5000 or late == tonumber(ARGV[12]) then
            return 'more'  -- others want to be served as well
        end
        id = redis.call('LPOP', KEYS[i])
    end
end
return false
"""
)
