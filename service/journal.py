"""A job's journal: what has happened to it, in its order, for those who watch. Lua and its keys.

Beside a job's hash stands a list with an entry for each change of its status since it was enqueued,
and for each piece of its log. Entries are numbered from 1 on for ever: `journal_end` in the hash is
the number of the last one. So a reader who has come to a number misses nothing, and sees nothing
twice. (A stream would take 4 KiB at once for each job.)

The job's progress stands in its hash, since only the latest matters.
"""

from service.batch_marks import MARK_JOB

KEPT = 30 * 24 * 3600  # seconds after its last entry that a journal is kept, unless its job ends
MOST_LINES = 10_000  # of log that are kept of a job
MOST_BYTES = 1024**2  # likewise
JOB_CHANNEL = "paddock:job:"  # + id: a message, always empty, when journal or progress has grown
JOBS_CHANNEL = "paddock:jobs"  # a JSON object for each job that comes to a status

JOURNAL_SUFFIX = ":journal"  # after the key of the job

# Lua functions for scripts that change a job's status or record what it reports.
# journal(job's key, its id, entry as JSON, how many lines of log are in it)
# tell_watchers(id): that the journal, or the progress, is new
# announce(job's key, its id): to those who watch the service that the job has come to its status
# moved(job's key, its id): all that is to be told of a new status, once it is written
#
# An entry is `<lines> <JSON>`: {"event": "status", "status": RQ's word, "at": Unix seconds,
# "attempt": n, "worker": name} or {"event": "log", "lines": [[Unix seconds, stream, level, text]…]}
#
# What can't be published (an ACL may forbid it), or noted where somebody has written something
# else, must not keep a job from moving on.
JOURNAL = (
    MARK_JOB
    + f"""
local now, stamp  -- set by the script: Unix seconds, and the same as RQ writes it

local function tell_watchers(id)
    redis.pcall('PUBLISH', '{JOB_CHANNEL}' .. id, '')
end

local function drop_oldest(job, journal)
    local held = redis.call('HMGET', job, 'journal_lines', 'journal_bytes')
    local lines, bytes = tonumber(held[1]), tonumber(held[2])
    while true do
        local oldest = redis.call('LINDEX', journal, 0)
        if not oldest then
            break
        end
        local its_lines = tonumber(string.match(oldest, '^%d+'))
        local its_bytes = its_lines > 0 and #oldest or 0
        if lines - its_lines < {MOST_LINES} and bytes - its_bytes < {MOST_BYTES} then
            break
        end
        redis.call('LPOP', journal)
        lines, bytes = lines - its_lines, bytes - its_bytes
    end
    redis.call('HSET', job, 'journal_lines', lines, 'journal_bytes', bytes)
end

local function journal(job, id, entry, lines)
    local key, text = job .. '{JOURNAL_SUFFIX}', lines .. ' ' .. entry
    if redis.call('RPUSH', key, text) == 1 then  -- the first one, or those before have expired
        redis.call('HSET', job, 'journal_lines', 0, 'journal_bytes', 0)
    end
    redis.call('EXPIRE', key, {KEPT})
    redis.call('HINCRBY', job, 'journal_end', 1)
    if lines > 0 then
        local held = redis.call('HINCRBY', job, 'journal_lines', lines)
        local bytes = redis.call('HINCRBY', job, 'journal_bytes', #text)
        if held > {MOST_LINES} or bytes > {MOST_BYTES} then
            drop_oldest(job, key)
        end
    end
    tell_watchers(id)
end

local function announce_as(id, status, queue, task)
    redis.pcall('PUBLISH', '{JOBS_CHANNEL}', cjson.encode({{
        id = id, status = status, queue = queue, task = task or nil}}))
end

local function announce(job, id)
    local f = redis.call('HMGET', job, 'status', 'origin', 'task')
    announce_as(id, f[1], f[2], f[3])
end

local function tell_move(job, id)
    local f = redis.call('HMGET', job, 'batch', 'status', 'ended_at', 'origin', 'task', 'attempts',
        'worker_name')
    local runs = f[2] == 'started'
    pcall(journal, job, id, cjson.encode({{event = 'status', status = f[2], at = now,
        attempt = tonumber(f[6] or 0), worker = runs and f[7] or nil}}), 0)
    announce_as(id, f[2], f[4], f[5])
    if f[1] then
        mark_job(f[1], id, f[2], f[3] or '')
    end
end

local function moved(job, id)
    pcall(tell_move, job, id)
end
"""
)
