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
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.utils import as_text, now, utcformat

MAX_CRASHES = 3  # a job that has taken down this many horses or workers is failed as poison

# KEYS: started registry, queue, failed registry
# ARGV: prefix, now (Unix), now (RQ's text), most crashes, why (for the hash), why (for the
#       result), failure ttl where the job has none, the one entry to release (or '' for every
#       entry whose worker is dead), crashes to add to those that the job is to blame for
# → {ids put back} and {ids failed as poison}
_RELEASE = """
local prefix, now, timestamp = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local function abandoned(entry)
    local worker = redis.call('HGET', prefix .. ':execution:' .. entry, 'worker_name')
    local key = prefix .. ':worker:' .. (worker or '')
    return redis.call('EXISTS', key) == 0 or redis.call('HEXISTS', key, 'death') == 1
end

local function fail(id, job)
    local ttl = tonumber(redis.call('HGET', job, 'failure_ttl') or ARGV[7])
    local results = prefix .. ':results:' .. id
    redis.call('HSET', job, 'status', 'failed', 'ended_at', timestamp, 'exc_info', ARGV[5],
        'retries_left', 0, 'crashes', 0)  -- none against it, if it is requeued by hand
    redis.call('XADD', results, 'MAXLEN', 10, '*', 'type', 2, 'worker_name', '',
        'exc_string', ARGV[6])
    redis.call('ZADD', KEYS[3], ttl < 0 and '+inf' or now + ttl, id)
    if ttl > 0 then
        redis.call('EXPIRE', job, ttl)
        redis.call('EXPIRE', results, ttl)
    end
end

local back, poison = {}, {}
local entries = ARGV[8] ~= '' and {ARGV[8]} or redis.call('ZRANGE', KEYS[1], 0, -1)
for _, entry in ipairs(entries) do
    if (ARGV[8] ~= '' or abandoned(entry)) and redis.call('ZREM', KEYS[1], entry) == 1 then
        local id, execution = string.match(entry, '^(.*):([^:]*)$')
        local job = prefix .. ':job:' .. id
        redis.call('DEL', prefix .. ':execution:' .. entry)
        redis.call('ZREM', prefix .. ':executions:' .. id, execution)
        if redis.call('HGET', job, 'status') == 'started' then
            if redis.call('HINCRBY', job, 'crashes', ARGV[9]) >= tonumber(ARGV[4]) then
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

_WHY = (
    f"WorkerLost: the process that ran this job died {MAX_CRASHES} times "
    "(killed, out of memory, crashed in C code, or its host went down); it is not run again."
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
            returned, failed = self._release(queue, "", crashed=True)
            back += returned
            poison += failed
        return back, poison

    def release(self, queue: Queue, entry: str, *, crashed: bool) -> tuple[list[str], list[str]]:
        """The same for one execution (its composite key) whose horse is known to have ended.

        Does nothing where the horse has recorded how it ended, as it should.
        """
        return self._release(queue, entry, crashed=crashed)

    def _release(self, queue: Queue, entry: str, *, crashed: bool) -> tuple[list[str], list[str]]:
        moment = now()
        why = zlib.compress(_WHY.encode())
        back, poison = self._script(
            keys=[
                StartedJobRegistry(queue=queue).key,
                queue.key,
                FailedJobRegistry(queue=queue).key,
            ],
            args=[
                RQ_KEY_PREFIX,
                moment.timestamp(),
                utcformat(moment),
                MAX_CRASHES,
                why,
                b64encode(why),
                DEFAULT_FAILURE_TTL,
                entry,
                int(crashed),
            ],
        )
        return [as_text(job_id) for job_id in back], [as_text(job_id) for job_id in poison]
