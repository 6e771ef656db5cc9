"""Batches as Redis keeps them: their jobs' ids, what has become of the jobs, what is half done.

It stands between the broker, through which callers make batches, and the execution side, which
tells them how their jobs ended and clears away what was never completed. Neither may import the
other.

A batch's jobs have ids that count up from its own, so that no list of them is kept anywhere: all
but the last six hexadecimal digits are the batch's. Beside a record (a hash) stands one string of
marks, a byte for each job; the record counts the marks, so that reading a batch is cheap.
"""

import os
import time

import redis
from rq.job import Job

from service.submission import job_id_at

LARGEST_BATCH = 1_000_000  # jobs; the commit holds Redis for about a microsecond for each
LONGEST_KEPT = 365 * 24 * 3600  # seconds that a batch is kept while nothing happens to its jobs
LEAST_KEPT = 3600  # seconds after the last job's end, so that a commit sent again finds its record

RECORD = "paddock:batch:"  # + id: hash; + id + ":marks": string
STAGING = "paddock:batches:staging"  # sorted set: batches being taken in, by when to give them up
STAGED = "paddock:batches:staged"  # hash: such a batch → how many of its jobs are written
DISCARDED = "paddock:batches:discarded"  # hash: batch → how many of its jobs are left to remove

MARKS = "qswFXCG"  # see below

_SHARED = 30  # characters that the ids of a batch's jobs have in common with its own
_REMOVED_AT_ONCE = 1_000  # jobs removed by one script run, during which Redis serves nobody else

# Lua functions for scripts that change a job's status: they call `tell_batch(job's key, its id)`
# after they have written it. Told twice of the same status, a batch counts it once.
#
# Marks: q(ueued, or running), s(cheduled), w(aiting), and of those that have ended F(inished),
# X (failed), C(anceled), G(one: removed before anybody saw how it ended). A zero byte is the mark
# that all began with. What each field of the record means is told where it is made, at the commit.
TELL_BATCH = f"""
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
    local at = tonumber(string.sub(id, {_SHARED + 1}), 16)
    if not f[1] or not new or not at or at >= tonumber(f[2])
            or string.sub(id, 1, {_SHARED}) ~= string.sub(batch, 1, {_SHARED}) then
        return false
    end
    local old = redis.call('GETRANGE', record .. ':marks', at, at)
    if old == '' or old == '\\0' then
        old = f[1]
    end
    if old == new then
        return false
    end
    redis.call('SETRANGE', record .. ':marks', at, new)
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

local function tell_batch(job, id)
    local f = redis.call('HMGET', job, 'batch', 'status', 'ended_at')
    if f[1] then
        mark_job(f[1], id, f[2], f[3] or '')
    end
end
"""

# KEYS: batches being staged, counts of what is staged, discarded batches
# ARGV: batch id, or '' for all that nobody has added to for long
#
# From here on nothing can be added to them, nor can they be committed.
_GIVE_UP = """
local given_up = {ARGV[1]}
if ARGV[1] == '' then
    given_up = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])
end
for _, batch in ipairs(given_up) do
    if redis.call('ZREM', KEYS[1], batch) == 1 then
        redis.call('HSET', KEYS[3], batch, redis.call('HGET', KEYS[2], batch) or 0)
        redis.call('HDEL', KEYS[2], batch)
    end
end
return redis.call('HKEYS', KEYS[3])
"""

# KEYS: discarded batches
# ARGV: batch id, what all keys of its jobs begin with, most to remove
# → how many are left
_REMOVE = """
local left = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
local from = math.max(left - ARGV[3], 0)
for number = from, left - 1 do
    redis.call('UNLINK', ARGV[2] .. string.format('%06x', number))
end
if from > 0 then
    redis.call('HSET', KEYS[1], ARGV[1], from)
else
    redis.call('HDEL', KEYS[1], ARGV[1])
end
return from
"""


def new_batch_id() -> str:
    """An id for a batch that is made now; it sorts after those of its jobs."""
    return job_id_at(time.time_ns() // 1_000_000, os.urandom(7) + b"\xff\xff\xff")


def job_id_in(batch_id: str, index: int) -> str:
    """The id of the batch's job with this number, counted from 0."""
    return f"{batch_id[:_SHARED]}{index:06x}"


def shared_part(batch_id: str) -> str:
    """What the ids of all the batch's jobs begin with, and no others'."""
    return batch_id[:_SHARED]


class StagingArea:
    """Removes what was written of batches that will never be complete.

    Jobs of a batch are written first and queued in the end, all at once. Until then they are on
    no queue and in no registry. The batch is listed as one in the making, with the time at which
    it is to be given up; what its maker does not remove, because it died, is removed by a worker.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._give_up = client.register_script(_GIVE_UP)
        self._remove = client.register_script(_REMOVE)

    def discard(self, batch_id: str) -> None:
        """Give it up, unless it has been committed, and remove what was written of it."""
        self._clear(batch_id)

    def clear_abandoned(self) -> None:
        """Do so for all that nobody has added to for long, and for what others left half done."""
        self._clear("")

    def _clear(self, batch_id: str) -> None:
        discarded = self._give_up(keys=[STAGING, STAGED, DISCARDED], args=[batch_id])
        for each in discarded:
            name = each.decode()
            if batch_id in ("", name):
                self._remove_jobs(name)

    def _remove_jobs(self, batch_id: str) -> None:
        prefix = Job.key_for(shared_part(batch_id))
        while self._remove(keys=[DISCARDED], args=[batch_id, prefix, _REMOVED_AT_ONCE]):
            pass
