"""What has become of a batch's jobs, counted as it happens: Lua for the scripts that move jobs.

Beside a batch's record (a hash) stands one string of marks, a byte for each job; the record counts
the marks, so that reading a batch is cheap.
"""

LONGEST_KEPT = 365 * 24 * 3600  # seconds that a batch is kept while nothing happens to its jobs
LEAST_KEPT = 3600  # seconds after the last job's end, so that a commit sent again finds its record

RECORD = "paddock:batch:"  # + id: hash; + id + ":marks": string
MARKS = "qswFXCG"  # see below
SHARED = 30  # characters that the ids of a batch's jobs have in common with its own

# For scripts that change a job's status: mark_job(batch, job's id, RQ's status, when it ended)
# tells the batch that the job came with. Told twice of the same status, a batch counts it once.
#
# Marks: q(ueued, or running), s(cheduled), w(aiting), and of those that have ended F(inished),
# X (failed), C(anceled), G(one: removed before anybody saw how it ended). A zero byte is the mark
# that all began with. What each field of the record means is told where it is made, at the commit.
MARK_JOB = f"""
local BATCH_MARKS = {{queued = 'q', started = 'q', scheduled = 's', deferred = 'w', created = 'w',
    rate_limited = 'w', ready_to_enqueue = 'w', finished = 'F', failed = 'X', canceled = 'C',
    stopped = 'C', gone = 'G'}}
local BATCH_ENDED = {{F = true, X = true, C = true, G = true}}

local function keep_batch(record, seconds)
    for _, key in ipairs({{record, record .. ':marks'}}) do
        if seconds < 0 then
            redis.call('PERSIST', key)
        else
            redis.call('EXPIRE', key, seconds)
        end
    end
end

local function keep_batch_as_its_jobs(record)
    local f = redis.call('HMGET', record, 'result_ttl', 'X', 'failure_ttl', 'C')
    local longest = tonumber(f[1])
    local function at_least(seconds)
        longest = (longest < 0 or seconds < 0) and -1 or math.max(longest, seconds)
    end
    at_least({LEAST_KEPT})
    if f[2] ~= '0' then at_least(tonumber(f[3])) end
    if f[4] ~= '0' then at_least({LONGEST_KEPT}) end
    keep_batch(record, longest)
end

local function mark_job(batch, id, status, ended_at)
    local record, new = '{RECORD}' .. batch, BATCH_MARKS[status]
    local f = redis.call('HMGET', record, 'initial', 'total', 'first_ended_at', 'last_ended_at')
    local at = tonumber(string.sub(id, {SHARED + 1}), 16)
    if not f[1] or not new or not at or at >= tonumber(f[2])
            or string.sub(id, 1, {SHARED}) ~= string.sub(batch, 1, {SHARED}) then
        return false
    end
    local old = redis.call('GETRANGE', record .. ':marks', at, at)
    local fresh = old == ''  -- maybe the first mark of all
    if fresh or old == '\\0' then
        old = f[1]
    end
    if old == new then
        return false
    end
    redis.call('SETRANGE', record .. ':marks', at, new)
    local left = fresh and redis.call('TTL', record) or -1
    if left > 0 then
        redis.call('EXPIRE', record .. ':marks', left)
    end
    redis.call('HINCRBY', record, old, -1)
    redis.call('HINCRBY', record, new, 1)
    if BATCH_ENDED[new] and f[3] == '' then
        redis.call('HSET', record, 'first_ended_at', ended_at)
    end
    if BATCH_ENDED[new] and ended_at > f[4] then  -- times are text that sorts
        redis.call('HSET', record, 'last_ended_at', ended_at)
    end
    if BATCH_ENDED[new] and not BATCH_ENDED[old] then
        if redis.call('HINCRBY', record, 'open', -1) == 0 then
            keep_batch_as_its_jobs(record)
        end
    elseif BATCH_ENDED[old] and not BATCH_ENDED[new] then
        redis.call('HINCRBY', record, 'open', 1)
        keep_batch(record, {LONGEST_KEPT})
    end
    return true
end
"""
