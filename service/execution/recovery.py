"""Bringing back jobs whose worker, horse or host died while they ran.

A job in the registry of started jobs belongs to a worker. Workers keep a key in Redis alive by
their heartbeat; once it has expired, its jobs go back to the front of their queues. The script
decides for each job alone and atomically, so however many workers look, one brings it back.
"""

import zlib
from base64 import b64encode
from collections.abc import Iterable

from redis import Redis
from rq.defaults import DEFAULT_FAILURE_TTL, RQ_KEY_PREFIX
from rq.queue import Queue
from rq.registry import CanceledJobRegistry, FailedJobRegistry, StartedJobRegistry
from rq.utils import as_text, now, utcformat

from jobs.policy import DEFAULT_MAX_CRASHES
from service.execution.scripts import ScriptCall
from service.webhooks.notice import NOTIFY

# KEYS: started registry, queue, failed registry, canceled registry
# ARGV: prefix, now (Unix), now (RQ's text), most crashes where the job does not say, why it is
#       failed, failure ttl where the job has none, the one entry to release (or '' for every
#       entry whose worker is dead), record of that execution, why it is failed for a webhook
# → {ids put back} and {ids failed as poison}
_RELEASE = (
    NOTIFY
    + """
local prefix, now, timestamp = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local function abandoned(entry)
    local worker = redis.call('HGET', prefix .. ':execution:' .. entry, 'worker_name')
    local key = prefix .. ':worker:' .. (worker or '')
    return redis.call('EXISTS', key) == 0 or redis.call('HEXISTS', key, 'death') == 1
end

local function fail(id, job)
    local ttl = tonumber(redis.call('HGET', job, 'failure_ttl') or ARGV[6])
    local results = prefix .. ':results:' .. id
    redis.call('HSET', job, 'status', 'failed', 'ended_at', timestamp, 'retries_left', 0,
        'crashes', 0)
    redis.call('XADD', results, 'MAXLEN', 10, '*', 'type', 2, 'worker_name', '',
        'exc_string', ARGV[5])
    redis.call('ZADD', KEYS[3], ttl < 0 and '+inf' or now + ttl, id)
    if ttl > 0 then
        for _, key in ipairs({job, results, job .. ':history'}) do
            redis.call('EXPIRE', key, ttl)
        end
    end
    notify_of_failure(id, timestamp, ARGV[9])
end

local function cancel(id, job)
    redis.call('HSET', job, 'status', 'canceled', 'ended_at', timestamp)
    redis.call('ZADD', KEYS[4], now, id)
    for _, key in ipairs({job, job .. ':history'}) do
        redis.call('EXPIRE', key, ARGV[6])
    end
    notify(id, 'canceled', timestamp)
end

local back, poison = {}, {}
local entries = ARGV[7] ~= '' and {ARGV[7]} or redis.call('ZRANGE', KEYS[1], 0, -1)
for _, entry in ipairs(entries) do
    if (ARGV[7] ~= '' or abandoned(entry)) and redis.call('ZREM', KEYS[1], entry) == 1 then
        local id, execution = string.match(entry, '^(.*):([^:]*)$')
        local job = prefix .. ':job:' .. id
        local worker = redis.call('HGET', prefix .. ':execution:' .. entry, 'worker_name') or ''
        redis.call('DEL', prefix .. ':execution:' .. entry)
        redis.call('SREM', prefix .. ':worker:' .. worker .. ':executions', entry)
        redis.call('ZREM', prefix .. ':executions:' .. id, execution)
        if redis.call('HGET', job, 'status') == 'started' then
            local most = tonumber(redis.call('HGET', job, 'max_crashes') or ARGV[4])
            redis.call('RPUSH', job .. ':history', ARGV[8] ~= '' and ARGV[8] or cjson.encode({
                id = execution, worker = worker, outcome = 'lost', reason = 'worker lost',
                started_at = redis.call('HGET', job, 'started_at'), ended_at = timestamp}))
            redis.call('LTRIM', job .. ':history', -50, -1)
            if redis.call('HEXISTS', job, 'cancel_requested') == 1 then
                cancel(id, job)
            elseif redis.call('HINCRBY', job, 'crashes', 1) >= most then
                fail(id, job)
                table.insert(poison, id)
            else
                redis.call('HSET', job, 'status', 'queued', 'enqueued_at', timestamp,
                    'worker_name', '')
                redis.call('LPUSH', KEYS[2], id)
                table.insert(back, id)
            end
        end
    end
end
return {back, poison}
"""
)

_WHY = (
    "WorkerLost: the process that ran this job died (killed, out of memory, crashed in C code, or "
    "its host went down) as often as its task allows; it is not run again."
)


class Recovery:
    """Puts abandoned jobs back, or fails those that were abandoned too often."""

    def __init__(self, connection: Redis) -> None:
        self._script = connection.register_script(_RELEASE)

    def recover(self, queues: Iterable[Queue]) -> tuple[list[str], list[str]]:
        """Look through what runs on these queues; return the ids put back and those failed."""
        back: list[str] = []
        poison: list[str] = []
        for queue in queues:
            returned, failed = released(self._call(queue, "", "").run())
            back += returned
            poison += failed
        return back, poison

    def release(self, queue: Queue, job_id: str, execution_id: str, record: str) -> ScriptCall:
        """The same for one execution whose horse is known to have died; `record` tells of it."""
        return self._call(queue, f"{job_id}:{execution_id}", record)

    def _call(self, queue: Queue, entry: str, record: str) -> ScriptCall:
        moment = now()
        registries = (StartedJobRegistry, FailedJobRegistry, CanceledJobRegistry)
        started, failed, canceled = (registry(queue=queue).key for registry in registries)
        return ScriptCall(
            self._script,
            [started, queue.key, failed, canceled],
            [
                RQ_KEY_PREFIX,
                moment.timestamp(),
                utcformat(moment),
                DEFAULT_MAX_CRASHES,
                b64encode(zlib.compress(_WHY.encode())),
                DEFAULT_FAILURE_TTL,
                entry,
                record,
                _WHY,
            ],
        )


def released(answer: list[list[bytes]]) -> tuple[list[str], list[str]]:
    """What the script did: the ids put back, and those failed."""
    back, poison = answer
    return [as_text(job_id) for job_id in back], [as_text(job_id) for job_id in poison]
