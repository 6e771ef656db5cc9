"""Accepting a job: from a checked submission to an RQ job that is on the disk."""

import asyncio
import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Retry
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.registry import ScheduledJobRegistry
from rq.utils import get_call_string, now

from jobs import Task
from service.broker.records import JobRecord
from service.broker.status import status_of
from service.errors import RedisAway

TRIES = 3
PAUSE = 0.15  # seconds between tries
LONGEST_ARGUMENT_SHOWN = 80  # characters, in the job's one-line description

# KEYS: job, queue, set of queues, scheduled registry
# ARGV: job id, 'RPUSH' | 'LPUSH' | 'ZADD', Unix time for ZADD, then the job's hash
# → 1, or 0 where the job exists already
#
# What RQ's enqueue writes, in one step that can be sent again when its reply was lost: RQ's own
# pushes a job twice then. (A job that has meanwhile run, and whose result_ttl is over, runs again.)
_ENQUEUE = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('SADD', KEYS[3], KEYS[2])
if ARGV[2] == 'ZADD' then
    redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
else
    redis.call(ARGV[2], KEYS[2], ARGV[1])
end
return 1
"""


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

    @property
    def due(self) -> datetime | None:
        """The next whole second, in UTC: RQ's schedule counts in those."""
        if self.at is None:
            return None
        return (self.at + timedelta(microseconds=999_999)).astimezone(UTC).replace(microsecond=0)


class Enqueuer:
    """Writes jobs to Redis without blocking the event loop."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._client = client
        self._script = client.register_script(_ENQUEUE)

    async def submit(self, submission: Submission) -> JobRecord:
        """Enqueue it, and return the job once Redis has it.

        Raises `RedisAway`; its document's `in_doubt` says whether the job may exist all the same.
        """
        job = self._job(submission)
        arguments = _script_arguments(job, submission)
        sent = False
        for attempt in range(1, TRIES + 1):
            try:
                await self._script(**arguments)
                return _record(job, submission)
            except ResponseError as error:
                if sent:
                    raise _away(error, job.id) from error
                raise RedisAway(f"Redis refuses to write: {error}.", in_doubt=False) from error
            except (RedisConnectionError, RedisTimeoutError) as error:
                sent = sent or not _never_sent(error)
                if attempt == TRIES:
                    raise _away(error, job.id if sent else None) from error
                await asyncio.sleep(PAUSE)
        raise AssertionError("unreachable: the last try returns or raises")

    def _job(self, submission: Submission) -> Job:
        task, policy = submission.task, submission.task.policy
        job = Job.create(
            task.path,
            kwargs=submission.parameters,
            connection=self._client,  # type: ignore[arg-type]  # RQ wants one; it stays unused
            id=new_job_id(),
            origin=submission.queue or policy.queue,
            timeout=submission.timeout or policy.timeout,
            result_ttl=policy.result_ttl
            if submission.result_ttl is None
            else submission.result_ttl,
            failure_ttl=policy.failure_ttl,
            description=_description(task, submission.parameters),
            retry=_rq_retry(task),
            status=JobStatus.SCHEDULED if submission.at else JobStatus.QUEUED,
            serializer="json",
        )
        job.enqueued_at = now()
        if submission.at and submission.at_front:
            job.enqueue_at_front = True
        return job


def _record(job: Job, submission: Submission) -> JobRecord:
    return JobRecord(
        id=job.id,
        task=submission.task.name,
        status=status_of(job.get_status(refresh=False)),
        queue=job.origin,
        parameters=submission.parameters,
        result=None,
        error=None,
        enqueued_at=job.enqueued_at,
        scheduled_for=submission.due,
        started_at=None,
        ended_at=None,
        attempts=0,
        retries_left=job.retries_left or 0,
        worker=None,
    )


def new_job_id() -> str:
    """A UUID of version 7 (RFC 9562 §5.7): ids sort by the time they were made."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10))
    value = milliseconds << 80 | noise
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return str(uuid.UUID(int=value))


def _rq_retry(task: Task[..., Any]) -> Retry | None:
    retry = task.policy.retry
    return Retry(max=retry.max, interval=retry.intervals()) if retry else None


def _description(task: Task[..., Any], parameters: dict[str, Any]) -> str:
    call = get_call_string(task.name, (), parameters, max_length=LONGEST_ARGUMENT_SHOWN)
    return str(call)


def _script_arguments(job: Job, submission: Submission) -> dict[str, Any]:
    queue = Queue(job.origin, connection=job.connection, serializer="json")
    command, moment = ("LPUSH" if submission.at_front else "RPUSH"), 0
    if submission.due:
        command, moment = "ZADD", int(submission.due.timestamp())
    fields = [part for field in job.to_dict().items() for part in field]
    return {
        "keys": [
            job.key,
            queue.key,
            Queue.redis_queues_keys,
            ScheduledJobRegistry(queue=queue).key,
        ],
        "args": [job.id, command, moment, *fields],
    }


def _never_sent(error: RedisError) -> bool:
    """Whether nothing can have been written: no connection came about, or it was refused."""
    refusals = (AuthenticationError, BusyLoadingError, MaxConnectionsError)
    if isinstance(error, refusals) or isinstance(error.__cause__, refusals):
        return True
    return "connecting to" in str(error)  # redis-py's words, and its only sign


def _away(error: RedisError, in_doubt: str | None) -> RedisAway:
    if in_doubt is None:
        return RedisAway(f"Redis can't be reached ({error}); nothing was accepted.", in_doubt=False)
    return RedisAway(
        f"Redis was lost while it took the job ({error}). It may have been accepted: look for "
        f"/jobs/{in_doubt} before submitting again.",
        in_doubt=True,
        job=in_doubt,
    )
