"""A call of a task on its way to becoming an RQ job: what an accepted one writes to Redis.

It stands between the broker, which enqueues what callers submit, and the execution side, which
enqueues what is scheduled. Neither may import the other, and both must write the same.
"""

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from rq import Retry
from rq.job import Dependency, Job, JobStatus
from rq.queue import Queue
from rq.registry import ScheduledJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import get_call_string, now

from jobs import Task
from service.waiting import WAITING

LONGEST_ARGUMENT_SHOWN = 80  # characters, in the job's one-line description

# A Lua function for scripts that enqueue. `key` and `arg` are where its own KEYS and ARGV begin:
# KEYS: job, queue, set of queues, scheduled registry
# ARGV: job id, 'RPUSH' | 'LPUSH' | 'ZADD' | 'WAIT', Unix time for ZADD, then the job's hash
# → 1, or 0 where the job exists already; with WAIT the job's status as well, or 0 and 'unknown …'
#   where a job that it depends on does not exist, and nothing is written
#
# What RQ's enqueue writes, in one step that can be sent again when its reply was lost: RQ's own
# pushes a job twice then. (A job that has meanwhile run, and whose result_ttl is over, runs again.)
ENQUEUE = (
    WAITING
    + """
local function enqueue(key, arg)
    if redis.call('EXISTS', KEYS[key]) == 1 then
        return 0, redis.call('HGET', KEYS[key], 'status')
    end
    redis.call('HSET', KEYS[key], unpack(ARGV, arg + 3))
    redis.call('SADD', KEYS[key + 2], KEYS[key + 1])
    if ARGV[arg + 1] == 'WAIT' then
        local f = redis.call('HMGET', KEYS[key], 'enqueued_at', 'dependency_ids')
        for _, other in ipairs(f[2] and cjson.decode(f[2]) or {}) do
            if redis.call('EXISTS', key_of(other)) == 0 then
                redis.call('DEL', KEYS[key])
                return 0, 'unknown ' .. other
            end
        end
        local time = redis.call('TIME')
        now, stamp = time[1] + time[2] / 1000000, f[1]  -- first come, first served
        await(ARGV[arg])
        return 1, redis.call('HGET', KEYS[key], 'status')
    elseif ARGV[arg + 1] == 'ZADD' then
        redis.call('ZADD', KEYS[key + 3], ARGV[arg + 2], ARGV[arg])
    else
        redis.call(ARGV[arg + 1], KEYS[key + 1], ARGV[arg])
    end
    return 1
end
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A call of a task that has passed validation. Durations in seconds."""

    task: Task[..., Any]
    parameters: dict[str, Any]
    queue: str | None = None  #: the task's own where not given
    timeout: int | None = None
    result_ttl: int | None = None
    at_front: bool = False
    at: datetime | None = None  #: not before this time
    meta: dict[str, Any] = field(default_factory=dict)  #: RQ's, which the task can read
    depends_on: tuple[str, ...] = ()  #: ids of jobs that have to end before it is queued
    on_dependency_failure: Literal["fail", "run"] = "fail"  #: what it does if one does not finish
    result_as: str | None = None  #: the parameter that gets the only dependency's result
    webhook: str | None = None  #: URL that is told how it ended; the task's own where not given

    @property
    def due(self) -> datetime | None:
        """The next whole second, in UTC: RQ's schedule counts in those."""
        if self.at is None:
            return None
        return (self.at + timedelta(microseconds=999_999)).astimezone(UTC).replace(microsecond=0)


def job_id_at(milliseconds: int, noise: bytes) -> str:
    """A UUID of version 7 (RFC 9562 §5.7) of this Unix time, with these ten bytes.

    Such ids sort by their time, which is how jobs are listed.
    """
    value = milliseconds << 80 | int.from_bytes(noise)
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return str(uuid.UUID(int=value))


def job_of(submission: Submission, job_id: str, connection: Any) -> Job:
    """The job as it will be written. RQ wants a connection for it, and leaves it unused."""
    task, policy = submission.task, submission.task.policy
    ttl = submission.result_ttl
    limit = task.limit(submission.parameters)
    job = Job.create(
        task.path,
        kwargs=submission.parameters,
        connection=connection,
        id=job_id,
        origin=submission.queue or policy.queue,
        timeout=submission.timeout or policy.timeout,
        result_ttl=policy.result_ttl if ttl is None else ttl,
        failure_ttl=policy.failure_ttl,
        description=_description(task, submission.parameters),
        retry=_rq_retry(task),
        meta=submission.meta or None,
        status=JobStatus.SCHEDULED if submission.at else JobStatus.QUEUED,
        depends_on=_dependency(submission),
    )
    job.serializer = JSONSerializer  # given by name, RQ would check it anew for each job: 10 µs
    if limit is not None:
        job.rate_limit_key, job.rate_limit_concurrency = limit
    job.enqueued_at = now()
    if submission.at_front and (submission.at or _waits(job)):
        job.enqueue_at_front = True
    return job


def enqueue_arguments(job: Job, submission: Submission) -> tuple[list[str], list[Any]]:
    """KEYS and ARGV of `enqueue`."""
    command, moment = ("LPUSH" if submission.at_front else "RPUSH"), 0
    if submission.due:
        command, moment = "ZADD", int(submission.due.timestamp())
    elif _waits(job):
        command = "WAIT"
    policy = submission.task.policy
    # In RQ's hash of the job, for the scripts that move it and record its end.
    ours: dict[str, Any] = {"max_crashes": policy.most_crashes}
    if submission.depends_on:
        ours["on_dependency_failure"] = submission.on_dependency_failure
    if submission.result_as:
        ours["result_as"] = submission.result_as
    if url := submission.webhook or policy.webhook:
        ours["webhook"] = json.dumps({"url": url, "task": submission.task.name})
    fields = [part for entry in (job.to_dict() | ours).items() for part in entry]
    # As RQ's Queue and registry would say, which take 20 µs to make.
    queue = Queue.redis_queue_namespace_prefix + job.origin
    scheduled = ScheduledJobRegistry.key_template.format(job.origin)
    keys = [job.key, queue, Queue.redis_queues_keys, scheduled]
    return keys, [job.id, command, moment, *fields]


def _waits(job: Job) -> bool:
    """Whether it may have to wait for more than its time and a worker."""
    return bool(job._dependency_ids) or job.has_rate_limit


def _dependency(submission: Submission) -> Dependency | None:
    if not submission.depends_on:
        return None
    ids, tolerant = submission.depends_on, submission.on_dependency_failure == "run"
    return Dependency(jobs=list(dict.fromkeys(ids)), allow_failure=tolerant)


def _rq_retry(task: Task[..., Any]) -> Retry | None:
    retry = task.policy.retry
    return Retry(max=retry.max, interval=retry.intervals()) if retry else None


def _description(task: Task[..., Any], parameters: dict[str, Any]) -> str:
    call = get_call_string(task.name, (), parameters, max_length=LONGEST_ARGUMENT_SHOWN)
    return str(call)
