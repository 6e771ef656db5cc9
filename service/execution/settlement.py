"""Recording how an execution ended, and what follows from it.

One script records everything at once, and only for the execution that still holds the job. A
worker that was merely slow, and whose job was given to another meanwhile, is refused.
"""

import itertools
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from redis import Redis
from rq.job import JobStatus
from rq.registry import StartedJobRegistry
from rq.results import Result
from rq.utils import now, utcformat

from service.admission import UNIQUE
from service.execution.claim import ClaimedJob
from service.execution.decision import Decision, Ended, decide
from service.execution.outcome import Kind
from service.execution.recovery import Recovery, released
from service.execution.scripts import ScriptCall
from service.history import OUTCOMES
from service.tally import TALLY
from service.waiting import WAITING
from service.webhooks.notice import NOTHING, told_error, told_result

MOST_AT_ONCE, MOST_BYTES_AT_ONCE = 200, 8 * 1024**2  # of ends that are sent to Redis together

# KEYS: started registry, job, queue, results, registry to file it in
# ARGV: now (Unix), job id, execution id, worker, counter of the worker ('' for none), wall seconds,
#       score in the registry ('' for none), push ('LPUSH' | 'RPUSH' | ''), ttl (seconds, -1 for
#       ever, '' as it is), record of the execution, now (RQ's text), what follows for others
#       ('over' | 'gives up place' | ''), number of result fields, status that a webhook tells (''
#       for none), what else it tells, what is counted, seconds that it waited ('' where unknown),
#       whether it ended by itself ('1' | '0'), result fields…, job fields…
# → 0 where the execution no longer holds the job, else 1
_SETTLE = (
    WAITING
    + UNIQUE
    + TALLY
    + """
now, stamp = tonumber(ARGV[1]), ARGV[11]
local id, execution, worker = ARGV[2], ARGV[3], ARGV[4]
local entry, job = id .. ':' .. execution, KEYS[2]
local record = prefix .. ':job:' .. id .. ':history'
if redis.call('ZREM', KEYS[1], entry) == 0 then
    if redis.call('EXISTS', job) == 1 then
        redis.call('RPUSH', record, ARGV[10])
        redis.call('LTRIM', record, -50, -1)
    end
    return 0
end

redis.call('DEL', prefix .. ':execution:' .. entry)
redis.call('ZREM', prefix .. ':executions:' .. id, execution)
redis.call('SREM', prefix .. ':worker:' .. worker .. ':executions', entry)
if ARGV[5] ~= '' and redis.call('EXISTS', prefix .. ':worker:' .. worker) == 1 then
    redis.call('HINCRBY', prefix .. ':worker:' .. worker, ARGV[5], 1)
    redis.call('HINCRBYFLOAT', prefix .. ':worker:' .. worker, 'total_working_time', ARGV[6])
end

local results = tonumber(ARGV[13])
if redis.call('EXISTS', job) == 0 then
    return 1  -- deleted while it ran
end
redis.call('HSET', job, unpack(ARGV, 19 + results))
moved(job, id)
count_end(job, ARGV[16], tonumber(ARGV[6]), tonumber(ARGV[17]), ARGV[18] == '1')
tally_usage(redis.call('HGET', job, 'task'), ARGV[10])
if results > 0 then
    redis.call('XADD', KEYS[4], 'MAXLEN', 10, '*', unpack(ARGV, 19, 18 + results))
end
if ARGV[7] ~= '' then
    redis.call('ZADD', KEYS[5], ARGV[7], id)
end
if ARGV[8] ~= '' then
    redis.call('SADD', prefix .. ':queues', KEYS[3])
    redis.call(ARGV[8], KEYS[3], id)
end
redis.call('RPUSH', record, ARGV[10])
redis.call('LTRIM', record, -50, -1)
if ARGV[14] ~= '' then
    notify(id, ARGV[14], ARGV[11], ARGV[15])
end

if ARGV[12] == 'over' then
    over(id)
elseif ARGV[12] == 'gives up place' then
    give_up_place(id)
end

for _, key in ipairs({job, KEYS[4], record, job .. ':journal', job .. ':dependents',
        dependencies_of(id)}) do
    if ARGV[9] == '-1' then
        redis.call('PERSIST', key)
    elseif ARGV[9] ~= '' then
        redis.call('EXPIRE', key, ARGV[9])
    end
end
release(job, id)
return 1
"""
)


class Settler:
    """Records the outcomes of one worker's executions."""

    def __init__(self, connection: Redis, worker_name: str, host: str) -> None:
        self._script = connection.register_script(_SETTLE)
        self._recovery = Recovery(connection)
        self._worker_name, self._host = worker_name, host

    def call(self, ended: Ended) -> ScriptCall:
        """What to write, to be sent with something else; `settled` reads the answer.

        May be sent again when its answer was lost: what was done is not done twice, though it is
        then told as refused.
        """
        moment = now()
        record = self._record(ended, moment)
        if ended.outcome.kind is Kind.DIED:
            execution = ended.execution
            seconds = (ended.outcome.usage.wall_seconds, _waited(ended))
            return self._recovery.release(
                ended.queue, execution.job_id, execution.id, record, *seconds
            )
        decision = decide(ended, moment, self._worker_name)
        result = [part for item in decision.result.items() for part in item]
        fields = [part for item in decision.fields.items() for part in item]
        return ScriptCall(
            self._script,
            [
                StartedJobRegistry(queue=ended.queue).key,
                ended.job.key,
                ended.queue.key,
                Result.get_key(ended.job.id),
                decision.registry(queue=ended.queue).key,
            ],
            [
                moment.timestamp(),
                ended.job.id,
                ended.execution.id,
                self._worker_name,
                decision.counter,
                ended.outcome.usage.wall_seconds,
                decision.score,
                decision.push,
                decision.ttl,
                record,
                utcformat(moment),
                decision.follows,
                len(result),
                *_told(ended, decision),
                *_counted(ended, decision),
                *result,
                *fields,
            ],
        )

    def settled(self, ended: Ended, answer: Any) -> bool:
        """What the script answered; False where the job had been given to another meanwhile."""
        if ended.outcome.kind is Kind.DIED:
            return any(released(answer))
        return bool(answer)

    def _record(self, ended: Ended, moment: datetime) -> str:
        return json.dumps(
            {
                "id": ended.execution.id,
                "worker": self._worker_name,
                "host": self._host,
                "started_at": utcformat(ended.execution.created_at),
                "ended_at": utcformat(moment),
                **ended.outcome.record(),
            }
        )


def _told(ended: Ended, decision: Decision) -> tuple[str, str]:
    """Status, and what else a webhook tells; nothing where the job has none, or is to run again."""
    if not isinstance(ended.job, ClaimedJob) or not ended.job.has_webhook:
        return "", ""
    match decision.fields["status"]:
        case JobStatus.FINISHED:
            return JobStatus.FINISHED.value, told_result(ended.job.id, ended.outcome.body)
        case JobStatus.FAILED:
            return JobStatus.FAILED.value, told_error(ended.outcome.body.decode())
        case JobStatus.CANCELED:
            return JobStatus.CANCELED.value, NOTHING
        case _:
            return "", ""


def _counted(ended: Ended, decision: Decision) -> tuple[str, float | str, int]:
    """For the history: as what, how long it waited, and whether its duration is a whole one."""
    status = str(decision.fields["status"])
    ended_by_itself = ended.outcome.kind in (Kind.RETURNED, Kind.RAISED)
    return status if status in OUTCOMES else "retried", _waited(ended), int(ended_by_itself)


def _waited(ended: Ended) -> float | str:
    waited = ended.job.waited if isinstance(ended.job, ClaimedJob) else None
    return "" if waited is None else waited


def sendable(endings: Sequence[Ended]) -> list[Ended]:
    """The first of these: as many as Redis is sent at once, in the time that it may take."""
    sizes = itertools.accumulate(
        len(ended.outcome.body) + (ended.reported.size if ended.reported else 0)
        for ended in endings[:MOST_AT_ONCE]
    )
    count = sum(size <= MOST_BYTES_AT_ONCE for size in sizes)
    return list(endings[: max(count, 1)])
