"""Accepting a job: from a checked submission to an RQ job that is on the disk."""

import asyncio
import os
import time

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
from rq.job import Job, JobStatus

from service.broker.arrival import arrived_as
from service.broker.records import JobRecord, awaited
from service.broker.status import status_of
from service.errors import RedisAway
from service.submission import ENQUEUE, Submission, enqueue_arguments, job_id_at, job_of

__all__ = ["Enqueuer", "Submission", "new_job_id"]

TRIES = 3
PAUSE = 0.15  # seconds between tries


class Enqueuer:
    """Writes jobs to Redis without blocking the event loop."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._client = client
        self._script = client.register_script(f"{ENQUEUE}return {{enqueue(1, 1)}}")

    async def submit(self, submission: Submission) -> JobRecord:
        """Enqueue it, and return the job once Redis has it.

        Raises `RedisAway`; its document's `in_doubt` says whether the job may exist all the same.
        """
        job = job_of(submission, new_job_id(), self._client)
        keys, args = enqueue_arguments(job, submission)
        sent = False
        for attempt in range(1, TRIES + 1):
            try:
                answer = await self._script(keys=keys, args=args)
                return _record(job, submission, arrived_as(answer))
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


def _record(job: Job, submission: Submission, status: JobStatus | None) -> JobRecord:
    return JobRecord(
        id=job.id,
        task=submission.task.name,
        status=status_of(status or job.get_status(refresh=False)),
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
        depends_on=list(job._dependency_ids),
        waiting_for=awaited(status),
    )


def new_job_id() -> str:
    """An id for a job that is submitted now."""
    return job_id_at(time.time_ns() // 1_000_000, os.urandom(10))


def _never_sent(error: RedisError) -> bool:
    """Whether nothing can have been written: no connection came about, or it was refused."""
    refusals = (AuthenticationError, BusyLoadingError, MaxConnectionsError)
    if isinstance(error, refusals) or isinstance(error.__cause__, refusals):
        return True
    # redis-py's words, and its only signs: no connection came about, or none was free
    return "connecting to" in str(error) or "No connection available" in str(error)


def _away(error: RedisError, in_doubt: str | None) -> RedisAway:
    if in_doubt is None:
        return RedisAway(f"Redis can't be reached ({error}); nothing was accepted.", in_doubt=False)
    return RedisAway(
        f"Redis was lost while it took the job ({error}). It may have been accepted: look for "
        f"/jobs/{in_doubt} before submitting again.",
        in_doubt=True,
        job=in_doubt,
    )
