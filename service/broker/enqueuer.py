"""Accepting a job: from a checked submission to an RQ job that is on the disk."""

import os
import time
from collections.abc import Callable
from datetime import UTC

import redis.asyncio
from redis.exceptions import ResponseError
from rq.job import Job, JobStatus
from rq.utils import as_text

from service.broker.acceptance import away, not_taken, refused
from service.broker.exchange import Unanswered
from service.broker.group import Assure, GroupCommit
from service.broker.records import JobRecord, awaited
from service.broker.status import status_of
from service.submission import ENQUEUE, Submission, enqueue_arguments, job_id_at, job_of
from service.tracing.spans import active_tracer, submitting

__all__ = ["Enqueuer", "Submission", "new_job_id"]


class Enqueuer:
    """Writes jobs to Redis without blocking the event loop, those together that come together."""

    def __init__(
        self,
        client: "redis.asyncio.Redis",
        *,
        assure: Assure | None = None,
        explain: Callable[[Exception], str] = str,
    ) -> None:
        """`assure` is `GroupCommit`'s; `explain` tells more of an error than it does itself."""
        self._client, self._explain = client, explain
        self._commit = GroupCommit(client, f"{ENQUEUE}return {{enqueue(1, 1)}}", assure)

    async def submit(self, submission: Submission, job_id: str | None = None) -> JobRecord:
        """Enqueue it, and return the job once Redis has it.

        With a `job_id` given it can be sent again: of all that bear the same one is enqueued.

        Raises `AlreadySubmitted`, `IdempotencyKeyReused`, `DependencyUnknown` or `QueueFull`; or
        `RedisAway`, whose document's `in_doubt` says whether the job may exist all the same.
        """
        job_id = job_id or new_job_id()
        tracer = active_tracer()
        if tracer is None:
            return await self._submit(submission, job_id)
        with submitting(tracer, submission, **{"messaging.message.id": job_id}) as (_, traced):
            return await self._submit(traced, job_id)

    async def _submit(self, submission: Submission, job_id: str) -> JobRecord:
        job = job_of(submission, job_id, self._client)
        keys, args = enqueue_arguments(job, submission)
        try:
            taken, *status = await self._commit.run(keys, args)
        except ResponseError as error:
            raise refused(error) from error
        except Unanswered as error:
            raise away(error, "job", job.id, self._explain(error.reason)) from error
        if isinstance(taken, list):
            raise not_taken(taken, "job", job.origin, submission.queue_limit)
        return _record(job, submission, JobStatus(as_text(status[0])) if status else None)


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
        expires_at=submission.expires and submission.expires.astimezone(UTC),
        started_at=None,
        ended_at=None,
        attempts=0,
        retries_left=job.retries_left or 0,
        worker=None,
        depends_on=list(job._dependency_ids),
        waiting_for=awaited(status),
    )


def new_job_id() -> str:
    """An id for a job that is submitted now. Those that one thread makes sort in their order."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 0x1000 // 1_000_000  # in 12 bits, as RFC 9562 §6.2 has it in its method 3
    return job_id_at(milliseconds, fraction.to_bytes(2) + os.urandom(8))
