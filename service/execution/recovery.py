"""Bringing back jobs whose worker, horse or host died while they ran.

A job in the registry of started jobs belongs to a worker. Workers keep a key in Redis alive by
their heartbeat; once it has expired, its jobs go back to the front of their queues. The script
decides for each job alone and atomically, so however many workers look, one brings it back.
"""

from collections.abc import Iterable

from redis import Redis
from rq.defaults import DEFAULT_FAILURE_TTL
from rq.queue import Queue
from rq.registry import CanceledJobRegistry, StartedJobRegistry
from rq.utils import as_text, now, utcformat

from jobs.policy import DEFAULT_MAX_CRASHES
from service.cancellation import CANCELLATION
from service.execution.scripts import ScriptCall
from service.tally import TALLY

# KEYS: started registry, queue, canceled registry
# ARGV: now (Unix), now (RQ's text), most crashes where the job does not say, why it is failed,
#       how long canceled jobs are kept, the one entry to release (or '' for every entry whose
#       worker is dead), record of that execution, seconds that it ran, and that it waited before
#       ('' where unknown)
# → {ids put back} and {ids failed as poison}
_RELEASE = (
    CANCELLATION
    + TALLY
    + """
now, stamp = tonumber(ARGV[1]), ARGV[2]

local function abandoned(entry)
    local worker = redis.call('HGET', prefix .. ':execution:' .. entry, 'worker_name')
    local key = prefix .. ':worker:' .. (worker or '')
    return redis.call('EXISTS', key) == 0 or redis.call('HEXISTS', key, 'death') == 1
end

local back, poison = {}, {}
local entries = ARGV[6] ~= '' and {ARGV[6]} or redis.call('ZRANGE', KEYS[1], 0, -1)
for _, entry in ipairs(entries) do
    if (ARGV[6] ~= '' or abandoned(entry)) and redis.call('ZREM', KEYS[1], entry) == 1 then
        local id, execution = string.match(entry, '^(.*):([^:]*)$')
        local job = prefix .. ':job:' .. id
        local worker = redis.call('HGET', prefix .. ':execution:' .. entry, 'worker_name') or ''
        redis.call('DEL', prefix .. ':execution:' .. entry)
        redis.call('SREM', prefix .. ':worker:' .. worker .. ':executions', entry)
        redis.call('ZREM', prefix .. ':executions:' .. id, execution)
        if redis.call('HGET', job, 'status') == 'started' then
            local most = tonumber(redis.call('HGET', job, 'max_crashes') or ARGV[3])
            redis.call('RPUSH', job .. ':history', ARGV[7] ~= '' and ARGV[7] or cjson.encode({
                id = execution, worker = worker, outcome = 'lost', reason = 'worker lost',
                started_at = redis.call('HGET', job, 'started_at'), ended_at = stamp}))
            redis.call('LTRIM', job .. ':history', -50, -1)
            if ARGV[8] ~= '' then
                count_end(job, nil, tonumber(ARGV[8]), tonumber(ARGV[9]))
            end
            if ARGV[7] ~= '' then
                tally_usage(redis.call('HGET', job, 'task'), ARGV[7])
            end
            if redis.call('HEXISTS', job, 'cancel_requested') == 1 then
                file_canceled(id, KEYS[3], ARGV[5])
            elseif redis.call('HINCRBY', job, 'crashes', 1) >= most then
                fail(id, ARGV[4])
                redis.call('HSET', job, 'crashes', 0)
                over(id)
                table.insert(poison, id)
            else
                redis.call('HSET', job, 'status', 'queued', 'enqueued_at', stamp,
                    'worker_name', '')
                redis.call('LPUSH', KEYS[2], id)
                moved(job, id)
                count_end(job, 'retried')
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
            returned, failed = released(self._call(queue).run())
            back += returned
            poison += failed
        return back, poison

    def release(
        self,
        queue: Queue,
        job_id: str,
        execution_id: str,
        record: str,
        ran: float | str = "",
        waited: float | str = "",
    ) -> ScriptCall:
        """The same for one execution whose horse is known to have died; `record` tells of it.

        `ran` and `waited` are seconds; '' where nobody knows.
        """
        return self._call(queue, f"{job_id}:{execution_id}", record, ran, waited)

    def _call(
        self,
        queue: Queue,
        entry: str = "",
        record: str = "",
        ran: float | str = "",
        waited: float | str = "",
    ) -> ScriptCall:
        moment = now()
        registries = (StartedJobRegistry, CanceledJobRegistry)
        started, canceled = (registry(queue=queue).key for registry in registries)
        return ScriptCall(
            self._script,
            [started, queue.key, canceled],
            [
                moment.timestamp(),
                utcformat(moment),
                DEFAULT_MAX_CRASHES,
                _WHY,
                DEFAULT_FAILURE_TTL,
                entry,
                record,
                ran,
                waited,
            ],
        )


def released(answer: list[list[bytes]]) -> tuple[list[str], list[str]]:
    """What the script did: the ids put back, and those failed."""
    back, poison = answer
    return [as_text(job_id) for job_id in back], [as_text(job_id) for job_id in poison]
