"""Recording how an execution ended, and what follows from it.

One script records everything at once, and only for the execution that still holds the job. A
worker that was merely slow, and whose job was given to another meanwhile, is refused.
"""

import json
from datetime import datetime
from typing import Any

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX
from rq.job import JobStatus
from rq.rate_limit import release_slot
from rq.registry import (
    ReadyJobRegistry,
    StartedJobRegistry,
)
from rq.results import Result
from rq.utils import now, utcformat

from service.admission import UNIQUE
from service.batch_store import TELL_BATCH
from service.execution.claim import ClaimedJob
from service.execution.decision import Decision, Ended, decide
from service.execution.outcome import Kind
from service.execution.recovery import Recovery, released
from service.execution.scripts import ScriptCall
from service.webhooks.notice import NOTHING, NOTIFY, told_error, told_result

# KEYS: started registry, job, queue, results, registry to file it in
# ARGV: prefix, job id, execution id, worker, counter of the worker ('' for none), wall seconds,
#       score in the registry ('' for none), push ('LPUSH' | 'RPUSH' | ''), ttl (seconds, -1 for
#       ever, '' as it is), record of the execution, now (RQ's text), whether dependents are freed
#       ('' | 'finished' | 'failed'), number of result fields, status that a webhook tells ('' for
#       none), what else it tells, result fields…, job fields…
# → 0 where the execution no longer holds the job, else 1, and whether dependents became ready
_SETTLE = (
    TELL_BATCH
    + UNIQUE
    + NOTIFY
    + """
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
if ARGV[5] ~= '' and redis.call('EXISTS', prefix .. ':worker:' .. worker) == 1 then
    redis.call('HINCRBY', prefix .. ':worker:' .. worker, ARGV[5], 1)
    redis.call('HINCRBYFLOAT', prefix .. ':worker:' .. worker, 'total_working_time', ARGV[6])
end

local results = tonumber(ARGV[13])
if redis.call('EXISTS', job) == 0 then
    return {1, 0}  -- deleted while it ran
end
redis.call('HSET', job, unpack(ARGV, 16 + results))
tell_batch(job, id)
if results > 0 then
    redis.call('XADD', KEYS[4], 'MAXLEN', 10, '*', unpack(ARGV, 16, 15 + results))
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
release(job, id)
return {1, ready}
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
            return self._recovery.release(ended.queue, execution.job_id, execution.id, record)
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
                RQ_KEY_PREFIX,
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
                decision.dependents,
                len(result),
                *_told(ended, decision),
                *result,
                *fields,
            ],
        )

    def settled(self, ended: Ended, answer: Any) -> bool:
        """Do what is left to do; False where the job had been given to another meanwhile."""
        if ended.outcome.kind is Kind.DIED:
            return any(released(answer))
        done, ready = answer
        if ready:
            ReadyJobRegistry(queue=ended.queue).cleanup()
        if done and ended.job.has_rate_limit:
            ended.job.get_status(refresh=True)
            release_slot(ended.job)
        return bool(done)

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
