"""What follows from how an execution ended: the one place that decides it.

One script records everything at once, and only for the execution that still holds the job. A
worker that was merely slow, and whose job was given to another meanwhile, is refused.
"""

import json
import zlib
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from redis import Redis
from rq.defaults import DEFAULT_FAILURE_TTL, DEFAULT_RESULT_TTL, RQ_KEY_PREFIX
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.rate_limit import release_slot
from rq.registry import (
    CanceledJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ReadyJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.results import Result
from rq.utils import now, utcformat

from service.execution.outcome import Kind, Outcome
from service.execution.recovery import Recovery

# KEYS: started registry, job, queue, results, registry to file it in
# ARGV: prefix, job id, execution id, worker, counter of the worker ('' for none), wall seconds,
#       score in the registry ('' for none), push ('LPUSH' | 'RPUSH' | ''), ttl (seconds, -1 for
#       ever, '' as it is), record of the execution, now (RQ's text), whether dependents are freed
#       ('' | 'finished' | 'failed'), number of result fields, result fields…, job fields…
# → 0 where the execution no longer holds the job, else 1, and whether dependents became ready
_SETTLE = """
local prefix, id, execution, worker = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local entry, job = id .. ':' .. execution, KEYS[2]
local record = prefix .. ':job:' .. id .. ':history'
if redis.call('ZREM', KEYS[1], entry) == 0 then
    if redis.call('EXISTS', job) == 1 then
        redis.call('RPUSH', record, ARGV[10])
        redis.call('LTRIM', record, -50, -1)
    end
    return {0, 0}
end

redis.call('DEL', prefix .. ':execution:' .. entry)
redis.call('ZREM', prefix .. ':executions:' .. id, execution)
redis.call('SREM', prefix .. ':worker:' .. worker .. ':executions', entry)
if ARGV[5] ~= '' then
    redis.call('HINCRBY', prefix .. ':worker:' .. worker, ARGV[5], 1)
    redis.call('HINCRBYFLOAT', prefix .. ':worker:' .. worker, 'total_working_time', ARGV[6])
end

local results = tonumber(ARGV[13])
if redis.call('EXISTS', job) == 0 then
    return {1, 0}  -- deleted while it ran
end
redis.call('HSET', job, unpack(ARGV, 14 + results))
if results > 0 then
    redis.call('XADD', KEYS[4], 'MAXLEN', 10, '*', unpack(ARGV, 14, 13 + results))
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

-- What RQ does in a transaction of its own, watched and retried
local ready = 0
local function free(dependent)
    local key = prefix .. ':job:' .. dependent
    local f = redis.call('HMGET', key, 'status', 'allow_dependency_failures', 'origin',
        'enqueue_at_front', 'rate_limit_key')
    local tolerant = f[2] == '1'
    if f[1] ~= 'deferred' or (ARGV[12] == 'failed' and not tolerant) then
        return
    end
    for _, other in ipairs(redis.call('SMEMBERS', key .. ':dependencies')) do
        local status = redis.call('HGET', prefix .. ':job:' .. other, 'status')
        if other ~= id and status and status ~= 'finished'
                and not (tolerant and status == 'failed') then
            return
        end
    end
    redis.call('SREM', job .. ':dependents', dependent)
    redis.call('ZREM', prefix .. ':deferred:' .. f[3], dependent)
    if f[5] and f[5] ~= '' then
        redis.call('HSET', key, 'status', 'ready_to_enqueue')
        redis.call('ZADD', prefix .. ':ready:' .. f[3], 0, dependent)
        ready = 1
    else
        redis.call('HSET', key, 'status', 'queued', 'enqueued_at', ARGV[11])
        redis.call('SADD', prefix .. ':queues', prefix .. ':queue:' .. f[3])
        redis.call(f[4] == '1' and 'LPUSH' or 'RPUSH', prefix .. ':queue:' .. f[3], dependent)
    end
end
if ARGV[12] ~= '' then
    for _, dependent in ipairs(redis.call('SMEMBERS', job .. ':dependents')) do
        free(dependent)
    end
end

for _, key in ipairs({job, KEYS[4], record, job .. ':dependents', job .. ':dependencies'}) do
    if ARGV[9] == '-1' then
        redis.call('PERSIST', key)
    elseif ARGV[9] ~= '' then
        redis.call('EXPIRE', key, ARGV[9])
    end
end
return {1, ready}
"""


@dataclass(slots=True)
class _Decision:
    """What is to be written."""

    fields: dict[str, Any]  #: of the job's hash
    counter: str = ""  #: of the worker's hash
    registry: Any = CanceledJobRegistry
    score: float | str = ""
    push: str = ""
    ttl: int | str = ""
    dependents: str = ""
    result: dict[str, Any] = field(default_factory=dict)  #: fields of RQ's result


class Settler:
    """Records the outcomes of one worker's executions."""

    def __init__(self, connection: Redis, worker_name: str, host: str) -> None:
        self._script = connection.register_script(_SETTLE)
        self._recovery = Recovery(connection)
        self._worker_name, self._host = worker_name, host

    def settle(self, queue: Queue, job: Job, execution: Execution, outcome: Outcome) -> bool:
        """Write down what follows; False where the job was given to another meanwhile.

        May be called again when its reply was lost: what it has done is not done twice, though it
        is then told as refused.
        """
        ended = now()
        if outcome.kind is Kind.DIED:
            return self._bring_back(queue, execution, outcome, ended)
        decision = self._decide(job, execution, outcome, ended)
        result = [part for item in decision.result.items() for part in item]
        fields = [part for item in decision.fields.items() for part in item]
        done, ready = self._script(
            keys=[
                StartedJobRegistry(queue=queue).key,
                job.key,
                queue.key,
                Result.get_key(job.id),
                decision.registry(queue=queue).key,
            ],
            args=[
                RQ_KEY_PREFIX,
                job.id,
                execution.id,
                self._worker_name,
                decision.counter,
                outcome.usage.wall_seconds,
                decision.score,
                decision.push,
                decision.ttl,
                self._record(execution, outcome, ended),
                utcformat(ended),
                decision.dependents,
                len(result),
                *result,
                *fields,
            ],
        )
        if ready:
            ReadyJobRegistry(queue=queue).cleanup()
        if done and job.has_rate_limit:
            job._status = JobStatus(decision.fields["status"])
            release_slot(job)
        return bool(done)

    def _bring_back(
        self, queue: Queue, execution: Execution, outcome: Outcome, ended: datetime
    ) -> bool:
        record = self._record(execution, outcome, ended)
        back, poison = self._recovery.release(queue, execution.job_id, execution.id, record)
        return bool(back or poison)

    def _decide(
        self, job: Job, execution: Execution, outcome: Outcome, ended: datetime
    ) -> _Decision:
        match outcome.kind:
            case Kind.RETURNED:
                return self._finish(job, execution, outcome, ended)
            case Kind.CANCELED:
                return _cancel(ended)
            case Kind.PUT_BACK:
                return _requeue(ended, push="LPUSH")
            case Kind.RAISED if outcome.may_retry and job.should_retry:
                return _retry(job, ended)
            case _:
                return self._fail(job, execution, outcome, ended)

    def _finish(
        self, job: Job, execution: Execution, outcome: Outcome, ended: datetime
    ) -> _Decision:
        ttl = job.get_result_ttl(DEFAULT_RESULT_TTL)
        return _Decision(
            {"status": JobStatus.FINISHED.value, "ended_at": utcformat(ended)},
            counter="successful_job_count",
            registry=FinishedJobRegistry,
            score=_expiry(ended, ttl),
            ttl=ttl,
            dependents="finished",
            result={
                **self._result(Result.Type.SUCCESSFUL, execution, ended),
                # RQ writes no field at all for None
                **({"return_value": b64encode(outcome.body)} if outcome.body != b"null" else {}),
            },
        )

    def _fail(self, job: Job, execution: Execution, outcome: Outcome, ended: datetime) -> _Decision:
        ttl = job.failure_ttl if job.failure_ttl is not None else DEFAULT_FAILURE_TTL
        return _Decision(
            {"status": JobStatus.FAILED.value, "ended_at": utcformat(ended), "retries_left": 0},
            counter="failed_job_count",
            registry=FailedJobRegistry,
            score=_expiry(ended, ttl),
            ttl=ttl,
            dependents="failed",
            result={
                **self._result(Result.Type.FAILED, execution, ended),
                "exc_string": b64encode(zlib.compress(outcome.body)),
            },
        )

    def _result(self, kind: Result.Type, execution: Execution, ended: datetime) -> dict[str, Any]:
        return {
            "type": kind.value,
            "worker_name": self._worker_name,
            "execution_id": execution.id,
            "execution_started_at": execution.created_at.timestamp(),
            "execution_ended_at": ended.timestamp(),
        }

    def _record(self, execution: Execution, outcome: Outcome, ended: datetime) -> str:
        return json.dumps(
            {
                "id": execution.id,
                "worker": self._worker_name,
                "host": self._host,
                "started_at": utcformat(execution.created_at),
                "ended_at": utcformat(ended),
                **outcome.record(),
            }
        )


def _retry(job: Job, ended: datetime) -> _Decision:
    wait = job.get_retry_interval()
    assert job.retries_left, "asked only where there are retries left"
    left = job.retries_left - 1
    if not wait:
        push = "LPUSH" if job.enqueue_at_front_on_retry else "RPUSH"
        return _requeue(ended, push=push, counter="failed_job_count", retries_left=left)
    # Up to the next whole second, which is what RQ's schedule counts in.
    due = ended + timedelta(seconds=wait, microseconds=999_999)
    return _Decision(
        {
            "status": JobStatus.SCHEDULED.value,
            "ended_at": utcformat(ended),
            "retries_left": left,
        },
        counter="failed_job_count",
        registry=ScheduledJobRegistry,
        score=int(due.timestamp()),
    )


def _requeue(ended: datetime, *, push: str, counter: str = "", **fields: Any) -> _Decision:
    return _Decision(
        {"status": JobStatus.QUEUED.value, "enqueued_at": utcformat(ended), **fields},
        counter=counter,
        push=push,
    )


def _cancel(ended: datetime) -> _Decision:
    return _Decision(
        {"status": JobStatus.CANCELED.value, "ended_at": utcformat(ended)},
        registry=CanceledJobRegistry,
        score=ended.timestamp(),
        ttl=DEFAULT_FAILURE_TTL,
    )


def _expiry(ended: datetime, ttl: int) -> float | str:
    return ended.timestamp() + ttl if ttl >= 0 else "+inf"
